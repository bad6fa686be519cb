"""Which paths the patterns of --hide find."""

from pathlib import Path

import pytest

from immure.errors import UsageError
from immure.sandbox import hidden

TREE = [
    ".env",
    ".env.local",
    "env",
    "app/.env",
    "app/config/server.pem",
    "app/config/server.pem.txt",
    "private/key",
    "private/deep/key",
    ".git/config",
    ".git/server.pem",
]

# patterns → files and directories that are found
FOUND: list[tuple[tuple[str, ...], set[str]]] = [
    ((), set()),
    ((".env",), {".env", "app/.env"}),
    (("./.env",), {".env", "app/.env"}),
    ((".env.*",), {".env.local"}),
    (("*.pem",), {"app/config/server.pem"}),
    (("app/*.pem",), {"app/config/server.pem"}),
    (("config/*.pem",), set()),
    (("private",), {"private"}),
    (("private/",), {"private"}),
    (("key",), {"private/key", "private/deep/key"}),
    (("[!a-z]*",), {".env", ".env.local", "app/.env", ".git"}),
    ((".ENV",), set()),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("patterns", "expected"), FOUND)
def test_found(patterns: tuple[str, ...], expected: set[str], root: Path) -> None:
    found = hidden.find([str(root)], patterns)
    assert {str(Path(path).relative_to(root)) for path in (*found.files, *found.directories)} == expected
    assert all(Path(path).is_dir() for path in found.directories)
    assert all(Path(path).is_file() for path in found.files)


def test_a_link_hides_what_it_leads_to_if_that_is_shown(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret").touch()
    (root / "to-env.pem").symlink_to("env")
    (root / "to-elsewhere.pem").symlink_to(elsewhere / "secret")
    (root / "to-nothing.pem").symlink_to("nothing")
    assert set(hidden.find([str(root)], ["to-*.pem"]).files) == {f"{root}/env"}
    assert set(hidden.find([str(root), str(elsewhere)], ["to-*.pem"]).files) == {f"{root}/env", f"{elsewhere}/secret"}


def test_too_much_is_refused(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.pem").touch()
    with pytest.raises(UsageError, match=r"more than 1000 paths match \*.pem"):
        hidden.find([str(tmp_path)], ["*.pem"])
