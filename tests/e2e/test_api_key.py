"""A login by API key: the key goes to api.openai.com, and to nowhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_codex import CODEX, EXEC

from immure.testing.household import Household
from immure.testing.leak import Needles
from immure.testing.openai.scenario import Say, Script, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.survey import Survey


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX), api_key=True) as made:
        yield made


def test_a_turn_with_an_api_key(fake: FakeOpenAI, home: Household) -> None:
    fake.script = Script(Shell("echo made > made.txt; cat $CODEX_HOME/auth.json; env"), Say("It is made."))
    result = home.run(*EXEC, "go on")
    assert (result.returncode, result.stdout) == (0, "It is made.\n")
    assert (Path(home.workspace) / "made.txt").read_text() == "made\n"
    assert "OPENAI_API_KEY=" in result.stderr
    arrivals = fake.record.all()
    assert {(one.host, one.path, fake.account.describe(one.bearer)) for one in arrivals} == {("api.openai.com", "/v1/responses", "API key")}
    survey = Survey(needles=Needles(fake.account.secrets()))
    survey.tree(home.immure_home)
    survey.text(result.stderr.encode(), "output")
    assert survey.leaks == []
