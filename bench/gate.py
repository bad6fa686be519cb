"""What a small request through the gate costs, beside mitmproxy with the same rule, the same swap and the same audit line, in one run.

python bench/gate.py [--rounds N] [--seconds N] [--connections N] [--mitmdump PATH]

`direct` is the load without any proxy, to see that the ends are not what is measured; `gate, no secret` the same gate asked without a
credential, so that nothing is swapped and no answer looked through. The CPU time per request of the proxy's own
process is the steadiest figure on a machine that others use too.
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from multiprocessing.process import BaseProcess
from typing import Any

from load import be_asked, serve
from rounds import quartiles

from immure import channel
from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.model import Endpoint, Secret
from immure.policy import Rule
from immure.rewrite import Binding, Credential, HeaderSlot
from immure.testing.authority import Authority

HOST = "localhost"
POOL = IPv4Network("127.18.0.0/16")
PLACEHOLDER = "immure-at-" + "a" * 26
TOKEN = "fake-access-token-for-the-benchmark-0123456789"

ADDON = f'''
import json, time
RULES = {{"{HOST}": "bench"}}
SECRETS = {{"{PLACEHOLDER}": ("{TOKEN}", "{HOST}")}}
class Addon:
    def load(self, loader):
        self.trail = open(__file__ + ".jsonl", "a", buffering=65536)
    def requestheaders(self, flow):
        request = flow.request
        if request.host not in RULES:
            flow.kill()
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token in SECRETS and SECRETS[token][1] == request.host:
            request.headers["authorization"] = "Bearer " + SECRETS[token][0]
    def responseheaders(self, flow):
        flow.response.stream = True
        event = {{"time": int(time.time() * 1000), "host": flow.request.host, "method": flow.request.method,
                  "path": flow.request.path, "status": flow.response.status_code, "rule": RULES[flow.request.host]}}
        self.trail.write(json.dumps(event) + "\\n")
addons = [Addon()]
'''


@dataclass
class Contender:
    """Something to load, and the process whose time is counted (0 for none)."""

    name: str
    target: dict[str, Any]
    pid: int = 0
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)


def cpu_time(pid: int) -> float:
    """Seconds that a process has computed."""
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class House:
    """The processes of one run, ended with it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._programs: list[subprocess.Popen[bytes]] = []
        self._loads: list[BaseProcess] = []
        self.authority = Authority()
        # The ends share one processor, each contender has another to itself (and `direct` uses the ends alone).
        *self._theirs, ours = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {ours})
        self.line, far = channel.pair()
        self._fork(be_asked, far)
        message, (self._listener,) = channel.receive(self.line) or ({}, [0])
        assert message["did"] == "wear"
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.world: int = listener.getsockname()[1]
        self._fork(serve, listener, self.authority.server_context([HOST]))
        os.sched_setaffinity(0, self._theirs or {ours})

    def _fork(self, target: Callable[..., None], *arguments: object) -> None:
        process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
        process.start()
        self._loads.append(process)

    def _start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        self._programs.append(subprocess.Popen(argv, **options))
        return self._programs[-1]

    def close(self) -> None:
        for process in (*self._programs, *self._loads):
            process.terminate()
        for program in self._programs:
            program.wait()

    def direct(self) -> Contender:
        return Contender(name="direct", target={"address": "127.0.0.1", "port": self.world, "ca": self.authority.pem, "token": TOKEN})

    def gate(self, secrets: Mapping[str, str]) -> Contender:
        """A gate from a nursery, its trail read by `cat`; names stand for addresses of 127/8, so that no namespace is needed.

        Requests go out with the first of the secrets, which are given by placeholder; answers may hold any.
        """
        broker, far = channel.pair()
        nursery = self._start(sys.executable, "-m", "immure.gate.nursery", str(far.fileno()), pass_fds=[far.fileno()])
        self._gate, theirs = channel.pair()
        channel.send(broker, {"do": "fork", "id": "bench", "uid": None}, [theirs.fileno()])
        self._nursery = broker, theirs
        message, _ = channel.receive(self._gate) or ({}, [])
        tcp4 = socket.create_server(("0.0.0.0", 0), backlog=512)
        port: int = tcp4.getsockname()[1]
        tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
        dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns.bind(("127.0.0.1", 0))
        diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
        endpoint = Endpoint(HOST, port)
        brief = Brief(
            sandbox="bench",
            grants=Grants(
                rules=(Rule(name="bench", layer="bench", effect="allow", endpoint=endpoint),),
                credentials=tuple(
                    Credential(
                        name=placeholder,
                        placeholder=placeholder,
                        secret=Secret(secret),
                        slots=(HeaderSlot(header="authorization", scheme="bearer"),),
                        binding=Binding(endpoints=(endpoint,)),
                    )
                    for placeholder, secret in secrets.items()
                ),
            ),
            upstreams=(Upstream(host=HOST, address="127.0.0.1", port=self.world, ca_pem=self.authority.pem),),
            pool=POOL,
        )
        trail, audit = os.pipe()
        with open(f"{self._directory}/gate.jsonl", "wb") as file:
            self._start("cat", stdin=trail, stdout=file)
        memory = channel.memory_file("brief", brief.encode())
        first = os.pidfd_open(os.getpid())
        given = [memory, audit, tcp4.fileno(), tcp6.fileno(), dns.fileno(), diag.fileno(), self._listener, first]
        channel.send(self._gate, {"do": "serve"}, given)
        os.close(first)
        assert channel.receive(self._gate) == ({"did": "serving"}, [])
        os.close(audit)
        with open(f"/proc/{nursery.pid}/task/{nursery.pid}/children") as children:
            pid = int(children.read())
        target = {"address": _address_of(HOST, dns.getsockname()), "port": port, "ca": message["ca"], "token": next(iter(secrets))}
        return Contender(name="gate", target=target, pid=pid)

    def mitmproxy(self, program: str) -> Contender:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        for name, content in (("addon.py", ADDON), ("ca.pem", self.authority.pem)):
            with open(f"{self._directory}/{name}", "w") as file:
                file.write(content)
        settings = [f"confdir={self._directory}/mitm", f"ssl_verify_upstream_trusted_ca={self._directory}/ca.pem", "flow_detail=0"]
        options = [option for setting in settings for option in ("--set", setting)]
        address = ["--listen-host", "127.0.0.1", "-p", str(port)]
        process = self._start(program, "-q", *address, *options, "-s", f"{self._directory}/addon.py", stdin=subprocess.DEVNULL)
        ca = f"{self._directory}/mitm/mitmproxy-ca-cert.pem"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)), open(ca) as file:
                target = {"address": "127.0.0.1", "port": port, "ca": file.read(), "token": PLACEHOLDER}
                authority = f"{HOST}:{self.world}"
                return Contender(name="mitmproxy", target={**target, "connect": True, "authority": authority}, pid=process.pid)
            time.sleep(0.1)
        raise SystemExit("mitmdump did not start")

    def load(self, contender: Contender, connections: int, seconds: float) -> None:
        """One turn of one contender."""
        target = {"host": HOST, "connect": False, "authority": f"{HOST}:{contender.target['port']}", **contender.target}
        before = cpu_time(contender.pid)
        channel.send(self.line, {**target, "connections": connections, "seconds": seconds})
        answer, _ = channel.receive(self.line) or ({}, [])
        contender.rates.append(answer["requests"] / answer["seconds"])
        contender.costs.append((cpu_time(contender.pid) - before) * 1e6 / answer["requests"])
        contender.p50.append(answer["p50"])


