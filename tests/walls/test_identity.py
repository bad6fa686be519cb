"""Who may reach a host is a program file, not a name: what only looks like it is refused, and the far side hears nothing."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from far_side import EAR
from near_side import assert_one_error, begun, line

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI

CURL = os.path.realpath(shutil.which("curl") or "/usr/bin/curl")
POLICY = f"version: 1\nrules:\n  - name: only curl\n    endpoints: [{EAR}]\n    binaries: [{CURL}]\n"
ASK = f'"$@" --silent --output /dev/null --write-out "%{{http_code}}" https://{EAR}/asked'
PYTHON = f"import urllib.request as u; print(u.urlopen('https://{EAR}/asked').status)"
PYTHON_FILE = os.path.realpath("/usr/bin/python3")
AS_ROOT = "unshare --user --map-root-user --mount sh -c"

# What pretends to be curl, as a shell script; "$@" is how it is then called.
PRETENDERS = {
    "a copy": "cp {curl} ./curl; set -- ./curl; {ask}",
    "a copy of the same name elsewhere on PATH": "mkdir bin; cp {curl} bin/curl; PATH=$PWD/bin:$PATH; set -- curl; {ask}",
    "a copy named by argv[0]": "cp {curl} other; set -- bash -c 'exec -a {curl} ./other \"$@\"' -; {ask}",
    "a copy in the place of the program": "cp {curl} copy; {root} 'mount --bind copy {curl}; set -- {curl}; {quoted}'",
    "a tree in the place of the system": (
        "mkdir -p tree/bin; cp {curl} tree/bin/; ln -s /tmp/lib tree/lib; ln -s /tmp/lib64 tree/lib64; "
        "{root} 'mount --rbind /usr /tmp; mount --bind tree /usr; set -- /usr/bin/curl; {quoted}'"
    ),
    "an overlay with a copy in it": (
        "mkdir over; cp {curl} over/; {root} 'mount -t overlay overlay -o lowerdir=$PWD/over:/usr/bin /usr/bin && set -- {curl}; {quoted}'"
    ),
    "a copy that is removed before it runs": (
        'cp {curl} gone; set -- python3 -c \'import os, sys; f = os.open("gone", 0); os.unlink("gone"); '
        'os.execve(f, ["{curl}", *sys.argv[1:]], dict(os.environ))\'; {ask}'
    ),
    "a copy in memory": (
        'set -- python3 -c \'import os, sys; f = os.memfd_create("curl"); os.write(f, open("{curl}", "rb").read()); '
        'os.execve(f, ["{curl}", *sys.argv[1:]], dict(os.environ))\'; {ask}'
    ),
    "the program, started by the loader": "set -- $(ls /lib64/ld-linux-*.so.*) {curl}; {ask}",
    "a script that curl is named in": "printf '#!/usr/bin/python3\\n%s\\n' \"{python}\" > curl; chmod +x curl; ./curl 2>&1",
    "a program started by curl's name in the command line": 'python3 -c "{python}" {curl} 2>&1',
    "a program that takes curl's name": (
        'printf \'open("/proc/self/comm", "w").write("curl")\\n%s\\n\' "{python}" > x.py; python3 x.py 2>&1'
    ),
    "a program that cannot be looked into": (
        "printf 'import ctypes; ctypes.CDLL(None).prctl(4, 0)\\n%s\\n' \"{python}\" > x.py; python3 x.py 2>&1"
    ),
}
# How the program itself is started; it stays itself.
ITSELF = {
    "by its path": "set -- {curl}; {ask}",
    "by a symbolic link": "ln -s {curl} link; set -- ./link; {ask}",
    "as a child of a child": 'set -- sh -c \'sh -c "{curl} \\"\\$@\\"" - "$@"\' -; {ask}',
    "in a sandbox within": "set -- bwrap --bind / / --proc /proc --dev /dev --unshare-user --unshare-pid {curl}; {ask}",
    "as root of a nested namespace": "set -- unshare --user --map-root-user {curl}; {ask}",
}


@pytest.fixture
def policy(home: Household) -> str:
    path = Path(home.home) / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def run(home: Household, policy: str, script: str) -> str:
    filled = script.format(curl=CURL, ask=ASK, root=AS_ROOT, quoted=ASK, python=PYTHON)
    return home.run("run", "--policy", policy, "--", "bash", "-c", filled).stdout


@pytest.mark.parametrize("script", ITSELF.values(), ids=ITSELF)
def test_the_named_program_is_let_through_however_it_is_started(script: str, home: Household, policy: str, fake: FakeOpenAI) -> None:
    assert run(home, policy, script) == "200"
    assert [one.path for one in fake.record.all(host=EAR)] == ["/asked"]


@pytest.mark.parametrize("script", PRETENDERS.values(), ids=PRETENDERS)
def test_what_looks_like_it_is_refused(script: str, home: Household, policy: str, fake: FakeOpenAI) -> None:
    said = run(home, policy, script)
    assert "403" in said, "it did ask, and was told why not"
    assert fake.record.all() == []


def events(home: Household) -> list[dict[str, Any]]:
    """All that the trail holds of the sandbox that was the last to ask for anything."""
    trail = [json.loads(text) for text in home.run("logs", "--json").stdout.splitlines()]
    return [event for event in trail if event["metadata"]["correlation_uid"] == trail[-1]["metadata"]["correlation_uid"]]


def test_a_pid_that_changes_hands_says_nothing(home: Household, policy: str, fake: FakeOpenAI) -> None:
    """In a namespace of its own, root may say which pid comes next."""
    (Path(home.workspace) / "x.py").write_text(f"import os\nprint(os.getpid())\n{PYTHON}\n")
    script = (
        "unshare --user --map-root-user --pid --fork --mount-proc sh -c '"
        'echo 100 > /proc/sys/kernel/ns_last_pid; {curl} --silent --output /dev/null --write-out "%{{http_code}} " https://{ear}/asked; '
        "echo 100 > /proc/sys/kernel/ns_last_pid; python3 x.py 2>&1'"
    )
    said = home.run("run", "--policy", policy, "--", "bash", "-c", script.format(curl=CURL, ear=EAR)).stdout
    assert said.startswith("200 101\n"), "the control, and the same pid"
    assert "403" in said
    assert [one.path for one in fake.record.all(host=EAR)] == ["/asked"]


SHORT = f"""
import os, socket
address = socket.gethostbyname("{EAR}")
for _ in range(1000):
    pid = os.fork()
    if pid == 0:
        s = socket.socket(); s.connect((address, 443)); s.send(b"\\0"); os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
