"""`immure run` as a user has it: every option, streams, signals, exit statuses; and no network until it is asked for."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from far_side import EAR, OTHER_EAR
from near_side import PATIENCE, assert_one_error, begun, call, ended, line, make_repository, processes

from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI

LARGE = 50 * 1024 * 1024
DEVICES = ("/dev/fuse", "/dev/net/tun", "/dev/kmsg", "/dev/kvm", "/dev/loop-control")
"""Some of which any machine has."""
ASK = ("curl", "--silent", "--show-error", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}")


@pytest.fixture(scope="module")
def neighbour(household: Household) -> Path:
    """A directory beside the workspace."""
    made = Path(household.directory) / "neighbour"
    made.mkdir()
    (made / "file.txt").write_text("beside\n")
    return made


# ---------------------------------------------------------------- what is shown


def test_the_workspace_is_where_you_are(home: Household) -> None:
    (Path(home.workspace) / "deep" / "down").mkdir(parents=True)
    result = call(home, "run", "-w", home.workspace, "--", "pwd", cwd=Path(home.workspace) / "deep")
    assert result.stdout.decode() == f"{home.workspace}/deep\n"
    result = call(home, "run", "--", "sh", "-c", "pwd; ls ..", cwd=Path(home.workspace) / "deep" / "down")
    assert result.stdout.decode() == f"{home.workspace}/deep/down\ndown\n"


@pytest.mark.parametrize("option", ["-w", "--workspace"])
def test_another_workspace(option: str, home: Household, neighbour: Path) -> None:
    result = call(home, "run", option, "../neighbour", "--", "sh", "-c", f"pwd; echo new > new.txt; ls {home.workspace}")
    assert result.stdout.decode() == f"{neighbour}\n"
    assert b"No such file" in result.stderr
    assert (neighbour / "new.txt").read_text() == "new\n"


def test_a_workspace_by_a_link_is_shown_at_its_real_path(home: Household, neighbour: Path) -> None:
    link = Path(home.directory) / "link"
    link.symlink_to(neighbour)
    assert call(home, "run", "-w", str(link), "--", "pwd").stdout.decode() == f"{neighbour}\n"
    assert call(home, "run", "--", "pwd", cwd=link).stdout.decode() == f"{neighbour}\n"


@pytest.mark.parametrize(("option", "status"), [("--ro", 1), ("--rw", 0)])
def test_another_directory_is_shown(option: str, status: int, home: Household, neighbour: Path) -> None:
    result = call(home, "run", option, "../neighbour", "--", "sh", "-c", f"cat {neighbour}/file.txt; echo more > {neighbour}/more.txt")
    assert (result.returncode != 0, result.stdout) == (status != 0, b"beside\n")
    assert (neighbour / "more.txt").exists() == (status == 0)
    (neighbour / "more.txt").unlink(missing_ok=True)


def test_a_single_file_is_shown(home: Household, neighbour: Path) -> None:
    result = call(home, "run", "--ro", str(neighbour / "file.txt"), "--", "ls", str(neighbour))
    assert result.stdout == b"file.txt\n"


def test_what_is_within_the_workspace_can_be_read_only(home: Household) -> None:
    part = Path(home.workspace) / "part"
    part.mkdir()
    assert call(home, "run", "--ro", "part", "--", "sh", "-c", "touch ordinary; touch part/new").returncode == 1
    assert not (part / "new").exists()
    assert (Path(home.workspace) / "ordinary").exists()


def test_a_name_that_is_not_text(home: Household) -> None:
    odd = os.fsencode(home.directory) + b"/odd \xff name"
    os.mkdir(odd)
    words = [os.fsencode(word) for word in (command(), "run", "-w")]
    script = [b"--", b"sh", b"-c", b'pwd; touch "$1"', b"-", b"\xfe"]
    result = subprocess.run([*words, odd, *script], env=home.environment, capture_output=True, timeout=PATIENCE)
    assert (result.returncode, result.stdout, result.stderr) == (0, odd + b"\n", b"")
    assert os.listdir(odd) == [b"\xfe"]


# ---------------------------------------------------------------- variables


def test_variables(home: Household) -> None:
    options = ["--env", "SET=to this=that", "--env", "EMPTY=", "--env", "PASSED"]
    script = 'printf "%s|" "$SET" "${EMPTY-unset}" "$PASSED" "${HIDDEN-unset}" "$LC_TIME"'
    environment = {"PASSED": "on", "HIDDEN": "secret", "LC_TIME": "C"}
    assert call(home, "run", *options, "--", "sh", "-c", script, environment=environment).stdout == b"to this=that||on|unset|C|"


def test_a_variable_that_is_not_set_is_said_to_be(home: Household) -> None:
    result = call(home, "run", "--env", "NOWHERE", "--", "true")
    assert_one_error(result.returncode, result.stderr, expected=2, code="usage.env")


# ---------------------------------------------------------------- exit statuses

STATUSES = [
    (["true"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "exit 125"], 125),
    (["sh", "-c", "exit 255"], 255),
    (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
    (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
    (["sh", "-c", "kill -SEGV $$"], 128 + signal.SIGSEGV),
    (["python3", "-c", "import os; os.abort()"], 128 + signal.SIGABRT),
]


@pytest.mark.parametrize(("words", "status"), STATUSES)
def test_the_exit_status_is_the_programs(words: list[str], status: int, home: Household) -> None:
    result = call(home, "run", "--", *words)
    assert (result.returncode, result.stderr) == (status, b"")


def test_a_program_that_is_not_there(home: Household) -> None:
    for words in (["nowhere"], ["./nowhere"], [f"{home.home}/nowhere"]):
        result = call(home, "run", "--", *words)
        assert_one_error(result.returncode, result.stderr, expected=127, code="program.not-found")


def test_a_program_that_cannot_be_executed(home: Household) -> None:
    (Path(home.workspace) / "text").write_text("#!/bin/sh\n")
    for words in (["./text"], ["/usr"]):
        result = call(home, "run", "--", *words)
        assert_one_error(result.returncode, result.stderr, expected=126, code="program.not-executable")


def test_words_reach_the_program_untouched(home: Household) -> None:
    words = ["", "two words", "--", "-w", "--allow", "$HOME", "`id`", "a\nb", "ü", "--help"]
    script = "import sys, json; print(json.dumps(sys.argv[1:]))"
    assert json.loads(call(home, "run", "--", "python3", "-c", script, *words).stdout) == words


# ---------------------------------------------------------------- streams


def test_streams_are_the_callers_own(home: Household) -> None:
    result = call(home, "run", "--", "sh", "-c", "cat; echo err >&2", data=bytes(range(256)))
    assert (result.stdout, result.stderr) == (bytes(range(256)), b"err\n")


def test_much_goes_through_a_pipe(home: Household) -> None:
    block = os.urandom(1 << 20)
    with begun(home, "run", "--", "cat", stdin=subprocess.PIPE) as program:
        assert program.stdin
        assert program.stdout
        pid = os.fork()
        if pid == 0:
            try:
                program.stdout.close()
                for _ in range(LARGE // len(block)):
                    program.stdin.write(block)
                program.stdin.close()
            finally:
                os._exit(0)
        program.stdin.close()
        got = hashlib.file_digest(program.stdout, "sha256").hexdigest()
        os.waitpid(pid, 0)
        assert ended_quietly(program) == 0
    expected = hashlib.sha256()
    for _ in range(LARGE // len(block)):
        expected.update(block)
    assert got == expected.hexdigest()


def ended_quietly(program: subprocess.Popen[bytes]) -> int:
    assert program.stderr
    assert program.stderr.read() == b""
    return program.wait(PATIENCE)


def test_a_reader_that_goes_away_ends_the_writer(home: Household) -> None:
    with begun(home, "run", "--", "yes") as program:
        assert line(program) == "y"
        assert program.stdout
        program.stdout.close()
        assert program.wait(PATIENCE) == 128 + signal.SIGPIPE


def test_files_as_streams(home: Household) -> None:
    source, target = Path(home.home) / "in.txt", Path(home.home) / "out.txt"
    source.write_text("from a file\n")
    target.write_text("kept\n")
    with source.open("rb") as stdin, target.open("ab") as stdout:
        words = [command(), "run", "--", "cat"]
        assert subprocess.run(words, cwd=home.workspace, env=home.environment, stdin=stdin, stdout=stdout, timeout=PATIENCE).returncode == 0
    assert target.read_text() == "kept\nfrom a file\n"


def test_a_file_that_is_read_cannot_be_written(home: Household) -> None:
    source = Path(home.home) / "in.txt"
    source.write_text("from a file\n")
    with (
        source.open("rb") as stdin,
        begun(home, "run", "--", "sh", "-c", "cat; echo more > /proc/self/fd/0; echo $?", stdin=stdin) as program,
    ):
        assert line(program) == "from a file"
        ended(program)
    assert source.read_text() == "from a file\n"


def test_closed_streams_are_empty_ones(home: Household) -> None:
    script = 'exec "$0" run -- sh -c "readlink /proc/self/fd/0 /proc/self/fd/2; cat" <&- 2>&-'
    result = subprocess.run(
        ["sh", "-c", script, command()], cwd=home.workspace, env=home.environment, capture_output=True, timeout=PATIENCE
    )
    assert (result.returncode, result.stdout) == (0, b"/dev/null\n/dev/null\n")


@pytest.mark.parametrize("device", [path for path in DEVICES if os.access(path, os.R_OK)])
def test_a_device_is_no_stream(device: str, home: Household) -> None:
    with open(os.open(device, os.O_RDONLY | os.O_NONBLOCK), "rb") as stdin, begun(home, "run", "--", "true", stdin=stdin) as program:
        status, stderr = ended(program)
    assert_one_error(status, stderr, expected=2, code="usage.stream")


# ---------------------------------------------------------------- signals

CATCH = 'trap "echo caught {0}; exit 9" {0}; echo ready; while :; do sleep 0.05; done'


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_a_signal_reaches_the_program(name: str, home: Household) -> None:
    with begun(home, "run", "--", "bash", "-c", CATCH.format(name)) as program:
        assert line(program) == "ready"
        program.send_signal(getattr(signal, f"SIG{name}"))
        assert line(program) == f"caught {name}"
        status, stderr = ended(program)
        assert (status, stderr.strip()) in [(9, ""), (9, "Quit")], "which is what bash says of its own child"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_that_is_not_handled_ends_the_program(name: str, home: Household) -> None:
    number = getattr(signal, f"SIG{name}")
    with begun(home, "run", "--", "sh", "-c", "echo ready; exec sleep 60") as program:
        assert line(program) == "ready"
        program.send_signal(number)
        assert ended(program) == (128 + number, "")


def test_an_interrupt_reaches_the_children_too_as_from_a_terminal(home: Household) -> None:
    with begun(home, "run", "--", "sh", "-c", "trap 'echo parent' INT; sh -c 'echo ready; sleep 60'; echo child ended by $?") as program:
        assert line(program) == "ready"
        program.send_signal(signal.SIGINT)
        assert [line(program), line(program)] == ["parent", f"child ended by {128 + signal.SIGINT}"]
        assert ended(program)[0] == 0


def test_what_nohup_ignores_stays_ignored(home: Household) -> None:
    with begun(
        home, "run", "--", "sh", "-c", "echo ready; read -r word; echo $word", stdin=subprocess.PIPE, preexec_fn=_ignore_hangup
    ) as program:
        assert line(program) == "ready"
        program.send_signal(signal.SIGHUP)
        assert program.stdin
        program.stdin.write(b"alive\n")
        program.stdin.flush()
        assert line(program) == "alive"
        assert ended(program) == (0, "")


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_signal_during_the_start_ends_it(name: str, home: Household) -> None:
    """At ten moments from the first instruction of the client on; whatever had been made by then is gone."""
    number = getattr(signal, f"SIG{name}")
    for delay in range(0, 50, 5):
        with begun(home, "run", "--", "sleep", "60.125") as program:
            try:
                program.wait(delay / 1000)
            except subprocess.TimeoutExpired:
                program.send_signal(number)
            status, stderr = ended(program)
            assert (status in (-number, 128 + number), stderr) == (True, ""), delay
    assert processes("sleep 60.125") == []


# ---------------------------------------------------------------- the network


def test_without_flags_nothing_is_reachable(home: Household, fake: FakeOpenAI) -> None:
    script = f"{' '.join(ASK)} https://{EAR}/; {' '.join(ASK)} http://{EAR}/; {' '.join(ASK)} https://{fake.host}:{fake.port}/"
    result = call(home, "run", "--", "sh", "-c", script)
    assert result.stdout.startswith(b"403403")
    assert result.returncode != 0
    assert fake.record.all() == []


ALLOWED = [
    (["--allow", EAR], f"https://{EAR}/", True),
    (["--allow", f"{EAR}:443"], f"https://{EAR}/", True),
    (["--allow", "*.example.com"], f"https://{EAR}/", True),
    (["--allow", OTHER_EAR, "--allow", EAR], f"https://{EAR}/", True),
    (["--allow", EAR], f"https://{EAR}:8443/", False),
    (["--allow", f"{EAR}:8443"], f"https://{EAR}/", False),
    (["--allow", EAR], f"https://{OTHER_EAR}/", False),
    (["--allow", "example.com"], f"https://{EAR}/", False),
    (["--allow", f"*.{EAR}"], f"https://{EAR}/", False),
]


@pytest.mark.parametrize(("options", "url", "allowed"), ALLOWED)
def test_what_is_allowed_is_reachable_and_nothing_else(
    options: list[str], url: str, allowed: bool, home: Household, fake: FakeOpenAI
) -> None:
    result = call(home, "run", *options, "--", *ASK, url)
    assert result.stdout == (b"200" if allowed else b"403")
    assert [one.host for one in fake.record.all()] == ([EAR] if allowed else [])


def test_rules_of_a_policy_file(home: Household, fake: FakeOpenAI) -> None:
    policy = Path(home.workspace) / "policy.yaml"
    policy.write_text(
        f"version: 1\nrules:\n  - {{name: curl only, endpoints: [{EAR}], binaries: [/usr/bin/curl]}}\n"
        f"  - {{name: never, endpoints: [{OTHER_EAR}], effect: deny}}\n"
    )
    script = f"""
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("https://{EAR}/by-python").status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
    options = ["--policy", "policy.yaml", "--allow", OTHER_EAR]
    assert call(home, "run", *options, "--", *ASK, f"https://{EAR}/by-curl").stdout == b"200"
    status, said = call(home, "run", *options, "--", "python3", "-c", script).stdout.decode().split(" ", 1)
    assert (status, json.loads(said)["error"]["code"]) == ("403", "denied_by_policy")
    assert call(home, "run", *options, "--", *ASK, f"https://{OTHER_EAR}/").stdout == b"403", "a denial is stronger than an allowance"
    assert [one.path for one in fake.record.all()] == ["/by-curl"]


