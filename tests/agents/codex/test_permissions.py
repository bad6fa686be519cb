"""Permission profiles: what layers of configuration come to, and how what cannot be meant is refused."""

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from immure.agents.codex.permissions import PROTECTED, Layer, Place, override, resolve
from immure.errors import UsageError
from immure.model.permissions import Access, Permissions

PLACE = Place(directory="/work", home="/home/you", tmpdir="/scratch")


def layer(text: str, name: str = "config.toml") -> Layer:
    return Layer(name=name, content=tomllib.loads(text))


def resolved(text: str, profile: str | None = None, *typed: str, place: Place = PLACE) -> Permissions:
    return resolve([layer(text), *map(override, typed)], profile, place)


IN_WORKSPACE: dict[str, Access] = {"/": "read", "/work": "write", "/work/.git": "read", "/work/.agents": "read", "/work/.codex": "read"}
WORKSPACE: dict[str, Access] = {**IN_WORKSPACE, "/tmp": "write", "/scratch": "write"}


@pytest.mark.parametrize(
    ("text", "profile", "typed", "access", "network"),
    [
        ("", None, (), {"/": "read"}, False),
        ("", ":read-only", (), {"/": "read"}, False),
        ("", ":workspace", (), WORKSPACE, False),
        ("", ":danger-full-access", (), {"/": "write"}, True),
        ('sandbox_mode = "workspace-write"', None, (), {"/": "read"}, False),
        ("", None, ("sandbox_mode=danger-full-access",), {"/": "write"}, True),
        ('default_permissions = ":workspace"', None, ("sandbox_mode=read-only",), {"/": "read"}, False),
        ('default_permissions = ":workspace"\nsandbox_mode = "read-only"', None, (), WORKSPACE, False),
        ('sandbox_mode = "read-only"', None, ("default_permissions=:workspace",), WORKSPACE, False),
        ("", ":read-only", ("sandbox_mode=workspace-write",), {"/": "read"}, False),
        (
            (
                '[sandbox_workspace_write]\nwritable_roots = ["~/more", "/a/../b/"]\nnetwork_access = true\nexclude_slash_tmp = true\n'
                "exclude_tmpdir_env_var = true"
            ),
            None,
            ("sandbox_mode=workspace-write",),
            {**IN_WORKSPACE, "/home/you/more": "write", "/b": "write"},
            True,
        ),
        (
            '[permissions.lab.filesystem]\n":minimal" = "read"\n"/a" = "write"\n"/a/" = "read"\n"~" = "none"',
            "lab",
            (),
            {"/a": "write", "/home/you": "deny"},
            False,
        ),
        (
            (
                '[permissions.lab]\nextends = "base"\n[permissions.base]\nextends = ":read-only"\n'
                '[permissions.base.filesystem]\n"/a" = "write"\n'
                '"/b" = "deny"\n[permissions.base.network]\nenabled = true\n[permissions.lab.filesystem]\n"/a" = "deny"'
            ),
            "lab",
            (),
            {"/": "read", "/a": "deny", "/b": "deny"},
            True,
        ),
        (
            (
                '[permissions.lab]\nworkspace_roots = { "~/other" = true, rel = true, "/no" = false }\n'
                '[permissions.lab.filesystem]\n":workspace_roots" = { "." = "read", "x" = "deny" }'
            ),
            "lab",
            (),
            {
                **dict.fromkeys(("/work", "/home/you/other", "/work/rel"), "read"),
                **{f"{path}/x": "deny" for path in ("/work", "/home/you/other", "/work/rel")},
            },
            False,
        ),
        ('[permissions.lab.filesystem]\n":root" = "deny"\n"/a/**" = "read"', "lab", (), {"/a": "read"}, False),
        ('[permissions.lab.filesystem]\n"/a".b = "read"\n"/a"."." = "deny"', "lab", (), {"/a": "deny", "/a/b": "read"}, False),
        ("", "x", ('permissions.x={extends=":read-only"}',), {"/": "read"}, False),
    ],
)
def test_what_a_configuration_comes_to(
    text: str, profile: str | None, typed: tuple[str, ...], access: dict[str, Access], network: bool
) -> None:
    permissions = resolved(text, profile, *typed)
    assert (permissions.access, permissions.network) == (access, network)


def test_a_child_lifts_what_the_workspace_protects() -> None:
    text = '[permissions.lab]\nextends = ":workspace"\n[permissions.lab.filesystem.":workspace_roots"]\n".git" = "write"'
    found = resolved(text, "lab")
    assert (found.access["/work/.git"], found.access["/work/.codex"], found.protected) == ("write", "read", PROTECTED)


def test_patterns_deny_and_say_how_deep() -> None:
    text = '[permissions.lab.filesystem]\nglob_scan_max_depth = 3\n"/a/*.pem" = "deny"\n":workspace_roots" = { "**/.env" = "deny" }'
    found = resolved(text, "lab")
    assert (found.patterns, found.depth, found.access) == (("/a/*.pem", "/work/**/.env"), 3, {})


@pytest.mark.parametrize("tmpdir", ["", "relative"])
def test_a_temporary_directory_that_is_none_is_left_out(tmpdir: str) -> None:
    place = Place(directory="/work", home="/home/you", tmpdir=tmpdir)
    assert resolved('[permissions.lab.filesystem]\n":tmpdir" = "write"', "lab", place=place).access == {}


