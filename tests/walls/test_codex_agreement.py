"""`immure sandbox` beside the pinned `codex sandbox`: the same profiles, the same probes, and where the verdicts may differ.

They differ in one direction only: what Codex permits, these walls may refuse, for a reason that `STRICTER` names.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ordinary_user import CODEX, OrdinaryUser, give_away

from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI

NATIVE = CODEX.parents[1] / "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
PROBES = (Path(__file__).parent / "probes.py").read_text()
PYTHON = "/usr/bin/python3"
SHARED = Path("/tmp/immure-probe-of-the-host")

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"
HEADING = "## Where it is stricter"

STRICTER = {
    "read the login": "a login stays outside",
    "read the host's /tmp": "/tmp and /var/tmp are the sandbox's own",
    "create in /var/tmp": "/tmp and /var/tmp are the sandbox's own",
    "list /run": "sockets of the host's services and of your session lie there",
    "create in /run": "sockets of the host's services and of your session lie there",
    "list /sys": "it tells of the machine, and of other containers",
    "read /etc/shadow": "of /etc only what programs need is shown",
    "create in /etc": "the system is read-only",
    "create in /usr": "the system is read-only",
    "connect to a server of the host": "a network is the sandbox's own; whoever connects meets the gate",
    "connect to a socket in the workspace": "a program of the host serves it: --allow-unix-socket",
    "create .codex": "protected paths are more than Codex's",
    "create .envrc": "protected paths are more than Codex's",
    "write .git/config": "protected paths are more than Codex's",
    "create a file in .git/hooks": "protected paths are more than Codex's",
    "remove .git": "protected paths are more than Codex's",
}
"""What Codex may permit and these walls refuse, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A configuration (in which {home}, {codex} and {codex_home} are filled in), arguments, and what the case is about: probes that
    both must refuse, and probes that both must permit."""

    name: str
    config: str = ""
    arguments: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    permits: tuple[str, ...] = ()


LAB = """
[permissions.lab]
extends = ":read-only"
[permissions.lab.filesystem]
"""
MINIMAL = """
[permissions.lab.filesystem]
":minimal" = "read"
"{codex}" = "read"
"{codex_home}" = "read"
"""
IN_WORKSPACE = '\n[permissions.lab.filesystem.":workspace_roots"]\n'
NETWORK = ("-c", "sandbox_mode=workspace-write", "-c", "sandbox_workspace_write.network_access=true")
CASES = (
    Case(name="nothing said", denies=("write a file of the workspace", "create in /tmp"), permits=("read a file of the home",)),
    Case(name=":read-only", arguments=("-P", ":read-only"), denies=("create a file in the workspace",)),
    Case(
        name=":workspace",
        arguments=("-P", ":workspace"),
        denies=("create a file in .git", "create .codex", "create .aws", "write elsewhere", "make a socket of the internet"),
        permits=("create a file in the workspace", "create in /tmp", "run a program of the workspace"),
    ),
    Case(name=":danger-full-access", arguments=("-P", ":danger-full-access"), permits=("create a file in the home",)),
    Case(name="a file's sandbox_mode alone", config='sandbox_mode = "workspace-write"', denies=("write a file of the workspace",)),
    Case(name="a typed sandbox_mode", arguments=("-c", "sandbox_mode=workspace-write"), permits=("write a file of the workspace",)),
    Case(name="a typed full access", arguments=("-c", 'sandbox_mode="danger-full-access"'), permits=("create elsewhere",)),
    Case(name="with a network", arguments=NETWORK, permits=("make a socket of the internet",)),
    Case(
        name="writable roots and no /tmp",
        config='[sandbox_workspace_write]\nwritable_roots = ["{home}/elsewhere", "{home}/nowhere"]\nexclude_slash_tmp = true\n',
        arguments=("-c", "sandbox_mode=workspace-write"),
        denies=("create in /tmp", "create elsewhere/.git"),
        permits=("write elsewhere",),
    ),
    Case(name="default_permissions", config='default_permissions = ":workspace"', permits=("create a file in the workspace",)),
    Case(
        name="a mode over a file's default",
        config='default_permissions = ":workspace"',
        arguments=("-c", "sandbox_mode=read-only"),
        denies=("create a file in the workspace",),
    ),
    Case(
        name="a default and a mode in one file",
        config='default_permissions = ":workspace"\nsandbox_mode = "danger-full-access"',
        denies=("create elsewhere",),
        permits=("create a file in the workspace",),
    ),
    Case(
        name="the profile of the built-in workspace takes no roots",
        config='default_permissions = ":workspace"\n'
        '[sandbox_workspace_write]\nwritable_roots = ["{home}/elsewhere"]\nnetwork_access = true',
        denies=("write elsewhere", "make a socket of the internet"),
    ),
    Case(
        name="a directory denied, and one within it read",
        config=LAB + '"{home}/elsewhere" = "deny"\n"{home}/elsewhere/inner" = "read"',
        arguments=("-P", "lab"),
        denies=("read elsewhere", "read elsewhere/inner"),
    ),
    Case(
        name="a directory denied, and one within it written",
        config=LAB + '"{home}/elsewhere" = "deny"\n"{home}/elsewhere/inner" = "write"',
        arguments=("-P", "lab"),
        denies=("read elsewhere",),
        permits=("create elsewhere/inner",),
    ),
    Case(
        name="a directory written, and one within it read",
        config=LAB + '"{home}/elsewhere" = "write"\n"{home}/elsewhere/inner" = "read"',
        arguments=("-P", "lab"),
        denies=("create elsewhere/inner", "create elsewhere/.git"),
        permits=("create elsewhere", "read elsewhere/inner"),
    ),
    Case(
        name="write, read and write again",
        config=LAB + '"{home}/elsewhere" = "read"\n"{home}" = "deny"\n"{home}/elsewhere/inner" = "write"',
        arguments=("-P", "lab"),
        denies=("read elsewhere", "read a file of the home"),
        permits=("create elsewhere/inner",),
    ),
    Case(
        name="an entry twice",
        config=LAB + '"{home}/elsewhere" = "read"\n"{home}/elsewhere/" = "write"',
        arguments=("-P", "lab"),
        permits=("create elsewhere",),
    ),
    Case(name="a link", config=LAB + '"{home}/link" = "write"', arguments=("-P", "lab"), permits=("create elsewhere",)),
    Case(name="none for deny", config=LAB + '"~/elsewhere" = "none"', arguments=("-P", "lab"), denies=("read elsewhere",)),
    Case(
        name="a file denied",
        config=LAB + '"{home}/.ssh/id" = "deny"',
        arguments=("-P", "lab"),
        denies=("read a private file of the home",),
    ),
    Case(name="subtrees", config=LAB + '"{home}/elsewhere/**" = "write"', arguments=("-P", "lab"), permits=("create elsewhere/inner",)),
    Case(
        name="nothing but the system and the workspace",
        config=MINIMAL + IN_WORKSPACE + '"." = "write"\n"secret" = "deny"\n"**/.env" = "deny"\n"sub" = "read"',
        arguments=("-P", "lab"),
        denies=("read .env", "read sub/deep/.env", "read secret/file", "create a file in sub", "read a file of the home", "create in /tmp"),
        permits=("create a file in the workspace", "run a program of the system"),
    ),
    Case(
        name="how deep a pattern goes",
        config=MINIMAL + "glob_scan_max_depth = 1" + IN_WORKSPACE + '"." = "read"\n"**/.env" = "deny"',
        arguments=("-P", "lab"),
        denies=("read .env",),
        permits=("read sub/deep/.env",),
    ),
    Case(
        name="a missing path within what is written",
        config=MINIMAL + IN_WORKSPACE + '"." = "write"\n"missing" = "read"\n".codex" = "write"',
        arguments=("-P", "lab"),
        denies=("create missing",),
    ),
    Case(
        name="an inherited profile",
        config='[permissions.lab]\nextends = "base"\n[permissions.base]\nextends = ":workspace"\n'
        "[permissions.base.network]\nenabled = true\n"
        '[permissions.base.filesystem]\n"{home}/elsewhere" = "write"\n"{home}/.ssh" = "deny"\n'
        '[permissions.lab.filesystem.":workspace_roots"]\n".git" = "write"\n[permissions.lab.filesystem]\n"{home}/elsewhere" = "read"\n',
        arguments=("-P", "lab"),
        denies=("write elsewhere", "read a private file of the home"),
        permits=("create a file in .git", "make a socket of the internet"),
    ),
    Case(
        name="more workspace roots",
        config='[permissions.lab]\nextends = ":workspace"\n[permissions.lab.workspace_roots]\n"~/elsewhere" = true\n"{home}/.ssh" = false',
        arguments=("-P", "lab"),
        denies=("create elsewhere/.git", "create a file in the home"),
        permits=("create elsewhere",),
    ),
    Case(
        name="a profile that is typed",
        arguments=("-c", 'permissions.x.extends=":workspace"', "-c", "default_permissions=x"),
        permits=("create a file in the workspace",),
    ),
    Case(name="no /tmp at all", config=LAB + '":slash_tmp" = "deny"', arguments=("-P", "lab"), denies=("create in /tmp",)),
)
AS_ROOT = CASES[1:4] + CASES[-7:-4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Both commands, for one user of one household. `port` is served outside."""

    user: OrdinaryUser
    port: int

    def verdicts(self, case: Case) -> tuple[dict[str, str], dict[str, str]]:
        """Those of immure and those of Codex."""
        return self._tried(case, [self.user.program, "sandbox"]), self._tried(case, [str(self.codex), "sandbox"])

    @property
    def codex(self) -> Path:
        return Path(self.user.home.directory) / "peer" / "bin" / "codex"

    def _tried(self, case: Case, words: list[str]) -> dict[str, str]:
        home = self.user.home
        lay_out(home)
        codex_home = Path(home.directory) / "codex-home"
        text = case.config.format(home=home.home, codex=self.codex.parents[1], codex_home=codex_home)
        (codex_home / "config.toml").write_text(text)
        if self.user.identity:
            give_away(home.directory, self.user.uid)
        with socket.socket(socket.AF_UNIX) as served:
            served.bind(f"{home.workspace}/socket")
            os.chmod(f"{home.workspace}/socket", 0o777)
            served.listen()
            environment = {"CODEX_HOME": str(codex_home)}
            made = self.user.call_program(
                [*words, *case.arguments, "--", PYTHON, "-c", PROBES, home.home, str(self.port)], environment=environment
            )
        assert made.returncode == 0, made.stderr.decode()
        found: dict[str, str] = json.loads(made.stdout)
        return found