def test_a_decision_is_on_record_outside(home: Household) -> None:
    call(home, "run", "--", *ASK, f"https://{EAR}/recorded")
    last = json.loads(call(home, "logs", "--json", "-n", "1").stdout)
    assert (last["action"], last["dst_endpoint"]["hostname"]) == ("Denied", EAR)
    assert last["actor"]["process"]["file"]["path"].endswith("/curl")


# ---------------------------------------------------------------- together


def test_two_sandboxes_in_one_workspace_protect_it_until_the_last_ends(home: Household) -> None:
    workspace = Path(home.workspace)
    attack = "echo ready; read -r _; mkdir -p .codex && touch .codex/config.toml; echo $?"
    with begun(home, "run", "--", "sh", "-c", attack, stdin=subprocess.PIPE) as first:
        assert line(first) == "ready"
        with begun(home, "run", "--", "sh", "-c", attack, stdin=subprocess.PIPE) as second:
            assert line(second) == "ready"
            for program in (first, second):
                assert program.stdin
                program.stdin.write(b"\n")
                program.stdin.flush()
                assert line(program) == "1"
                status, stderr = ended(program)
                assert (status, "Read-only file system" in stderr) == (0, True)
    assert list(workspace.iterdir()) == []


def test_what_is_yours_in_a_protected_place_stays(home: Household) -> None:
    workspace = Path(home.workspace)
    (workspace / ".codex").mkdir()
    (workspace / ".agents").mkdir()
    (workspace / ".agents" / "skill.md").touch()
    assert call(home, "run", "--", "true").returncode == 0
    assert sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*")) == [".agents", ".agents/skill.md", ".codex"]


