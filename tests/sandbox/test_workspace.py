"""Which directories may be shown, and what is protected in them."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from immure.errors import HostError, UsageError
from immure.sandbox import protected
from immure.sandbox.spec import Mount
from immure.sandbox.workspace import MountPoints, StandIn, check_mount, protection, real_directory, written

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


def make_git_directory(path: Path) -> Path:
    for name in ("objects", "refs", "hooks"):
        (path / name).mkdir(parents=True)
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    (path / "config").touch()
    return path


def covered(root: Path, **options: Any) -> dict[str, bool]:
    """What is mounted within a directory, with whether it is writable."""
    return {str(Path(mount.target).relative_to(root)): mount.writable for mount in protection(str(root), **options).mounts}


WORKING_TREE = {one.path: False for one in protected.WORKING_TREE if one.obeyed_when_made}
GIT_DIRECTORY = ("hooks", "config", "config.worktree", "commondir")


def git_directory(path: str) -> dict[str, bool]:
    parents = path.split("/")
    return {"/".join(parents[: end + 1]): True for end in range(len(parents))} | {f"{path}/{name}": False for name in GIT_DIRECTORY}


def test_protection_of_a_repository(tmp_path: Path) -> None:
    make_git_directory(tmp_path / ".git")
    (tmp_path / ".codex").mkdir()
    assert covered(tmp_path) == WORKING_TREE | git_directory(".git")
    missing = {one.path.removeprefix(f"{tmp_path}/") for one in MountPoints().missing(protection(str(tmp_path)).needed)}
    assert missing == {*WORKING_TREE, ".git/config.worktree", ".git/commondir"} - {".codex"}


def test_what_is_mounted_comes_after_what_it_lies_in(tmp_path: Path) -> None:
    make_git_directory(tmp_path / "a" / "b" / ".git")
    order = [mount.target for mount in protection(str(tmp_path)).mounts]
    assert all(order.index(str(Path(path).parent)) < order.index(path) for path in order if str(Path(path).parent) in order)


def test_without_a_repository_none_can_be_made(tmp_path: Path) -> None:
    assert covered(tmp_path) == WORKING_TREE | {".git": False, "HEAD": False}
    assert covered(tmp_path, lifted=["git-init"]) == WORKING_TREE


def test_the_stand_in_of_another_sandbox_is_no_repository(tmp_path: Path) -> None:
    """Nor is what an agent has begun to make there: git looks for a HEAD, objects and refs."""
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    assert covered(tmp_path) == WORKING_TREE | {".git": False, "HEAD": False}


def test_what_nobody_obeys_unless_it_was_there_is_covered_if_it_is(tmp_path: Path) -> None:
    for one in protected.WORKING_TREE:
        if not one.obeyed_when_made:
            (tmp_path / one.path).touch()
    found = {path for path, writable in covered(tmp_path).items() if not writable}
    assert found == {".git", "HEAD", *(one.path for one in protected.WORKING_TREE)}


def test_submodules_linked_trees_and_nested_repositories(tmp_path: Path) -> None:
    git = make_git_directory(tmp_path / ".git")
    make_git_directory(git / "modules" / "libs" / "one")
    make_git_directory(git / "modules" / "libs" / "one" / "modules" / "two")
    (git / "worktrees" / "linked").mkdir(parents=True)
    make_git_directory(tmp_path / "packages" / "nested" / ".git")
    make_git_directory(tmp_path / "too" / "far" / "down" / ".git")
    (tmp_path / "deep" / "er" / "still").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "still" / ".git").write_text("gitdir: ../../../.git/modules/libs/one\n")
    (tmp_path / ".gitmodules").write_text('[submodule "libs/one"]\n\tpath = deep/er/still\n[submodule "evil"]\n\tpath = ../outside\n')
    linked = {name: path for name, path in git_directory(".git/worktrees/linked").items() if not name.endswith(("hooks", "/config"))}
    expected = git_directory(".git") | git_directory(".git/modules/libs/one") | git_directory(".git/modules/libs/one/modules/two")
    expected |= linked | git_directory("packages/nested/.git")
    expected |= {"deep": True, "deep/er": True, "deep/er/still": True, "deep/er/still/.git": False}
    assert covered(tmp_path) == WORKING_TREE | expected
    assert "packages/nested/.git" not in covered(tmp_path, lifted=["git-nested"])


def test_what_the_configuration_takes_from_the_working_tree(tmp_path: Path) -> None:
    config = make_git_directory(tmp_path / ".git") / "config"
    (tmp_path / "team.gitconfig").touch()
    config.write_text('[core] hooksPath = "tools/hooks"\n[include]\n\tpath = ../team.gitconfig\n\tpath = ~/.gitconfig\n')
    assert covered(tmp_path) == WORKING_TREE | git_directory(".git") | {"tools": True, "tools/hooks": False, "team.gitconfig": False}
    config.write_text("[core]\n\thookspath = .husky/_\n")
    assert covered(tmp_path) == WORKING_TREE | git_directory(".git"), "it is covered with .husky"
    for elsewhere in ("/usr/share/hooks", "../hooks", "~/hooks"):
        config.write_text(f"[core]\n\thooksPath = {elsewhere}\n")
        assert covered(tmp_path) == WORKING_TREE | git_directory(".git")


def test_a_repository_without_a_working_tree(tmp_path: Path) -> None:
    """As `--rw .git` shows one beside a linked working tree; what it is not, a project, needs no stand-ins."""
    make_git_directory(tmp_path)
    assert covered(tmp_path, complete=False) == dict.fromkeys(GIT_DIRECTORY, False)


@pytest.mark.parametrize("name", sorted(protected.NAMES))
def test_each_name_lifts_what_it_names_and_nothing_else(name: str, tmp_path: Path) -> None:
    config = make_git_directory(tmp_path / ".git") / "config"
    config.write_text("[core]\n\thooksPath = own-hooks\n")
    make_git_directory(tmp_path / "nested" / ".git")
    for one in protected.WORKING_TREE:
        (tmp_path / one.path).mkdir()
    before, after = covered(tmp_path), covered(tmp_path, lifted=[name])
    lifted = {path for path in before if path not in after}
    paths = {one.path for one in protected.WORKING_TREE if one.name == name}
    names = {one.path for one in protected.GIT_DIRECTORY if one.name == name}
    paths |= {f"{git}/{below}" for git in (".git", "nested/.git") for below in names}
    paths |= {"own-hooks"} if name == "git-hooks" else set()
    paths |= {path for path in before if path.startswith("nested")} if name == "git-nested" else set()
    assert lifted == paths
    assert after == {path: writable for path, writable in before.items() if path not in lifted}


def test_what_is_read_only_anyway_stays_so(tmp_path: Path) -> None:
    make_git_directory(tmp_path / "part" / "nested" / ".git")
    assert not [path for path in covered(tmp_path, read_only=[f"{tmp_path}/part"]) if path.startswith("part")]


def test_every_name_lifts_something_and_has_a_reason() -> None:
    assert protected.unknown([*sorted(protected.NAMES), "nonsense"]) == ("nonsense",)
    every = (*protected.WORKING_TREE, *protected.GIT_DIRECTORY, protected.REPOSITORY, protected.BARE_REPOSITORY)
    assert all(one.reason and one.name in protected.NAMES for one in every)


def test_a_worktree_pointer_is_protected(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    assert Mount.same(f"{tmp_path}/.git") in protection(str(tmp_path)).mounts


@pytest.mark.parametrize("name", [".codex", ".git"])
def test_a_protected_path_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/etc")
    with pytest.raises(UsageError, match="symbolic link") as caught:
        protection(str(tmp_path))
    assert "--unprotect" in caught.value.hint


def test_a_parent_that_is_a_link_is_refused_too(tmp_path: Path) -> None:
    config = make_git_directory(tmp_path / ".git") / "config"
    config.write_text("[core]\n\thooksPath = tools/hooks\n")
    (tmp_path / "tools").symlink_to("/etc")
    with pytest.raises(UsageError, match="tools is a symbolic link"):
        protection(str(tmp_path))


@pytest.mark.parametrize("content", [None, b"", b".\n"])
def test_mount_points_go_with_their_last_sandbox(tmp_path: Path, content: bytes | None) -> None:
    one = StandIn(path=str(tmp_path / "stand-in"), content=content)
    points = MountPoints()
    for _ in range(2):
        assert points.missing([one]) == (one,)
        points.claim([one])
    points.release([one])
    assert os.path.exists(one.path)
    points.release([one])
    assert not os.path.exists(one.path)


def test_a_stand_in_goes_before_what_it_lies_in(tmp_path: Path) -> None:
    within = [StandIn(path=f"{tmp_path}/tools", content=None), StandIn(path=f"{tmp_path}/tools/hooks", content=None)]
    points = MountPoints()
    points.claim(within)
    points.release(within)
    assert os.listdir(tmp_path) == []


def test_a_mount_point_that_is_used_by_now_stays(tmp_path: Path) -> None:
    directory, file, fifo = tmp_path / ".codex", tmp_path / "commondir", tmp_path / "config"
    points = MountPoints()
    stand_ins = [StandIn(path=str(directory), content=None), *(StandIn(path=str(path), content=b".\n") for path in (file, fifo))]
    points.claim(stand_ins)
    (directory / "config.toml").touch()
    file.write_text("../elsewhere\n")
    fifo.unlink()
    os.mkfifo(fifo)
    points.release(stand_ins)
    assert (directory / "config.toml").exists()
    assert file.read_text() == "../elsewhere\n"
    assert fifo.is_fifo()


def test_what_was_there_before_is_nobodys_to_remove(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    assert MountPoints().missing([StandIn(path=str(tmp_path / ".codex"), content=None)]) == ()


def test_a_claim_is_all_or_nothing(tmp_path: Path) -> None:
    possible, impossible = (StandIn(path=str(tmp_path / name), content=None) for name in (".agents", "nowhere/.codex"))
    with pytest.raises(HostError, match="cannot protect") as caught:
        MountPoints().claim([possible, impossible])
    assert caught.value.hint
    assert not os.path.exists(possible.path)


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


@pytest.mark.parametrize("lost", range(1, 14))
def test_a_list_that_was_cut_short_is_swept_as_far_as_it_goes(tmp_path: Path, lost: int) -> None:
    """A path that was cut off may be that of a directory of yours."""
    names = [".codex", ".agents"]
    for name in (*names, ".agent", ".a"):
        (tmp_path / name).mkdir()
    listed = written(StandIn(path=str(tmp_path / name), content=None) for name in names)
    MountPoints.forget(listed[:-lost])
    assert sorted(os.listdir(tmp_path)) == [".a", ".agent", ".agents"]


def test_a_list_that_is_whole_is_swept(tmp_path: Path) -> None:
    stand_ins = [StandIn(path=f"{tmp_path}/{name}", content=content) for name, content in (("a", None), ("a/b", b""), ("c", b".\n"))]
    MountPoints().claim(stand_ins)
    MountPoints.forget(written(stand_ins))
    assert os.listdir(tmp_path) == []