def lay_out(home: Household) -> None:
    """A home and a workspace as the probes want them."""
    workspace, own = Path(home.workspace), Path(home.home)
    for entry in workspace.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    shutil.rmtree(own / "elsewhere", ignore_errors=True)
    for directory in (
        own / ".ssh",
        own / "elsewhere/inner",
        workspace / "sub/deep",
        workspace / "secret",
        *(workspace / ".git" / name for name in ("hooks", "objects", "refs")),
    ):
        directory.mkdir(parents=True, exist_ok=True)
    for file in ("file", "sub/file", "sub/deep/.env", ".env", "secret/file", ".git/config"):
        (workspace / file).write_text("")
    (workspace / ".git/HEAD").write_text("ref: refs/heads/main\n")
    for file in ("file", ".ssh/id", "elsewhere/file", "elsewhere/inner/file"):
        (own / file).write_text("")
    (workspace / "program").write_text("#!/bin/sh\n")
    (workspace / "program").chmod(0o755)
    if not (own / "link").is_symlink():
        (own / "link").symlink_to(own / "elsewhere")


@contextmanager
def peers_of(user: OrdinaryUser) -> Iterator[Peers]:
    with ExitStack() as stack:
        peer = Path(user.home.directory) / "peer" / "bin"
        peer.mkdir(parents=True)
        shutil.copy(NATIVE, peer / "codex")
        (Path(user.home.directory) / "codex-home").mkdir()
        SHARED.write_text("")
        stack.callback(SHARED.unlink, missing_ok=True)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield Peers(user=user, port=server.getsockname()[1])


