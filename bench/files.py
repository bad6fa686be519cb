"""What it costs to have denied accesses listed: opening files inside, with and without `--log-denials`.

python bench/files.py [--rounds N] [--count N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

IMMURE = f"{os.path.dirname(sys.executable)}/immure"
PROGRAM = """
import os, sys, time
count = int(sys.argv[1])
def timed(flags):
    times = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        descriptor = os.open("file", flags, 0o644)
        times.append(time.perf_counter_ns() - begin)
        os.close(descriptor)
    times.sort()
    return times[count // 2] / 1000, times[count * 99 // 100] / 1000
os.close(os.open("file", os.O_WRONLY | os.O_CREAT, 0o644))
print(*timed(os.O_RDONLY), *timed(os.O_WRONLY))
"""
GOALS = {"to read": "the same", "to write": "below 250 µs"}


def opened(options: list[str], workspace: str, environment: dict[str, str], count: int) -> list[float]:
    """p50 and p99 of an open to read, and of one to write, in microseconds."""
    command = [IMMURE, "run", *options, "--", "/usr/bin/python3", "-c", PROGRAM, str(count)]
    done = subprocess.run(command, cwd=workspace, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return [float(figure) for figure in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=3000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        workspace = f"{home}/workspace"
        os.mkdir(workspace)
        own = dict(os.environ, IMMURE_HOME=f"{home}/immure")
        contenders: dict[str, list[str]] = {"plain": [], "--log-denials": ["--log-denials"]}
        figures: dict[str, list[list[float]]] = {name: [] for name in contenders}
        try:
            for _ in range(arguments.rounds):
                for name, options in contenders.items():
                    figures[name].append(opened(options, workspace, own, arguments.count))
        finally:
            subprocess.run([IMMURE, "stop"], env=own, check=False)
    print("An open inside, seen from the program")
    for position, kind in ((0, "to read"), (2, "to write")):
        for name, rounds in figures.items():
            middle, high = (statistics.median(one[position + tail] for one in rounds) for tail in (0, 1))
            print(f"  {kind:10} {name:16} p50 {middle:7.1f} µs   p99 {high:7.1f} µs")
        print(f"  goal with --log-denials: {GOALS[kind]}\n")


if __name__ == "__main__":
    main()
