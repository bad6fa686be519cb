"""What permissions come to on a host: a directory of the test's own stands for one."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from immure.errors import UsageError
from immure.model.permissions import Access, Permissions
from immure.sandbox.permitted import Permitted, permit
from immure.sandbox.spec import Mount
from immure.sandbox.system import System

HOST = System(mounts=(Mount.same("/usr"),), links=(("usr/bin", "/bin"),), copied={}, bundles=("/etc/ssl/ca.pem",), roots=b"")
TREE = ("a/b/c", "a/.git/hooks", "d", "own/.codex")


@pytest.fixture
def root(tmp_path: Path) -> str:
    for path in TREE:
        (tmp_path / path).mkdir(parents=True)
    for path in ("a/file", "d/file", "own/.codex/auth.json"):
        (tmp_path / path).write_text("")
    return os.path.realpath(tmp_path)


def permitted(root: str, entries: dict[str, Access], *, own: Sequence[str] = (), secrets: Sequence[str] = ()) -> Permitted:
    """With paths below the root, in entries and in what comes of them."""
    access = {path if path in ("/", "/tmp") else f"{root}/{path}": access for path, access in entries.items()}
    permissions = Permissions(access=access, protected=(".git",), system=True)
    return permit(permissions, HOST, own=[f"{root}/{path}" for path in own], secrets=[f"{root}/{path}" for path in secrets])


def mounts(found: Permitted, root: str) -> dict[str, bool]:
    return {mount.target.removeprefix(root + "/"): mount.writable for mount in found.mounts}


def closed(found: Permitted, root: str) -> set[str]:
    return {path.removeprefix(root + "/") for path in (*found.closed, *found.emptied, *found.hidden) if path.startswith(root)}


@pytest.mark.parametrize(
    ("entries", "mounted", "shut"),
    [
        ({"a": "read"}, {"a": False}, set()),
        ({"a": "read", "a/b": "read"}, {"a": False}, set()),
        ({"a": "write", "a/b": "read", "a/b/c": "write"}, {"a": True, "a/b": False, "a/b/c": True, "a/.git": False}, set()),
        ({"a": "write", "a/.git": "write"}, {"a": True}, set()),
        ({"a": "read", "a/b": "deny", "a/b/c": "read"}, {"a": False}, {"a/b"}),
        ({"a": "read", "a/b": "deny", "a/b/c": "write"}, {"a": False, "a/b/c": True}, {"a/b"}),
        ({"a": "read", "a/file": "deny"}, {"a": False}, {"a/file"}),
        ({"a": "deny"}, {}, set()),
        ({"a": "read", "missing": "write", "a/missing": "deny"}, {"a": False}, set()),
    ],
)
def test_the_most_specific_entry_decides(root: str, entries: dict[str, Access], mounted: dict[str, bool], shut: set[str]) -> None:
    found = permitted(root, entries)
    assert (mounts(found, root), closed(found, root)) == (mounted, shut)


def test_what_is_missing_where_it_could_be_made_gets_a_stand_in(root: str) -> None:
    found = permitted(root, {"d": "write", "d/x/y": "read", "a/missing": "read"})
    assert {one.path.removeprefix(root + "/") for one in found.protection.needed} >= {"d/x", "d/.git"}
    assert not any(one.path.startswith(f"{root}/a/") for one in found.protection.needed)
    assert {mount.target for mount in found.protection.mounts if not mount.writable} >= {f"{root}/d/x", f"{root}/d/.git"}


def test_everything_is_the_top_of_the_host_and_what_is_ones_own(root: str) -> None:
    found = permitted(root, {"/": "read"}, own=["own"])
    shown = {mount.target for mount in found.base}
    assert shown.isdisjoint({"/proc", "/dev", "/sys", "/etc", "/run", "/tmp", "/home", "/root", "/usr"})
    assert shown == {f"/{name}" for name in os.listdir("/") if f"/{name}" in shown and not os.path.islink(f"/{name}")}
    assert "/var" in shown
    assert mounts(found, root) == {"own": False}
    assert {"/", "/tmp", "/var/tmp", "/run"} <= set(found.sealed)


def test_everything_to_write_has_no_protection(root: str) -> None:
    found = permitted(root, {"/": "write"}, own=["own"], secrets=["own/.codex/auth.json"])
    assert all(mount.writable for mount in (*found.base, *found.mounts))
    assert (found.protection.needed, closed(found, root)) == ((), {"own/.codex/auth.json"})
    assert not {"/", "/tmp", "/var/tmp"} & set(found.sealed)


def test_what_is_in_memory_opens_for_writing_and_shows_nothing(root: str) -> None:
    found = permitted(root, {"/tmp": "write"})
    assert (found.mounts, "/tmp" in found.sealed, "/var/tmp" in found.sealed) == ((), False, True)
    assert permitted(root, {"/tmp": "deny"}).closed == ("/tmp",)


@pytest.mark.parametrize(
    ("entries", "secret", "shut"),
    [
        ({"own": "read"}, "own/.codex/auth.json", {"own/.codex/auth.json"}),
        ({"own": "read"}, "own/.codex", {"own/.codex"}),
        ({"a": "read"}, "own/.codex", set()),
        ({"own": "read"}, "own/.codex/not-yet.json", {"own/.codex"}),
    ],
)
def test_a_secret_is_closed_in_what_may_be_read(root: str, entries: dict[str, Access], secret: str, shut: set[str]) -> None:
    assert closed(permitted(root, entries, secrets=[secret]), root) == shut


def test_what_lies_in_a_closed_directory_needs_no_closing(root: str) -> None:
    permissions = Permissions(access={root: "read", f"{root}/a/b": "write"}, patterns=(f"{root}/a", f"{root}/a/f*", f"{root}/a/b/*"))
    found = permit(permissions, HOST, own=[], secrets=[])
    assert (found.emptied, found.hidden, found.closed) == ((f"{root}/a",), (), (f"{root}/a/b/c",))


@pytest.mark.parametrize("entries", [{"own": "write"}, {"own/.codex": "read"}, {"own/.codex/auth.json": "read"}])
def test_a_secret_is_refused_where_it_is_named_or_could_be_replaced(root: str, entries: dict[str, Access]) -> None:
    with pytest.raises(UsageError, match="must stay outside"):
        permitted(root, entries, secrets=["own/.codex"])


def test_a_file_cannot_be_given_to_write(root: str) -> None:
    with pytest.raises(UsageError, match="is no directory"):
        permitted(root, {"d/file": "write"})


def test_a_link_is_followed_here_and_made_inside(root: str) -> None:
    os.symlink("a", f"{root}/link")
    found = permitted(root, {"link": "read"})
    assert (mounts(found, root), (f"{root}/a", f"{root}/link") in found.links) == ({"a": False}, True)


def test_sockets_of_the_host_are_hidden_but_for_those_that_are_named(root: str) -> None:
    with socket.socket(socket.AF_UNIX) as served, socket.socket(socket.AF_UNIX) as other:
        served.bind(f"{root}/d/served")
        other.bind(f"{root}/d/other")
        permissions = Permissions(access={f"{root}/d": "read"}, network=True)
        found = permit(permissions, HOST, own=[], secrets=[], sockets=[f"{root}/d/served"])
    assert (found.hidden, f"{root}/d/served" in {mount.target for mount in found.mounts}) == ((f"{root}/d/other",), True)
    with pytest.raises(UsageError, match="does not exist"):
        permit(permissions, HOST, own=[], secrets=[], sockets=[f"{root}/missing"])
