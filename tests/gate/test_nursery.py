"""Gates as processes: how quickly they are there, what they share, who they are, and that they end."""

import os
import signal
from collections.abc import Callable

from house import OK, PLACEHOLDER, POOL, Gate, Inside, Nursery, allow, answering, credentials, read_answer, receive, world

from immure import channel
from immure.gate.brief import Brief
from immure.gate.grants import Grants

HOST = "api.example.com"


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def empty(_: int) -> Brief:
    return Brief(sandbox="box", pool=POOL)


def test_a_gate_takes_little_memory_of_its_own(open_gate: Callable[..., Gate]) -> None:
    assert open_gate(empty).private_memory() < 10 << 20


def test_a_gate_that_is_killed_is_reported(nursery: Nursery, open_gate: Callable[..., Gate]) -> None:
    gate = open_gate(empty)
    os.kill(gate.pid, signal.SIGKILL)
    assert nursery.died() == {"did": "died", "id": "box", "status": -signal.SIGKILL}
    gate.gone = True


def test_gates_end_with_their_nursery(open_gate: Callable[..., Gate]) -> None:
    other = Nursery()
    line = other.fork()
    assert receive(line)["did"] == "ready"
    os.kill(other.process.pid, signal.SIGKILL)
    other.close()
    assert line.recv(1) == b""
    line.close()


def test_a_gate_ends_when_what_it_is_told_makes_no_sense() -> None:
    nursery = Nursery()
    line = nursery.fork()
    receive(line)
    channel.send(line, {"do": "nonsense"})
    assert line.recv(1) == b""
    line.close()
    assert nursery.died()["did"] == "died"
    assert "fault: ValueError at control.py" in nursery.close()


def test_a_gate_of_another_user_serves_without_importing_anything() -> None:
    """The interpreter's files may be out of reach for that user, so a module that is loaded late would end the flow."""
    uid = 64123 if os.geteuid() == 0 else None
    nursery, inside = Nursery(), Inside(uid)
    with world(HOST) as served:
        served.scripts = [answering(OK)]
        gate = Gate(
            nursery,
            inside,
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=tuple(allow(host, port) for host in (HOST, "nowhere.invalid")), credentials=credentials(HOST, port)),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            ),
            uid=uid,
        )
        if uid is not None:
            assert status_of(gate.pid)["Uid"].split() == [str(uid)] * 4
            assert status_of(gate.pid)["Gid"].split() == [str(uid)] * 4
            assert status_of(gate.pid)["Groups"] == ""
        assert os.stat(f"/proc/{gate.pid}/mem").st_uid == 0, "it can be looked into (PR_SET_DUMPABLE)"
        for host, status in ((HOST, b"200"), ("nowhere.invalid", b"502"), ("denied.example.com", b"403")):
            with gate.connect_tls(host) as client:
                fields = f"Host: {host}:{gate.port}\r\n" + (f"Authorization: Bearer {PLACEHOLDER}\r\n" if host == HOST else "")
                client.sendall(f"GET / HTTP/1.1\r\n{fields}\r\n".encode())
                assert read_answer(client)[0].startswith(b"HTTP/1.1 " + status)
        gate.hang_up()
        gate.close()
    inside.close()
    assert nursery.close() == ""
