"""Measuring honestly on a machine that others use too: contenders take turns, and only ratios within a round are compared."""

import statistics
import time
from collections.abc import Callable, Mapping

Contender = Callable[[], None]


def measure(contenders: Mapping[str, Contender], *, rounds: int, repeats: int) -> dict[str, list[float]]:
    """The median time of each contender in each round, in milliseconds. Each is run once before, unmeasured."""
    for run in contenders.values():
        run()
    medians: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times = []
            for _ in range(repeats):
                begin = time.perf_counter()
                run()
                times.append((time.perf_counter() - begin) * 1000)
            medians[name].append(statistics.median(times))
    return medians


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def report(medians: Mapping[str, list[float]], subject: str, peer: str, goal: str) -> None:
    """Print each contender's figures and the ratio subject / peer, round by round."""
    for name, values in medians.items():
        low, middle, high = quartiles(values)
        print(f"  {name:44} {middle:8.1f} ms   [{low:.1f} … {high:.1f}]")
    low, middle, high = quartiles([mine / theirs for mine, theirs in zip(medians[subject], medians[peer], strict=True)])
    print(f"  ratio {subject} / {peer}: {middle:.2f} [{low:.2f} … {high:.2f}]   goal: {goal}\n")
