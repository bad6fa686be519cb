"""The Codex under test, and how the tests call it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from immure.testing.household import Household
from immure.testing.leak import Needles
from immure.testing.openai.service import FakeOpenAI
from immure.testing.survey import Survey

CODEX = Path(__file__).parents[2] / "tools" / "codex" / "node_modules" / ".bin" / "codex"
EAR = "attacker.example.com"
# Codex lets its tools have no network by default; here they may try, so that it is immure that refuses.
EXEC = ("codex", "exec", "--skip-git-repo-check", "--sandbox", "workspace-write", "-c", "sandbox_workspace_write.network_access=true")

Immure = Callable[..., subprocess.CompletedProcess[str]]


def assert_no_leak(fake: FakeOpenAI, home: Household, *said: str) -> None:
    """Nothing real lies in the workspace or in what immure keeps, nor stood in what was said."""
    survey = Survey(needles=Needles(fake.account.secrets()))
    survey.tree(home.workspace)
    survey.tree(home.immure_home)
    for text in said:
        survey.text(text.encode(), "output")
    assert (survey.leaks, survey.unreadable) == ([], [])
