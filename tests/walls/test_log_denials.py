"""`--log-denials`: what was denied is listed at the end, and nothing becomes of a command that would not have become of it otherwise."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from ordinary_user import OrdinaryUser, give_away

from immure.testing.household import Household, command

PYTHON = "/usr/bin/python3"
# A command, and what of it is listed: verb and path, or host.
COMMANDS: dict[str, tuple[list[str], set[str]]] = {
    "nothing": (["sh", "-c", "echo > made; mkdir d; mv made d/; rm -r d; cat /etc/os-release > /dev/null; echo > /tmp/x"], set()),
    "a shell": (["bash", "-c", "echo > /etc/x; echo >> /usr/y; : > ok"], {"write /etc/x", "write /usr/y"}),
    "programs of the system": (
        ["sh", "-c", "touch /usr/a; mkdir /etc/b; ln -s x /etc/c; rm -f /usr/bin/env; mv .git elsewhere; truncate -s 0 /usr/bin/env"],
        {"write /usr/a", "make /etc/b", "make /etc/c", "remove /usr/bin/env", "rename {workspace}/.git", "write /usr/bin/env"},
    ),
    "a protected path": (["sh", "-c", "echo > .git/config; rm .git/hooks/x"], {"write {workspace}/.git/config"}),
    "Python": (
        [
            PYTHON,
            "-c",
            (
                "import os; os.chdir('/usr')\nfor do in (lambda: open('z', 'w'), lambda: os.mkdir('../etc/d')):"
                "\n try: do()\n except OSError: pass"
            ),
        ],
        {"write /usr/z", "make /usr/../etc/d"},
    ),
    "a directory by descriptor": (
        [
            PYTHON,
            "-c",
            ("import os\nd = os.open('/usr', os.O_RDONLY)\ntry: os.open('w', os.O_WRONLY | os.O_CREAT, dir_fd=d)\nexcept OSError: pass"),
        ],
        {"write /usr/w"},
    ),
    "a call of its own": (
        [
            PYTHON,
            "-c",
            (
                "import ctypes\nc = ctypes.CDLL(None)\nc.syscall(85, b'/usr/v', 0o644)"
                "\nc.syscall(437, -100, b'/usr/u', b'\\1' + bytes(23), 24)\n"
                "c.syscall(437, -100, b'/usr/bin/env', b'\\1' + bytes(23), 24); c.syscall(437, -100, b'/usr/bin/env', bytes(24), 24)"
            ),
        ],
        {"write /usr/v", "write /usr/bin/env"},
    ),
    "a home that is not shown": (["sh", "-c", "mkdir {home}/new; echo > {home}/.profile"], {"make {home}/new", "write {home}/.profile"}),
    "a link out of the workspace": (["sh", "-c", "ln -s /usr/t link; echo > link"], {"write {workspace}/link"}),
    "an agent's own sandbox": (
        ["sh", "-c", "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev sh -c 'echo > made; mkdir /x'"],
        {"write {workspace}/made", "make /x"},
    ),
    "the network": (["curl", "--silent", "--output", "/dev/null", "https://denied.example.com/x"], {"denied.example.com:443"}),
    "threads and processes": (
        [
            PYTHON,
            "-c",
            (
                "import os, threading\ndef go(n):\n try: open(f'/usr/t{n}', 'w')\n except OSError: pass\n"
                "t = [threading.Thread(target=go, args=(n,)) for n in range(4)]\n[x.start() for x in t]; [x.join() for x in t]\n"
                "if os.fork() == 0:\n go(9); os._exit(0)\nos.wait()"
            ),
        ],
        {*(f"write /usr/t{number}" for number in range(4)), "write /usr/t9"},
    ),
}
if shutil.which("node"):
    COMMANDS["node"] = (
        [
            "node",
            "-e",
            (
                "const fs = require('fs'); for (const f of [() => fs.writeFileSync('/usr/n', ''),"
                " () => fs.rmdirSync('/usr/lib')]) try { f() } catch {}"
            ),
        ],
        {"write /usr/n", "remove /usr/lib"},
    )
if shutil.which("cc"):
    COMMANDS["a program in C"] = (
        ["sh", "-c", ("printf '#include <fcntl.h>\\n#include <stdio.h>\\nint main() { open(\"/usr/c\", O_CREAT | O_WRONLY, 0600);"
         " rename(\"/usr/bin/env\", \"/usr/bin/f\"); return 3; }' > c.c && cc -o c c.c && ./c")],
        {"write /usr/c", "rename /usr/bin/env"},
    )  # fmt: skip


def listed(stderr: str) -> set[str]:
    """What the list at the end says, without times and programs."""
    _, heading, lines = stderr.partition("immure: denied:\n")
    if not heading:
        assert stderr.endswith("immure: nothing was denied\n")
        return set()
    found = [re.fullmatch(r'\d\d:\d\d:\d\d DENY  \S+  (.+?)  .*"(?: \(\d+ times\))?', line) for line in lines.splitlines()]
    return {one[1] for one in found if one} if all(found) else {lines}


def check(user: OrdinaryUser, name: str) -> None:
    program, denied = COMMANDS[name]
    place = {"workspace": os.path.realpath(user.home.workspace), "home": user.home.home}
    words = [word.replace("{workspace}", place["workspace"]).replace("{home}", place["home"]) for word in program]
    renew(user)
    plain = user.call("run", "--", *words)
    renew(user)
    watched = user.call("run", "--log-denials", "--", *words)
    assert (watched.returncode, watched.stdout) == (plain.returncode, plain.stdout)
    assert watched.stderr.startswith(plain.stderr)
    assert listed(watched.stderr.decode()) == {each.format(**place) for each in denied}


def renew(user: OrdinaryUser) -> None:
    """A repository, as if nothing had been done in it."""
    workspace = Path(user.home.workspace)
    for entry in workspace.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (workspace / ".git").mkdir()
    for name in ("objects", "refs", "hooks"):
        (workspace / ".git" / name).mkdir()
    (workspace / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (workspace / ".git" / "config").write_text("")
    if user.identity:
        give_away(user.home.directory, user.uid)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_denied_is_listed_and_nothing_else_changes(household: Household, name: str) -> None:
    check(OrdinaryUser(household, command(), os.getuid()), name)


@pytest.mark.parametrize("name", ["a shell", "programs of the system", "a protected path", "a home that is not shown", "the network"])
def test_what_was_denied_is_listed_for_an_ordinary_user(user: OrdinaryUser, name: str) -> None:
    check(user, name)


def test_it_lists_for_codex_and_for_a_profile_too(home: Household) -> None:
    result = home.run("sandbox", "-P", ":read-only", "--log-denials", "--", "sh", "-c", "echo > here; echo > /tmp/x")
    assert listed(result.stderr) == {f"write {os.path.realpath(home.workspace)}/here", "write /tmp/x"}


def test_the_trail_has_what_is_listed(home: Household) -> None:
    home.run("run", "--log-denials", "--", "sh", "-c", "echo > /usr/in-the-trail")
    event = next(json.loads(line) for line in home.run("logs", "--json").stdout.splitlines() if "in-the-trail" in line)
    assert (event["class_uid"], event["action"], event["activity_name"]) == (1001, "Denied", "write")
    assert event["actor"]["process"]["file"]["path"].startswith("/usr/bin/")
    assert "DENY  " in home.run("logs", "-n", "1").stdout
    assert "write /usr/in-the-trail" in home.run("logs", "-n", "1").stdout


def test_nothing_is_watched_unless_it_is_asked_for(home: Household) -> None:
    home.run("run", "--", "sh", "-c", "echo > /usr/not-in-the-trail")
    assert "not-in-the-trail" not in home.run("logs", "--json").stdout


def test_many_files_are_made_as_fast_as_they_come(home: Household) -> None:
    script = "import os\nfor n in range(3000):\n os.close(os.open(f'f{n}', os.O_WRONLY | os.O_CREAT)); os.unlink(f'f{n}')"
    result = home.run("run", "--log-denials", "--", PYTHON, "-c", script)
    assert (result.returncode, result.stderr) == (0, "immure: nothing was denied\n")
