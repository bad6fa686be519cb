"""What a small request through the gate costs, beside mitmproxy with the same rule, the same swap and the same audit line, in one run.

python bench/gate.py [--rounds N] [--seconds N] [--connections N] [--mitmdump PATH]

`direct` is the load without any proxy, to see that the ends are not what is measured. The CPU time per request of the proxy's own
process is the steadiest figure on a machine that others use too.
"""

import argparse
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from rounds import quartiles

from immure import channel
from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.model import Endpoint, Secret
from immure.policy import Rule
from immure.rewrite import Credential
from immure.testing.authority import Authority

HERE = os.path.dirname(os.path.abspath(__file__))
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
        self._processes: list[subprocess.Popen[bytes]] = []
        self.authority = Authority()

    def start(self, *argv: str, pass_fds: tuple[int, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, pass_fds=pass_fds, **options)
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()

    def world(self) -> int:
        """Start the server; its port."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        fd, port = listener.fileno(), listener.getsockname()[1]
        chain = self.authority.chain([HOST])
        self.start(sys.executable, f"{HERE}/load.py", "serve", str(fd), pass_fds=(fd,), stdin=subprocess.PIPE).communicate
        return port