REFUSED = {
    "an unknown mode": ('default_permissions = "x"\n', None, ("sandbox_mode=nonsense",), "-c sandbox_mode: sandbox_mode: unknown mode"),
    "no default": ("[permissions.lab]", None, (), "config.toml: permissions: there are profiles, but none is the default"),
    "no such profile": ("", "lab", (), "no profile 'lab'"),
    "no such built-in profile": ("", ":lab", (), "no profile ':lab'"),
    "an undefined parent": ('[permissions.lab]\nextends = "no"', "lab", (), "config.toml: permissions.lab.extends: no profile 'no'"),
    "a parent that is none": ('[permissions.lab]\nextends = ":danger-full-access"', "lab", (), "cannot be extended"),
    "a circle": ('[permissions.a]\nextends = "b"\n[permissions.b]\nextends = "a"', "a", (), "goes in a circle: a -> b -> a"),
    "a reserved name": ('[permissions.":x"]', ":read-only", (), "permissions.:x: names that begin with a colon"),
    "an unknown key": ("[permissions.lab]\nfoo = 1", "lab", (), "permissions.lab.foo: unknown key"),
    "an unknown access": ('[permissions.lab.filesystem]\n"/a" = "execute"', "lab", (), "filesystem./a: unknown access 'execute'"),
    "a relative path": ('[permissions.lab.filesystem]\n"a/b" = "read"', "lab", (), "filesystem.a/b: 'a/b' is not an absolute path"),
    "an unknown special path": ('[permissions.lab.filesystem]\n":foo" = "read"', "lab", (), "unknown path ':foo'"),
    "entries below a special path": ('[permissions.lab.filesystem.":tmpdir"]\n"a" = "read"', "lab", (), "takes no entries of its own"),
    "a path that leaves its table": ('[permissions.lab.filesystem."/a"]\n"../b" = "read"', "lab", (), "not a path below it"),
    "a pattern that gives": ('[permissions.lab.filesystem]\n"/a/*/b" = "write"', "lab", (), "a pattern cannot be given to write"),
    "a system to write": ('[permissions.lab.filesystem]\n":minimal" = "write"', "lab", (), "the operating system cannot be given"),
    "no depth": ("[permissions.lab.filesystem]\nglob_scan_max_depth = 0", "lab", (), "not a number from 1"),
    "domains": ('[permissions.lab.network.domains]\n"a.example" = "allow"', "lab", (), "network.domains: the gate goes by its own rules"),
    "an unknown key of a mode": ("[sandbox_workspace_write]\nfoo = 1", None, ("sandbox_mode=workspace-write",), "unknown key"),
    "a relative root": (
        '[sandbox_workspace_write]\nwritable_roots = ["a"]',
        None,
        ("sandbox_mode=workspace-write",),
        "not an absolute path",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_refused(what: str) -> None:
    text, profile, typed, message = REFUSED[what]
    with pytest.raises(UsageError) as caught:
        resolved(text, profile, *typed)
    assert message in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("text", ["nothing", "=x", "a..b=1", 'a."b"=1'])
def test_an_override_has_a_key_and_a_value(text: str) -> None:
    with pytest.raises(UsageError, match="not of the form"):
        override(text)


@pytest.mark.parametrize(
    ("requirements", "profile", "allowed"),
    [
        ('allowed_sandbox_modes = ["read-only"]', ":workspace", False),
        ('allowed_sandbox_modes = ["read-only"]', ":read-only", True),
        ('allowed_sandbox_modes = ["workspace-write"]', ":danger-full-access", False),
        ('[allowed_permission_profiles]\n":workspace" = true', ":workspace", True),
        ('[allowed_permission_profiles]\n":workspace" = true', ":read-only", False),
        ('default_permissions = ":workspace"', None, True),
        ('[network_proxy]\nmode = "limited"', ":read-only", False),
        ('allowed_approval_policies = ["never"]', ":read-only", True),
    ],
)
def test_what_the_administrator_requires(requirements: str, profile: str | None, allowed: bool) -> None:
    must = layer(requirements, "requirements.toml")
    if allowed:
        assert resolve([], profile, PLACE, must).access["/"] == "read"
        return
    with pytest.raises(UsageError, match=r"requirements\.toml"):
        resolve([], profile, PLACE, must)


ACCESS = st.sampled_from(["read", "write", "deny"])
PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/d", "~", "~/x"])
TABLES = st.dictionaries(PATHS, ACCESS)


@given(TABLES, TABLES)
def test_a_higher_layer_overrides_key_by_key(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    def text(table: dict[str, Any]) -> str:
        return tomli_w.dumps({"permissions": {"lab": {"filesystem": table}}})

    both = resolve([layer(text(lower)), layer(text(upper))], "lab", PLACE)
    assert both == resolved(text({**lower, **upper}), "lab")
    inherited = tomli_w.dumps({"permissions": {"base": {"filesystem": lower}, "lab": {"extends": "base", "filesystem": upper}}})
    assert both == resolved(inherited, "lab")


@given(TABLES, PATHS)
def test_one_denial_more_never_gives(table: dict[str, Any], path: str) -> None:
    def access(entries: dict[str, Any]) -> dict[str, Access]:
        return dict(resolved(tomli_w.dumps({"permissions": {"lab": {"filesystem": entries}}}), "lab").access)

    before, after = access(table), access({**table, path: "deny"})
    assert {found for found in after if after[found] == "write"} <= {found for found in before if before[found] == "write"}
