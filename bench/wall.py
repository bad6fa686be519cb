"""How long walls take: to an exited `true`, beside bare bubblewrap and beside Codex's own sandbox, in one run.

python bench/wall.py [--rounds N] [--repeats N]
"""

import argparse
import os
import subprocess
import sys
import tempfile

from rounds import measure, report

from immure import channel, interpreter
from immure.launcher.ownership import staged
from immure.model import Limits
from immure.sandbox import environment, spec, system
from immure.sandbox.limits import resource_limits
from immure.sandbox.spec import Mount, Spec

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IMMURE = f"{os.path.dirname(sys.executable)}/immure"
CODEX = f"{ROOT}/tools/codex/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"


class WallOnly:
    """A launcher driven directly, without broker and gate: what the wall itself costs."""

    def __init__(self, wanted: Spec) -> None:
        self._channel, theirs = channel.pair()
        with theirs:
            command = interpreter.command("immure.launcher.__main__", theirs.fileno())
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._stage = [mount.source for mount in wanted.mounts]
        self._options, self._command, self._data = spec.bubblewrap(wanted, staged if os.geteuid() == 0 else None)
        self._null = os.open(os.devnull, os.O_RDWR)

    def run(self) -> None:
        channel.send(self._channel, {"do": "prepare", "id": "x", "watched": False})
        message, sockets = channel.receive(self._channel) or ({}, [])
        assert message.get("did") == "prepared", message
        data = [channel.memory_file("file", content) for content in self._data]
        start = {"do": "start", "id": "x", "program": system.bubblewrap(), "options": self._options, "command": self._command}
        start |= {"data": len(data), "stage": self._stage, "umask": 0o022}
        start |= {"covers": [], "limits": resource_limits(Limits()), "group": {}}
        channel.send(self._channel, start, [*[self._null] * 3, *data])
        message, _ = channel.receive(self._channel) or ({}, [])
        assert (message.get("did"), message.get("status")) == ("exited", 0), message
        for fd in (*data, *sockets):
            os.close(fd)

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


def bare(wanted: Spec) -> None:
    """bubblewrap with the same mounts and namespaces, by posix_spawn: the least that a wall can cost."""
    options, command, data = spec.bubblewrap(wanted)
    descriptors = [channel.memory_file("file", content) for content in data]
    argv = [str(descriptors[option]) if isinstance(option, int) else option for option in options]
    program = [system.bubblewrap(), "--unshare-net", *argv, "--", *command]
    subprocess.run(program, pass_fds=descriptors, env={}, check=True, stdin=subprocess.DEVNULL)
    for fd in descriptors:
        os.close(fd)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        workspace = f"{home}/workspace"
        os.mkdir(workspace)
        host = system.inspect()
        wanted = Spec(
            command=("true",),
            environment=environment({}, ca_bundle=host.bundles[0]),
            directory=workspace,
            terminal=False,
            system=host.mounts,
            links=host.links,
            files=host.files(""),
            mounts=(Mount.same(workspace, writable=True),),
        )
        wall = WallOnly(wanted)
        own = dict(os.environ, IMMURE_HOME=f"{home}/immure", CODEX_HOME=f"{home}/codex")
        os.mkdir(own["CODEX_HOME"])

        def whole(*argv: str) -> None:
            subprocess.run(argv, cwd=workspace, env=own, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        try:
            figures = measure({"wall": wall.run, "bwrap": lambda: bare(wanted)}, rounds=arguments.rounds, repeats=arguments.repeats)
            print("Wall set-up to an exited `true`, seen from the launcher")
            report(figures, "wall", "bwrap", "at most 3")
            contenders = {
                "immure run -- true": lambda: whole(IMMURE, "run", "--", "true"),
                "codex sandbox -- true": lambda: whole(CODEX, "sandbox", "--", "true"),
            }
            print("The whole command, warm broker")
            report(measure(contenders, rounds=arguments.rounds, repeats=arguments.repeats), *contenders, "below 1")
        finally:
            wall.close()
            subprocess.run([IMMURE, "stop"], env=own, check=False)


if __name__ == "__main__":
    main()
