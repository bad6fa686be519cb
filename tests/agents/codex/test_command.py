"""What a command line of Codex does to its login."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.agents.codex.command import LoginCommand, Way, login_command

SIGN_INS: list[tuple[str, Way]] = [
    ("login", "browser"),
    ("-c model=login login", "browser"),
    ("--enable x --config=a=b login -c a=b", "browser"),
    ("login --device-auth", "device"),
    ("login -c a=b --device-auth", "device"),
    ("login --with-api-key", "api_key"),
    ("-p work login --with-access-token", "access_token"),
    ("--unknown value login --with-api-key", "api_key"),
    ("login --with-api-key --device-auth", "api_key"),
]
OTHERS = [
    ("logout", LoginCommand(verb="logout")),
    ("-c a=b logout", LoginCommand(verb="logout")),
    ("login status", LoginCommand(verb="status")),
    ("login -c a=b status", LoginCommand(verb="status")),
    ("login help", None),
    ("login --help", None),
    ("", None),
    ("exec login", None),
    ("-m login", None),
    ("--model login exec x", None),
    ("exec --with-api-key", None),
]


@pytest.mark.parametrize(("words", "way"), SIGN_INS)
def test_a_sign_in_and_its_way(words: str, way: Way) -> None:
    assert login_command(words.split()) == LoginCommand(verb="login", way=way)


@pytest.mark.parametrize(("words", "command"), OTHERS)
def test_what_is_no_sign_in(words: str, command: LoginCommand | None) -> None:
    assert login_command(words.split()) == command


@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)), st.sampled_from(["--with-api-key", "--with-access-token"]))
def test_a_secret_on_standard_input_is_seen_wherever_the_option_stands(before: list[str], after: list[str], option: str) -> None:
    command = login_command([*before, "login", *after, option])
    assert command is not None
    assert command.way in ("api_key", "access_token")
