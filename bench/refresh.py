"""What it costs that many wait for one renewal of a login, beside a renewal that nobody else waits for, in one run.

python bench/refresh.py [--rounds N] [--waiting N]

Each round signs in anew and lets everybody ask at the same moment with the same stale token, each with a thread and a view of the vault
of its own. The issuer is the stand-in on loopback; how often it was asked is counted.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rounds import quartiles

from immure.broker.login import Logins
from immure.config.settings import load_settings
from immure.testing.openai.service import FakeOpenAI, lay_out
from immure.vault import Vault


def renewal(waiting: int) -> float:
    """The seconds from the first who asks until the last has the new token."""
    with tempfile.TemporaryDirectory() as directory, FakeOpenAI() as fake:
        lay_out(directory, fake)
        upstreams = load_settings(f"{directory}/config.toml").upstreams
        vault = Vault(f"{directory}/vault", os.urandom(32))
        stale = Logins(vault, upstreams, lambda _: None).open(directory, lambda _: None)
        together = threading.Barrier(waiting + 1)

        def ask(_: int) -> str:
            logins = Logins(vault, upstreams, lambda _: None)
            together.wait()
            return logins.refresh(stale).secrets["access_token"].reveal()

        with ThreadPoolExecutor(waiting) as pool:
            answers = pool.map(ask, range(waiting))
            together.wait()
            begin = time.perf_counter()
            tokens = set(answers)
            seconds = time.perf_counter() - begin
        assert tokens == {fake.account.access_token}, "somebody was given another token"
        assert len(fake.record.all(path="/oauth/token")) == 1, "the issuer was asked more than once"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", type=int, default=1000)
    arguments = parser.parse_args()
    renewal(1)
    rounds = [(renewal(1), renewal(arguments.waiting)) for _ in range(arguments.rounds)]
    print("A renewal of a login, asked of the issuer once")
    for name, times in (("one asks", [one for one, _ in rounds]), (f"{arguments.waiting} ask at once", [many for _, many in rounds])):
        low, middle, high = (1000 * time for time in quartiles(times))
        print(f"  {name:24} {middle:8.1f} ms   [{low:.1f} … {high:.1f}]")
    low, middle, high = quartiles([many / one for one, many in rounds])
    each = 1000 * (quartiles([many - one for one, many in rounds])[1]) / arguments.waiting
    print(f"  ratio: {middle:.1f} [{low:.1f} … {high:.1f}], or {each:.2f} ms for each who waits\n")


if __name__ == "__main__":
    main()
