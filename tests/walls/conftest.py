"""The real product, against a stand-in for the world; one user with one broker for all tests of a module."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from far_side import EAR, OTHER_EAR
from ordinary_user import OrdinaryUser, ordinary_user

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Record


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=[EAR, OTHER_EAR]) as running:
        yield running


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake) as made:
        yield made


@pytest.fixture(scope="module")
def user(fake: FakeOpenAI) -> Iterator[OrdinaryUser]:
    with ordinary_user(fake) as made:
        yield made


@pytest.fixture
def home(household: Household, fake: FakeOpenAI) -> Iterator[Household]:
    """The user, with a workspace and a record that are empty again; nothing may be left of a sandbox that has ended."""
    fake.record = Record()
    yield household
    sandboxes = Path(household.immure_home) / "state" / "sandboxes"
    left = os.listdir(sandboxes) if sandboxes.exists() else []
    for entry in Path(household.workspace).iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    assert left == []
