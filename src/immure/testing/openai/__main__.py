"""Run the stand-in by hand, until interrupted: `python -m immure.testing.openai --step 'shell: uname -a' --step 'say: done'`.

Prints what to put into immure's settings and where the made-up login is, and then each request as it arrives.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence

from immure.testing.openai.scenario import Script, parse
from immure.testing.openai.service import FakeOpenAI, lay_out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m immure.testing.openai", description="Run a local stand-in for OpenAI until interrupted."
    )
    parser.add_argument(
        "--step", action="append", default=[], type=parse, help="shell: COMMAND | say: TEXT | expire | hold | refuse: STATUS"
    )
    parser.add_argument("--ear", action="append", default=[], metavar="HOST", help="a further host name that only listens")
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--api-key", action="store_true", help="make auth.json a login by API key")
    parser.add_argument("--directory", help="where to write ca.pem, config.toml and auth.json (default: a new one)")
    options = parser.parse_args(arguments)
    directory = os.path.abspath(options.directory or tempfile.mkdtemp(prefix="fake-openai-"))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)  # A shell starts background jobs with SIGINT ignored.
    with FakeOpenAI(Script(*options.step), ears=options.ear, port=options.port) as fake:
        lay_out(directory, fake, api_key=options.api_key)
        print(f"# For immure, in $IMMURE_HOME/config/config.toml (also in {directory}/config.toml):\n")
        print(fake.settings(os.path.join(directory, "ca.pem")), end="")
        print(f"# For Codex, as $CODEX_HOME/auth.json: a login with made-up tokens, in {directory}/auth.json", flush=True)
        try:
            for arrival in fake.record.follow():
                token = fake.account.describe(arrival.bearer)
                print(f"{arrival.number:4} {arrival.method} {arrival.host}{arrival.path} [{token}]", file=sys.stderr)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
