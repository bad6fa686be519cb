"""Which directories may be shown, and what is protected in them."""

import os
from pathlib import Path

import pytest

from immure.errors import UsageError
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
    assert (
        Mount.same(f"{root}/.git", writable=True),
        Mount.same(f"{root}/.git/hooks"),
        Mount.same(f"{root}/.git/config"),
        Mount.same(f"{root}/.codex"),
    ) == found.mounts
    assert (f"{root}/.agents",) == found.sealed


def test_a_worktree_pointer_is_protected(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    assert Mount.same(f"{tmp_path}/.git") in protection(str(tmp_path)).mounts


def test_a_protected_path_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".codex").symlink_to("/etc")
    with pytest.raises(UsageError, match="symbolic link"):
        protection(str(tmp_path))


def test_mount_points_go_with_their_last_sandbox(tmp_path: Path) -> None:
    path = str(tmp_path / ".codex")
    points = MountPoints()
    points.claim([path])
    points.claim([path])
    points.release([path])
    assert os.path.isdir(path)
    points.release([path])
    assert not os.path.exists(path)


def test_a_mount_point_that_is_used_by_now_stays(tmp_path: Path) -> None:
    path = tmp_path / ".codex"
    points = MountPoints()
    points.claim([str(path)])
    (path / "config.toml").touch()
    points.release([str(path)])
    assert (path / "config.toml").exists()