"""


def test_a_thousand_that_are_gone_at_once_are_all_named(home: Household, policy: str) -> None:
    (Path(home.workspace) / "short.py").write_text(SHORT)
    assert home.run("run", "--policy", policy, "--", "python3", "short.py").returncode == 0
    found = [event["actor"]["process"] for event in events(home)]
    assert len(found) == 1000
    assert {process["file"]["path"] for process in found} == {PYTHON_FILE}
    assert {process["name"] for process in found} == {"short.py"}
    assert {tuple(ancestor["path"] for ancestor in process["ancestry"]) for process in found} == {(PYTHON_FILE,)}


def test_no_program_can_name_another_as_its_own(home: Household, policy: str) -> None:
    """PR_SET_MM, by which root of a nested namespace could. The size of its argument is told to anybody, where nothing is in the way."""
    ask = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.prctl(35, 15, ctypes.byref(ctypes.c_uint()), 0, 0)"
    code = f"{ask}; print(ctypes.get_errno())"
    assert home.run("run", "--policy", policy, "--", *AS_ROOT.split()[:-2], "python3", "-c", code).stdout == "1\n"
    assert subprocess.run([PYTHON_FILE, "-c", code], capture_output=True, text=True, check=True).stdout != "1\n", "the control"


# ---------------------------------------------------------------- children


CHILDREN = {
    # how Python, which the rule is for, and its children start curl; allowed
    "a child": ("python3 start.py run {curl} {ask}", True),
    "a grandchild, by a shell": ("python3 start.py run sh -c '\"$@\"; true' - {curl} {ask}", True),
    "through a sandbox within": (
        "python3 start.py run bwrap --bind / / --proc /proc --dev /dev --unshare-user --unshare-pid {curl} {ask}",
        True,
    ),
    "as root of a nested namespace": ("python3 start.py run unshare --user --map-root-user --pid --fork {curl} {ask}", True),
    "after an exec": ("python3 start.py run bash -c 'exec \"$@\"' - {curl} {ask}", True),
    "a child of a shell": ("{curl} {ask}", False),
    "a child of a copy": ("cp {python} ./python; ./python start.py run {curl} {ask}", False),
    "a sibling": ("python3 -c 'input()' < pipe & {curl} {ask}; echo > pipe", False),
    "a daemon": ("python3 start.py daemon {curl} {ask}", False),
}
START = """
import os, subprocess, sys
way, *words = sys.argv[1:]
if way == "run":
    sys.exit(subprocess.run(words).returncode)
over, held = os.pipe()
os.set_inheritable(held, True)
if os.fork() == 0:
    between = os.getpid()
    if os.fork() == 0:
        os.setsid()
        while os.getppid() == between:
            os.sched_yield()
        os.execvp(words[0], words)
    os._exit(0)
