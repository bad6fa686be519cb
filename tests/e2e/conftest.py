"""The real Codex inside the real product, against a stand-in for OpenAI; one user with one broker for all tests of a module."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_codex import CODEX, EAR, EXEC, Immure

from immure.testing.household import Household
from immure.testing.openai.scenario import Script, Step
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Record


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=[EAR]) as running:
        yield running


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    assert CODEX.exists(), f"{CODEX} is missing: run make setup"
    with Household(fake, codex=str(CODEX)) as made:
        yield made


@pytest.fixture
def home(household: Household, fake: FakeOpenAI) -> Iterator[Household]:
    """The user, with a workspace and a record that are empty again."""
    fake.record = Record()
    yield household
    if fake.holding.is_set():
        fake.release()
    for entry in Path(household.workspace).iterdir():
        # A stand-in may go by itself at this moment, with the last sandbox.
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


@pytest.fixture
def immure(home: Household, fake: FakeOpenAI) -> Immure:
    """Run `immure codex exec … PROMPT` while the model plays `steps`; `arguments` come before the prompt."""

    def run(*steps: Step, arguments: tuple[str, ...] = (), prompt: str = "go on", text: str = "") -> subprocess.CompletedProcess[str]:
        fake.script = Script(*steps)
        return home.run(*EXEC, *arguments, prompt, text=text)

    return run