@pytest.mark.parametrize(("name", "path"), [("vscode", ".vscode/tasks.json"), ("envrc", ".envrc"), ("git-init", ".git/config")])
def test_a_protected_path_is_lifted_by_its_name(name: str, path: str, home: Household) -> None:
    script = f'mkdir -p "$(dirname {path})"; echo made > {path}'
    assert call(home, "run", "--", "sh", "-c", script).returncode != 0
    assert os.listdir(home.workspace) == []
    assert call(home, "run", "--unprotect", name, "--", "sh", "-c", script).returncode == 0
    assert (Path(home.workspace) / path).read_text() == "made\n"


def test_the_settings_lift_too(home: Household) -> None:
    settings = Path(home.immure_home) / "config" / "config.toml"
    before = settings.read_text()
    settings.write_text(before + '\n[workspace]\nunprotect = ["cargo"]\n')
    try:
        assert call(home, "run", "--", "mkdir", ".cargo").returncode == 0
    finally:
        settings.write_text(before)


def test_a_repository_shown_beside_the_workspace_is_protected(home: Household, neighbour: Path) -> None:
    subprocess.run(["git", "init", "--quiet", neighbour / "main"], check=True)
    for shown in ("main", "main/.git"):
        script = f"touch {neighbour}/main/.git/new && touch {neighbour}/main/.git/hooks/pre-commit"
        result = call(home, "run", "--rw", str(neighbour / shown), "--", "sh", "-c", script)
        assert (result.returncode, b"Read-only file system" in result.stderr) == (1, True)
        assert (neighbour / "main" / ".git" / "new").exists()


GIT = """
set -e
git add file
git commit --quiet --message inside
git switch --quiet --create branch
git worktree add --quiet inner
cd inner
echo more > more
git add more
git commit --quiet --message 'in a working tree'
cd ..
git worktree remove inner
git gc --quiet
git submodule status
git -C vendor/sub commit --quiet --allow-empty --message 'in a submodule'
git -C nested commit --quiet --allow-empty --message 'in a nested repository'
git log --format=%s
"""


def test_git_works_inside(home: Household) -> None:
    workspace = Path(home.workspace)
    make_repository(workspace)
    (workspace / "file").write_text("new\n")
    names = [f"GIT_{who}_{what}={value}" for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@example.com"))]
    result = call(home, "run", *(word for name in names for word in ("--env", name)), "--", "sh", "-c", GIT)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().splitlines()[-2:] == ["inside", "first"]
    status = subprocess.run(["git", "status", "--short", "--branch"], cwd=workspace, capture_output=True, text=True, check=True)
    assert status.stdout.splitlines()[0] == "## branch"


def test_the_python_that_runs_the_tests_is_not_the_one_inside(home: Household) -> None:
    """Else a test could pass because both are outside."""
    assert call(home, "run", "--", "test", "-e", sys.prefix).returncode == 1