os.wait()
os.close(held)
os.read(over, 1)
"""
WITH_CHILDREN = f"version: 1\nrules:\n  - name: p\n    endpoints: [{EAR}]\n    binaries: [{{path: {PYTHON_FILE}, children: allow}}]\n"


@pytest.mark.parametrize(("script", "allowed"), CHILDREN.values(), ids=CHILDREN)
def test_the_children_of_a_program(script: str, allowed: bool, home: Household, policy: str, fake: FakeOpenAI) -> None:
    Path(policy).write_text(WITH_CHILDREN)
    (Path(home.workspace) / "start.py").write_text(START)
    ask = f"--silent --output /dev/null --write-out '%{{http_code}}' https://{EAR}/asked"
    filled = "mkfifo pipe; " + script.format(curl=CURL, ask=ask, python=PYTHON_FILE)
    result = home.run("run", "--policy", policy, "--", "bash", "-c", filled)
    assert result.stdout == ("200" if allowed else "403"), result.stderr
    assert len(fake.record.all(host=EAR)) == allowed


# ---------------------------------------------------------------- a program of one's own, which changes


@pytest.fixture
def tool(home: Household, policy: str) -> Iterator[Path]:
    """A curl in the workspace, which the agent may write, and a rule for it."""
    made = Path(home.workspace) / "tool"
    shutil.copy(CURL, made)
    Path(policy).write_text(POLICY.replace(CURL, str(made)))
    yield made
    home.run("trust", "remove", str(made))


ASK_TOOL = f"--silent --output answer --write-out '%{{http_code}}\\n' https://{EAR}/asked"
SAME = {
    "as it is": "./tool {ask}",
    "by a hard link": "ln tool link; ./link {ask}",
    "by a symbolic link": "ln -s tool link; ./link {ask}",
    "renamed": "mv tool renamed; ./renamed {ask}",
    "touched": "touch tool; ./tool {ask}",
    "bound to another place": "touch place; {root} 'mount --bind tool place; ./place {ask}'",
}
OTHER = {
    # how it changes inside; whether its content is another
    "overwritten": ("cp tool new; printf x >> new; cat new > tool; ./tool {ask}", True),
    "overwritten in one place": ("printf '\\001' | dd of=tool bs=1 seek=15 conv=notrunc status=none; ./tool {ask}", True),
    "replaced by a copy": ("cp tool new; mv new tool; ./tool {ask}", False),
    "replaced, with its times": ("cp --preserve=all tool new; mv new tool; ./tool {ask}", False),
}


@pytest.mark.parametrize("script", SAME.values(), ids=SAME)
def test_a_file_is_the_program_by_whatever_name(script: str, home: Household, policy: str, tool: Path) -> None:
    filled = script.format(ask=ASK_TOOL.replace("'", '"') if "{root}" in script else ASK_TOOL, root=AS_ROOT)
    assert home.run("run", "--policy", policy, "--", "bash", "-c", filled).stdout == "200\n"


@pytest.mark.parametrize(("script", "is_new"), OTHER.values(), ids=OTHER)
def test_a_program_that_has_changed_is_refused(script: str, is_new: bool, home: Household, policy: str, tool: Path) -> None:
    first = home.run("run", "--policy", policy, "--", "bash", "-c", f"./tool {ASK_TOOL}")
    assert first.stdout == "200\n", "the control"
    assert first.stderr == f"immure: trusted from now on as it is (see immure trust list): {tool}\n"

    inside = home.run("run", "--policy", policy, "--", "bash", "-c", script.format(ask=ASK_TOOL))
    assert (inside.stdout, inside.stderr) == ("403\n", "")
    refusal = json.loads((Path(home.workspace) / "answer").read_text())["error"]
    assert (refusal["rule"], refusal["hint"]) == ("trust", f"immure trust update {tool}")

    again = home.run("run", "--policy", policy, "--", "bash", "-c", f"./tool {ASK_TOOL}")
    if is_new:
        assert_one_error(again.returncode, again.stderr, expected=2, code="trust.changed")
        assert f"hint: if you have updated it: immure trust update {tool}" in again.stderr
    else:
        assert again.stdout == "200\n"


def test_an_update_holds_for_a_sandbox_that_runs(home: Household, policy: str, tool: Path, fake: FakeOpenAI) -> None:
    loop = f"while read; do ./tool {ASK_TOOL}; done"
    with begun(home, "run", "--policy", policy, "--", "bash", "-c", loop, stdin=subprocess.PIPE) as sandbox:
        assert sandbox.stdin is not None

        def asked() -> str:
            assert sandbox.stdin is not None
            sandbox.stdin.write(b"\n")
            sandbox.stdin.flush()
            return line(sandbox)

        assert asked() == "200"
        new = tool.with_name("new")
        shutil.copy(CURL, new)
        with new.open("ab") as file:
            file.write(b"x")
        new.rename(tool)
        assert asked() == "403"
        assert len(fake.record.all(host=EAR)) == 1
        updated = home.run("trust", "update", str(tool))
        assert updated.returncode == 0, updated.stderr
        assert asked() == "200"
        sandbox.stdin.close()
        assert sandbox.wait(30) == 0
