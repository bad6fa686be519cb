"""What many sandboxes take, and that nothing is left of them.

    python bench/many.py [--one-by-one N] [--at-once N]

One after another: the time of a launch at the beginning and at the end, and what has grown. At once: how long until all run, and the memory
that each takes outside of itself: the private pages (Private_* of smaps_rollup) of gate, client and bubblewrap, and what broker, launcher
and nursery have grown by. Twice, since an allocator keeps what it once had: what grows again is a leak.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from memory import broker_of, children, private
from rounds import quartiles
from wall import CODEX

IMMURE = f"{os.path.dirname(sys.executable)}/immure"
WAITS = ["sh", "-c", "echo; read -r _"]


@dataclass(frozen=True)
class Kept:
    """What a broker and its workers hold of the machine."""

    processes: int
    descriptors: int
    mounts: int
    namespaces: int
    megabytes: float


def descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += children(one)
        except OSError:
            pass  # gone meanwhile
    return found


def ours(broker: int) -> list[int]:
    """Broker, launcher, nursery, gates, and the bubblewrap that waits for each sandbox; not what runs in the pid namespace within it."""
    return [pid for pid in descendants(broker) if depth(pid) <= 2]


def depth(pid: int) -> int:
    """In how many pid namespaces a process is (proc(5), NSpid)."""
    with open(f"/proc/{pid}/status") as file:
        return next(len(line.split()) - 1 for line in file if line.startswith("NSpid:"))


def namespaces(pids: list[int]) -> set[str]:
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in ("user", "net", "mnt", "pid")}


def kept(broker: int) -> Kept:
    pids = descendants(broker)
    with open("/proc/self/mounts") as mounts:
        return Kept(
            processes=len(pids),
            descriptors=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            mounts=len(mounts.readlines()),
            namespaces=len(namespaces(pids)),
            megabytes=sum(map(private, ours(broker))),
        )


def settled(broker: int, before: Kept | None = None) -> Kept:
    """As soon as there are no more processes than before, or than a moment ago: a spare sandbox is made in the background."""
    last = kept(broker)
    for _ in range(10):
        time.sleep(2)  # a broker collects garbage after a second of quiet
        now = kept(broker)
        if now.processes == (before.processes if before else last.processes):
            return now
        last = now
    return last


class Bench:
    """A user with a home and a workspace of their own, whose broker is warm."""

    def __init__(self, directory: str) -> None:
        self.workspace = f"{directory}/workspace"
        self.environment = dict(os.environ, IMMURE_HOME=f"{directory}/immure", CODEX_HOME=f"{directory}/codex")
        os.mkdir(self.workspace)
        os.mkdir(f"{directory}/codex")
        self.run([IMMURE, "run", "--", "true"])
        self.broker = broker_of(directory)

    def run(self, command: list[str]) -> float:
        """Milliseconds."""
        begin = time.perf_counter()
        subprocess.run(command, cwd=self.workspace, env=self.environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - begin) * 1000

    def start(self) -> subprocess.Popen[bytes]:
        command = [IMMURE, "run", "--", *WAITS]
        return subprocess.Popen(command, cwd=self.workspace, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def growth(name: str, before: Kept, after: Kept) -> None:
    for what in ("processes", "descriptors", "mounts", "namespaces"):
        print(f"  {name}, {what:12} {getattr(before, what):6} then {getattr(after, what):6}   goal: no more")
    print(f"  {name}, private      {before.megabytes:6.1f} then {after.megabytes:6.1f} MB")


def one_by_one(bench: Bench, count: int) -> None:
    bare = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]
    contenders = {
        "immure run": [IMMURE, "run", "--", "true"],
        "codex sandbox": [CODEX, "sandbox", "--", "true"],
        "bare bubblewrap": bare,
    }
    before = settled(bench.broker)
    for name, command in contenders.items():
        times = [bench.run(command) for _ in range(count)]
        early, late = quartiles(times[: count // 4]), quartiles(times[-count // 4 :])
        print(f"  {name:16} first quarter {early[1]:6.1f} ms, last quarter {late[1]:6.1f} ms")
    growth("afterwards", before, settled(bench.broker, before))


def at_once(bench: Bench, count: int) -> None:
    before = settled(bench.broker)
    begin = time.perf_counter()
    running = [bench.start() for _ in range(count)]
    try:
        for one in running:
            assert one.stdout is not None
            one.stdout.readline()
        print(f"  all {count} run after {time.perf_counter() - begin:6.1f} s")
        during = settled(bench.broker)
        each = (during.megabytes - before.megabytes + sum(private(one.pid) for one in running)) / count
        print(f"  outside of each sandbox, its own  {each:6.2f} MB   goal: under 10")
    finally:
        for one in running:
            one.communicate(b"\n")
    assert {one.returncode for one in running} == {0}
    growth("afterwards", before, settled(bench.broker, before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-by-one", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        bench = Bench(directory)
        try:
            print(f"{arguments.one_by_one} one after another")
            one_by_one(bench, arguments.one_by_one)
            for when in ("alive at once", "alive at once, again"):
                print(f"{arguments.at_once} {when}")
                at_once(bench, arguments.at_once)
        finally:
            subprocess.run([IMMURE, "stop"], env=bench.environment, check=False)


if __name__ == "__main__":
    main()
