"""What it costs to know who calls: connect(2) inside a sandbox, beside the same connect in the same network namespace, unwatched.

    python bench/connect.py [--rounds N] [--repeats N]

Inside, each connect waits until the gate knows pid, program, digest, script and two ancestors; a rule names the program, so its digest
is needed. The other process has joined the sandbox's network from outside and wears no filter. Both open the same connections to the
same address, with a pause after each, so that what is measured is one connect and not the queue behind it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import IO

from rounds import quartiles

IMMURE = f"{os.path.dirname(sys.executable)}/immure"
PYTHON = os.path.realpath(shutil.which("python3", path="/usr/bin") or "/usr/bin/python3")
HOST = "bench.example.com"

CLIENT = """
import json, socket, sys, time
address = json.loads(sys.stdin.readline())
if not address:
    address = socket.gethostbyname(sys.argv[1])
    print(json.dumps(address), flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        client = socket.socket()
        begin = time.perf_counter()
        client.connect((address, 443))
        times.append((time.perf_counter() - begin) * 1e6)
        client.close()
        time.sleep(0.002)
    print(json.dumps(times), flush=True)
"""
POLICY = f"version: 1\nrules:\n  - {{name: bench, endpoints: [{HOST}], binaries: [{PYTHON}]}}\n"


class Client:
    """A process that connects when it is told to."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, cwd=directory, **pipes)  # type: ignore[call-overload]
        self._in: IO[str] = self.process.stdin
        self._out: IO[str] = self.process.stdout

    def ask(self, question: object) -> None:
        self._in.write(json.dumps(question) + "\n")
        self._in.flush()

    def answer(self) -> str:
        return self._out.readline()

    def connects(self, count: int) -> list[float]:
        """Microseconds of each of `count` connects, the first few left out."""
        self.ask(count + 5)
        times: list[float] = json.loads(self.answer())
        return times[5:]

    def close(self) -> None:
        self._in.close()
        self.process.wait()


def inside(marker: str) -> int:
    """The process in another network namespace than ours whose command line holds `marker`, and that runs Python."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                found = marker.encode() in file.read() and os.readlink(f"/proc/{name}/exe") == PYTHON
            if found and os.readlink(f"/proc/{name}/ns/net") != os.readlink("/proc/self/ns/net"):
                return int(name)
        except OSError:
            continue
    raise SystemExit("the sandbox's client is not running")


def percentile(times: list[float], hundredths: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[hundredths - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        environment = dict(os.environ, IMMURE_HOME=f"{home}/immure")
        workspace = f"{home}/workspace"
        os.mkdir(workspace)
        for path, text in ((f"{workspace}/client.py", CLIENT), (f"{home}/policy.yaml", POLICY)):
            with open(path, "w") as file:
                file.write(text)
        client = f"{PYTHON} {workspace}/client.py {HOST}"
        command = ["run", "--policy", f"{home}/policy.yaml", "--", "sh", "-c", f"sh -c '{client}; true'; true"]
        watched = Client([IMMURE, *command], environment, workspace)
        watched.ask("")
        address = json.loads(watched.answer())
        joined = ["nsenter", "--target", str(inside(f"{workspace}/client.py")), "--user", "--net", "--preserve-credentials"]
        bare = Client([*joined, *client.split()], environment, workspace)
        bare.ask(address)
        try:
            rounds = [(watched.connects(arguments.repeats), bare.connects(arguments.repeats)) for _ in range(arguments.rounds)]
        finally:
            bare.close()
            watched.close()
            subprocess.run([IMMURE, "stop"], env=environment, check=False)
    print("connect(2), with the caller's full identity and without the filter")
    for name, measured in zip(("inside", "bare"), zip(*rounds, strict=True), strict=True):
        for hundredths in (50, 99):
            low, middle, high = quartiles([percentile(times, hundredths) for times in measured])
            goal = "   goal: under 250" if (name, hundredths) == ("inside", 50) else ""
            print(f"  {name:8} p{hundredths}  {middle:8.0f} µs   [{low:.0f} … {high:.0f}]{goal}")


if __name__ == "__main__":
    main()
