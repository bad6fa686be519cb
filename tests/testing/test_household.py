"""A throw-away user is complete, private, pointed at the stand-in only, and gone afterwards."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI


def test_a_household_has_a_login_settings_and_a_workspace_and_leaves_nothing(tmp_path: Path) -> None:
    with FakeOpenAI(ears=["ear.example"]) as fake, Household(fake, codex="/opt/codex/bin/codex", below=str(tmp_path)) as house:
        login = json.loads((Path(house.codex_home) / "auth.json").read_text())
        assert login["tokens"]["access_token"] == fake.account.access_token
        settings = tomllib.loads((Path(house.immure_home) / "config" / "config.toml").read_text())
        assert {(one["host"], one["address"]) for one in settings["upstream"]} == {
            (host, fake.address) for host in ("chatgpt.com", "auth.openai.com", "api.openai.com", "ear.example")
        }
        assert {Path(one["ca"]).read_text() for one in settings["upstream"]} == {fake.authority.pem}
        assert os.listdir(house.workspace) == []
        assert all(not path.stat().st_mode & 0o077 for path in Path(house.directory).rglob("*"))
        assert house.environment["PATH"].startswith("/opt/codex/bin:")
        assert {house.environment[name] for name in ("HOME", "IMMURE_HOME", "CODEX_HOME")} == {
            house.home,
            house.immure_home,
            house.codex_home,
        }
        assert house.broker() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["workspace/notes", "home/.immure/state/trail"])
def test_a_token_that_was_left_behind_is_told_at_the_end(place: str, tmp_path: Path) -> None:
    with FakeOpenAI() as fake:
        house = Household(fake, below=str(tmp_path))
        path = Path(house.directory) / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"half of {fake.account.access_token[:24]}")
        with pytest.raises(AssertionError, match=f"characters of access token 1 in .*{place}"):
            house.close()
    assert list(tmp_path.iterdir()) == []


def test_a_household_may_be_signed_in_by_key(tmp_path: Path) -> None:
    with FakeOpenAI() as fake, Household(fake, api_key=True, below=str(tmp_path)) as house:
        assert json.loads((Path(house.codex_home) / "auth.json").read_text()) == {
            "auth_mode": "apikey",
            "OPENAI_API_KEY": fake.account.api_key,
        }


def test_no_environment_of_ours_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-developer")
    monkeypatch.setenv("IMMURE_HOME", "/of/the/developer")
    with FakeOpenAI() as fake, Household(fake, below=str(tmp_path)) as house:
        assert not {"sk-of-the-developer", "/of/the/developer"} & set(house.environment.values())
