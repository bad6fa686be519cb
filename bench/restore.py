"""What it costs to look for secrets in answers: a long stream through the gate with them and without, and an answer that is small.

    python bench/restore.py [--rounds N] [--megabytes N]

The secrets are those of a login with a ChatGPT account beside an API key: a token of 1.5 KB, an id of 36 bytes, a key of 164. The stream
is events of a model's answer. Both contenders pass the same gate; the one without secrets sends no placeholder.
"""

import argparse
import tempfile
import time

from load import EVENTS
from rounds import quartiles

from gate import HOST, Contender, House, cpu_time
from immure import channel
from immure.rewrite import Pairs, Restorer

SECRETS = {
    "immure-at-" + "a" * 26: "eyJhbGciOiJub25lIn0." + "fake-Access_Token0123456789" * 54 + ".bench",
    "immure-acct-" + "b" * 26: "5fa4e000-fake-4bad-8bad-5fa4edeadbeef",
    "sk-immure-" + "c" * 26: "sk-proj-" + "fake_Key-" * 17 + "ABC",
}
SIZES = (300, 4_000, 16_000)


def peak(pid: int) -> float:
    """The largest resident set (VmHWM) that a process had, in MB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def stream(house: House, contender: Contender, length: int) -> None:
    """One turn of one contender: MB/s, and seconds of the gate's processor time."""
    before = cpu_time(contender.pid)
    target = {"host": HOST, "connect": False, "authority": f"{HOST}:{contender.target['port']}", **contender.target}
    channel.send(house.line, {**target, "length": length})
    answer, _ = channel.receive(house.line) or ({}, [])
    contender.rates.append(length / answer["seconds"] / 1e6)
    contender.costs.append(cpu_time(contender.pid) - before)


def long(rounds: int, length: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        house = House(directory)
        try:
            restored = house.gate(SECRETS)
            restored.name = "restored"
            passed = Contender(name="passed through", target={**restored.target, "token": ""}, pid=restored.pid)
            for contender in (passed, restored):
                stream(house, contender, 1 << 24)
                contender.rates.clear()
                contender.costs.clear()
            first = peak(restored.pid)
            for _ in range(rounds):
                for contender in (passed, restored):
                    stream(house, contender, length)
            last = peak(restored.pid)
        finally:
            house.close()
    print(f"A stream of {length >> 20} MiB through the gate, looked through for {len(SECRETS)} secrets")
    for contender in (passed, restored):
        low, middle, high = quartiles(contender.rates)
        least, usual, most = quartiles(contender.costs)
        print(f"  {contender.name:16} {middle:6.0f} MB/s [{low:.0f} … {high:.0f}]   {usual:5.1f} s CPU [{least:.1f} … {most:.1f}]")
    for what, mine, theirs in (("time", passed.rates, restored.rates), ("CPU", restored.costs, passed.costs)):
        low, middle, high = quartiles([one / other for one, other in zip(mine, theirs, strict=True)])
        print(f"  {what}, restored / passed through: {middle:.2f} [{low:.2f} … {high:.2f}]")
    print(f"  peak of the gate: {last:.1f} MB, after the first 16 MiB {first:.1f} MB   goal: the same\n")


def small(rounds: int) -> None:
    """An answer that is at hand, and one that is a piece of a stream."""
    begin = time.perf_counter()
    pairs = Pairs((secret.encode(), placeholder.encode()) for placeholder, secret in SECRETS.items())
    print(f"Small answers (making ready for the secrets took {(time.perf_counter() - begin) * 1e3:.1f} ms)")
    for size in SIZES:
        answer = EVENTS[: size - 1] + b"\n"
        whole = [_microseconds(lambda answer=answer: pairs.may_be_in(answer)) for _ in range(rounds)]
        piece = [_microseconds(lambda answer=answer: Restorer(pairs).feed(answer)) for _ in range(rounds)]
        (low, middle, high), (least, usual, most) = quartiles(whole), quartiles(piece)
        print(
            f"  {size:6} bytes: at hand {middle:5.1f} µs [{low:.1f} … {high:.1f}]   in a stream {usual:5.1f} µs [{least:.1f} … {most:.1f}]"
        )
    print()


def _microseconds(run: object, repeats: int = 500) -> float:
    assert callable(run)
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    arguments = parser.parse_args()
    long(arguments.rounds, arguments.megabytes << 20)
    small(arguments.rounds)


if __name__ == "__main__":
    main()
