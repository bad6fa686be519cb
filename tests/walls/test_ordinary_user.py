"""The same walls for a user without rights. Run by root, these tests make one: an id that is nobody's, and a copy that it can read.

An ordinary user's sandbox runs under the user's own id, so here the walls alone stand between a program and the user's files.
"""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from far_side import EAR
from near_side import PATIENCE, call, children, command_line, line
from ordinary_user import CODEX, OrdinaryUser

from immure import channel
from immure.testing.openai.scenario import Say, Script, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Record


def test_it_is_the_users_own_id_outside_and_nobodys_inside(user: OrdinaryUser) -> None:
    result = user.call("run", "--", "sh", "-c", "id -u; id -g; touch made; stat -c %u made")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"1000\n1000\n1000\n", b"")
    made = Path(user.home.workspace) / "made"
    assert made.stat().st_uid == Path(user.home.workspace).stat().st_uid == user.uid


def test_streams_signals_and_statuses(user: OrdinaryUser) -> None:
    result = user.call("run", "--", "sh", "-c", "cat; echo err >&2; kill -TERM $$", data=bytes(range(256)))
    assert (result.returncode, result.stdout, result.stderr) == (128 + signal.SIGTERM, bytes(range(256)), b"err\n")


def test_a_file_that_is_read_cannot_be_written(user: OrdinaryUser) -> None:
    """Under the user's own id only its way in stands against it: a descriptor could be opened again, for writing (proc(5), fd)."""
    source = Path(user.home.home) / "in.txt"
    user.call_program(["sh", "-c", f"echo from a file > {source}"])
    script = f'exec "$0" run -- sh -c "cat; echo more > /proc/self/fd/0" < {source}'
    result = user.call_program(["sh", "-c", script, user.program])
    assert result.stdout == b"from a file\n"
    assert source.read_text() == "from a file\n"


def test_the_network_is_what_is_allowed(user: OrdinaryUser, fake: FakeOpenAI) -> None:
    ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"https://{EAR}/asked"]
    fake.record = Record()
    assert user.call("run", "--", *ask).stdout == b"403"
    assert fake.record.all(host=EAR) == []
    assert user.call("run", "--allow", EAR, "--", *ask).stdout == b"200"
    assert [one.path for one in fake.record.all(host=EAR)] == ["/asked"]
    last = json.loads(user.call("logs", "--json", "-n", "1").stdout)
    assert last["actor"]["process"]["file"]["path"].endswith("/curl")


def test_programs_are_known_too(user: OrdinaryUser, fake: FakeOpenAI) -> None:
    python, curl = (os.path.realpath(shutil.which(name, path="/usr/bin") or "") for name in ("python3", "curl"))
    policy = Path(user.home.home) / "policy.yaml"
    rule = f"  - {{name: p, endpoints: [{EAR}], binaries: [{{path: {python}, children: allow}}]}}\n"
    policy.write_text(f"version: 1\nrules:\n{rule}")
    policy.chmod(0o644)
    ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"https://{EAR}/asked"]
    child = ["python3", "-c", f"import subprocess; subprocess.run({ask})"]
    assert user.call("run", "--policy", str(policy), "--", *ask).stdout == b"403"
    assert user.call("run", "--policy", str(policy), "--", *child).stdout == b"200"
    process = json.loads(user.call("logs", "--json", "-n", "1").stdout)["actor"]["process"]
    assert (process["file"]["path"], [ancestor["path"] for ancestor in process["ancestry"]]) == (curl, [python])
    listed = json.loads(user.call("trust", "list", "--json").stdout)
    assert (python, "same") in [(pin["path"], pin["state"]) for pin in listed]
    fake.record = Record()


def test_an_agents_own_sandbox_works(user: OrdinaryUser) -> None:
    nested = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true".split()
    result = user.call("run", "--", *nested)
    assert (result.returncode, result.stderr) == (0, b"")


def test_nobody_else_can_speak_to_the_broker(user: OrdinaryUser) -> None:
    assert user.call("run", "--", "true").returncode == 0
    if os.getuid() == 0:
        assert call(user.home, "run", "--", "id").stdout == b"", "not even root, whose sandbox would run under the id of somebody else"
    assert oct(Path(user.home.immure_home, "run").stat().st_mode & 0o777) == "0o700"