@pytest.fixture(scope="module")
def peers(user: OrdinaryUser) -> Iterator[Peers]:
    with peers_of(user) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_both_agree_but_where_these_walls_are_stricter(case: Case, peers: Peers) -> None:
    assert_agreement(case, peers)


if os.getuid() == 0:

    @pytest.fixture(scope="module")
    def peers_of_root(fake: FakeOpenAI) -> Iterator[Peers]:
        with Household(fake) as home, peers_of(OrdinaryUser(home, command(), os.getuid())) as made:
            yield made

    @pytest.mark.parametrize("case", AS_ROOT, ids=[case.name for case in AS_ROOT])
    def test_both_agree_for_root(case: Case, peers_of_root: Peers) -> None:
        assert_agreement(case, peers_of_root)


def assert_agreement(case: Case, peers: Peers) -> None:
    ours, codexs = peers.verdicts(case)
    differing = {probe: (ours[probe], codexs[probe]) for probe in ours if ours[probe] != codexs[probe]}
    assert {probe: verdicts for probe, verdicts in differing.items() if verdicts != ("no", "yes") or probe not in STRICTER} == {}
    assert {probe: ours[probe] for probe in case.denies} == dict.fromkeys(case.denies, "no")
    assert {probe: ours[probe] for probe in case.permits} == dict.fromkeys(case.permits, "yes")


def test_the_reference_lists_every_difference() -> None:
    rows = [line.split("|")[1:3] for line in REFERENCE.read_text().partition(HEADING)[2].splitlines() if line.startswith("|")]
    assert {(probe.strip(), reason.strip()) for probe, reason in rows[2:]} == set(STRICTER.items())