def _address_of(name: str, server: tuple[str, int]) -> str:
    """Ask the gate's DNS for the address that stands for a one-label name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        question = bytes([len(name)]) + name.encode() + b"\0" + struct.pack("!HH", 1, 1)
        client.sendto(struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + question, server)
        return socket.inet_ntoa(client.recv(512)[-4:])


def _ratio(mine: list[float], theirs: list[float], places: int = 1) -> str:
    low, middle, high = quartiles([one / other for one, other in zip(mine, theirs, strict=True)])
    return f"{middle:.{places}f} [{low:.{places}f} … {high:.{places}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=16)
    beside = f"{os.path.dirname(sys.executable)}/mitmdump"
    parser.add_argument("--mitmdump", default=beside if os.path.exists(beside) else shutil.which("mitmdump"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        house = House(directory)
        try:
            gate = house.gate({PLACEHOLDER: TOKEN})
            bare = Contender(name="gate, no secret", target={**gate.target, "token": ""}, pid=gate.pid)
            contenders = [house.direct(), gate, bare]
            if arguments.mitmdump:
                contenders.append(house.mitmproxy(arguments.mitmdump))
            for _ in range(arguments.rounds):
                for contender in contenders:
                    house.load(contender, arguments.connections, arguments.seconds)
        finally:
            house.close()
    print(f"A small request on {arguments.connections} kept connections; policy, swap and audit on")
    for contender in contenders:
        rate, cost, p50 = (statistics.median(values) for values in (contender.rates, contender.costs, contender.p50))
        spent = f"{cost:7.0f} µs CPU" if contender.pid else " " * 14
        print(f"  {contender.name:16} {rate:8.0f} requests/s {spent}   p50 {p50:7.0f} µs")
    print(f"  CPU per request, with a swapped header / without: {_ratio(gate.costs, bare.costs, 2)}")
    if not arguments.mitmdump:
        print("  mitmproxy is not installed: pip install -r requirements/bench.in")
        return
    peer = contenders[-1]
    print(f"  requests/s, gate / mitmproxy: {_ratio(gate.rates, peer.rates)}   goal: at least 15")
    print(f"  CPU per request, mitmproxy / gate: {_ratio(peer.costs, gate.costs)}\n")


if __name__ == "__main__":
    main()