def test_nobody_reads_the_memory_of_its_processes(user: OrdinaryUser) -> None:
    """What cannot be dumped belongs to root in /proc, whoever runs it, and so cannot be read or traced by the same user (proc(5))."""
    with begun_by(user, "run", "--", "sh", "-c", "echo ready; read -r _") as program:
        assert line(program) == "ready"
        broker = user.home.broker()
        assert broker
        workers = {module: pid for pid in children(broker) for module in ("launcher", "nursery") if module in command_line(pid)}
        (gate, *_) = children(workers["nursery"])
        hidden = {"broker": broker, **workers, "gate": gate}
        assert len(hidden) == 4
        assert {name: os.stat(f"/proc/{pid}/mem").st_uid for name, pid in hidden.items()} == dict.fromkeys(hidden, 0)
        assert os.stat(f"/proc/{program.pid}/mem").st_uid == user.uid, "the control: the client, which has no secret, is the user's"
        read = user.call_program(["cat", f"/proc/{broker}/environ"])
        assert (read.returncode, read.stdout) == (1, b"")
        assert user.call_program(["cat", f"/proc/{program.pid}/environ"]).stdout != b""


@contextmanager
def begun_by(user: OrdinaryUser, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [user.program, *words],
        cwd=user.home.workspace,
        env=user.home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **user.identity,  # type: ignore[call-overload]
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def test_a_connection_into_a_sandbox_is_made_with_a_socket_of_its_network(user: OrdinaryUser) -> None:
    """The launcher enters the namespaces of its own child, which for an ordinary user takes the rights of that child's user namespace."""
    ours, theirs = channel.pair()
    packages = next((Path(user.program).parent.parent / "lib").glob("python*/site-packages"))
    words = [str(Path(user.program).parent / "python"), "-m", "immure.launcher.__main__", str(theirs.fileno())]
    launcher = user.start_program(words, pass_fds=[theirs.fileno()], environment={"PYTHONPATH": str(packages)})
    with launcher, ours, theirs:
        theirs.close()
        ours.settimeout(PATIENCE)
        channel.send(ours, {"do": "prepare", "id": "sb-1", "watched": False})
        prepared, sockets = received(ours)
        channel.send(ours, {"do": "socket", "id": "sb-1"})
        made, (descriptor,) = received(ours)
        channel.send(ours, {"do": "socket", "id": "sb-2"})
        assert received(ours) == ({"did": "socket", "id": "sb-2"}, [])
        assert (prepared["did"], made) == ("prepared", {"did": "socket", "id": "sb-1"})
        with socket.socket(fileno=sockets[0]) as listener, socket.socket(fileno=descriptor) as inside, socket.socket() as outside:
            address = "127.0.0.1", listener.getsockname()[1]
            inside.settimeout(PATIENCE)
            inside.connect(address)
            listener.accept()[0].close()
            assert outside.connect_ex(address) == errno.ECONNREFUSED, "the control: on the host nobody listens there"
        for other in sockets[1:]:
            os.close(other)
        ours.close()


def received(line: socket.socket) -> tuple[channel.Message, list[int]]:
    answer = channel.receive(line)
    assert answer is not None
    return answer


def is_readable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


if os.getuid() != 0 or is_readable(CODEX):

    def test_a_turn_of_the_real_codex(user: OrdinaryUser, fake: FakeOpenAI) -> None:
        fake.script = Script(Shell("echo made inside > made-by-codex.txt; id -u"), Say("It is made."))
        words = ["codex", "exec", "--skip-git-repo-check", "--sandbox", "workspace-write", "go on"]
        result = user.call(*words)
        assert (result.returncode, result.stdout) == (0, b"It is made.\n"), result.stderr.decode()
        made = Path(user.home.workspace) / "made-by-codex.txt"
        assert (made.read_text(), made.stat().st_uid) == ("made inside\n", user.uid)
        assert {fake.account.describe(one.bearer) for one in fake.record.all(host="chatgpt.com")} == {
            fake.account.describe(fake.account.access_token)
        }
