"""Which directories may be shown, and what is protected in them."""

import os
import subprocess
from pathlib import Path

import pytest

from immure.errors import HostError, UsageError
from immure.sandbox.spec import Mount
from immure.sandbox.workspace import MountPoints, check_mount, protection, real_directory

# (mount, hidden path, allowed)
MOUNTS = [
    ("/home/u/project", "/home/u/.codex/auth.json", True),
    ("/home/u", "/home/u/.codex/auth.json", False),
    ("/", "/home/u/.codex/auth.json", False),
    ("/home/u/.codex", "/home/u/.codex/auth.json", False),
    ("/home/u/.codex/packages", "/home/u/.codex/auth.json", True),
    ("/home/u/.local/state/immure", "/home/u/.local/state/immure", False),
    ("/home/u/.local/state/immure/vault", "/home/u/.local/state/immure", False),
    ("/home/u/.local/state/immure-notes", "/home/u/.local/state/immure", True),
]


@pytest.mark.parametrize(("mount", "hidden", "allowed"), MOUNTS)
def test_mount(mount: str, hidden: str, allowed: bool) -> None:
    if allowed:
        check_mount(mount, [hidden])
    else:
        with pytest.raises(UsageError, match="must stay outside") as caught:
            check_mount(mount, [hidden])
        assert caught.value.hint


def test_a_link_to_a_hidden_path_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "state")
    with pytest.raises(UsageError):
        check_mount(real_directory(str(tmp_path / "alias"), "the workspace"), [str(tmp_path / "alias")])


def test_missing_workspace_names_it_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist") as caught:
        real_directory(str(tmp_path / "nowhere"), "the workspace")
    assert "mkdir" in caught.value.hint


def test_protection_of_a_repository(tmp_path: Path) -> None:
    root = str(tmp_path)
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    (tmp_path / ".git" / "config").touch()
    (tmp_path / ".codex").mkdir()
    found = protection(root)
    assert Mount.same(f"{root}/.git", writable=True) == found.mounts[0]
    protected = [".git/hooks", ".git/config", ".git/config.worktree", ".git/commondir", ".codex", ".agents"]
    assert [Mount.same(f"{root}/{name}") for name in protected] == list(found.mounts[1:])
    assert MountPoints().missing(found.needed) == tuple(f"{root}/{name}" for name in (".git/config.worktree", ".git/commondir", ".agents"))


def test_what_git_would_read_is_not_made_where_there_is_no_repository(tmp_path: Path) -> None:
    assert protection(str(tmp_path)).needed == (f"{tmp_path}/.codex", f"{tmp_path}/.agents")


def test_a_worktree_pointer_is_protected(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    assert Mount.same(f"{tmp_path}/.git") in protection(str(tmp_path)).mounts


@pytest.mark.parametrize("name", [".codex", ".git"])
def test_a_protected_path_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/etc")
    with pytest.raises(UsageError, match="symbolic link"):
        protection(str(tmp_path))


@pytest.mark.parametrize("name", [".codex", ".git/commondir"])
def test_mount_points_go_with_their_last_sandbox(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    path = str(tmp_path / name)
    points = MountPoints()
    for _ in range(2):
        assert points.missing([path]) == (path,)
        points.claim([path])
    points.release([path])
    assert os.path.exists(path)
    points.release([path])
    assert not os.path.exists(path)


def test_a_mount_point_that_is_used_by_now_stays(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    directory, file = tmp_path / ".codex", tmp_path / ".git" / "commondir"
    paths = [str(directory), str(file)]
    points = MountPoints()
    points.claim(paths)
    (directory / "config.toml").touch()
    file.write_text("../elsewhere\n")
    points.release(paths)
    assert (directory / "config.toml").exists()
    assert file.read_text() == "../elsewhere\n"


def test_what_was_there_before_is_nobodys_to_remove(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    assert MountPoints().missing([str(tmp_path / ".codex")]) == ()


def test_a_claim_is_all_or_nothing(tmp_path: Path) -> None:
    possible, impossible = str(tmp_path / ".agents"), str(tmp_path / "nowhere" / ".codex")
    with pytest.raises(HostError, match="cannot protect") as caught:
        MountPoints().claim([possible, impossible])
    assert caught.value.hint
    assert not os.path.exists(possible)


def test_git_takes_a_stand_in_for_what_is_missing(tmp_path: Path) -> None:
    """As the host's git finds the repository while a sandbox runs: nothing about it is different."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet", "--template=")
    git("config", "user.name", "someone")
    questions = (["status", "--porcelain=2", "--branch"], ["config", "--list", "--local"], ["worktree", "list"])
    before = [git(*question) for question in questions]
    points = MountPoints()
    points.claim(points.missing(protection(str(tmp_path)).needed))
    assert (tmp_path / ".git" / "commondir").exists()
    assert [git(*question) for question in questions] == before
    git("-c", "user.email=someone@example.com", "commit", "--quiet", "--allow-empty", "--message", "possible")
    assert git("log", "--format=%an %s") == "someone possible\n"


def test_a_list_that_was_cut_short_is_swept_as_far_as_it_goes(tmp_path: Path) -> None:
    for name in (".codex", ".agents"):
        (tmp_path / name).mkdir()
    MountPoints.forget([str(tmp_path / ".codex"), str(tmp_path / ".ag"), ""])
    assert os.listdir(tmp_path) == [".agents"]
