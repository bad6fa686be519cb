"""How files are hidden from a sandbox; the programs that want to read them are in `immure.attack.hidden`."""

from pathlib import Path

import pytest
from near_side import assert_one_error, call

from immure.testing.household import Household

SECRET = "what-is-hidden"


def test_it_looks_empty(home: Household) -> None:
    (Path(home.workspace) / ".env").write_text(SECRET)
    assert home.run("run", "--hide", ".env", "--", "stat", "--format=%s", ".env").stdout == "0\n"


def test_the_settings_hide_too(home: Household) -> None:
    settings = Path(home.immure_home) / "config" / "config.toml"
    before = settings.read_text()
    (Path(home.workspace) / "sub").mkdir()
    for path in (".env", "sub/.env.local", "sub/plain"):
        (Path(home.workspace) / path).write_text(SECRET)
    settings.write_text(before + '\n[workspace]\nhide = [".env", ".env.*"]\n')
    try:
        result = home.run("run", "--", "sh", "-c", "cat .env; cat sub/.env.local; cat sub/plain")
    finally:
        settings.write_text(before)
    assert (result.stdout, result.stderr.count("Permission denied")) == (SECRET, 2)


@pytest.mark.parametrize("pattern", ["", "/", "..", "../secret", "a/../../b"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str, home: Household) -> None:
    result = call(home, "run", "--hide", pattern, "--", "true")
    assert_one_error(result.returncode, result.stderr, expected=2, code="workspace.hide")
