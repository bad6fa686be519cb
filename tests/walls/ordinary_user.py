"""A user without rights, for tests that root runs: an id that is nobody's, and a copy of immure that it can read."""

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path

from near_side import PATIENCE

import immure
from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI

CODEX = Path(__file__).parents[2] / "tools" / "codex" / "node_modules" / ".bin" / "codex"
NOBODY_ELSE = 58211
"""Between the users of a distribution and those of systemd (systemd.io/UIDS-GIDS)."""


class OrdinaryUser:
    """Calls `program` as the owner of a household."""

    def __init__(self, home: Household, program: str, uid: int) -> None:
        self.home = home
        self.program = program
        self.uid = uid
        self.identity = {"user": uid, "group": uid, "extra_groups": ()} if uid != os.getuid() else {}

    def call(self, *words: str, data: bytes = b"", environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        return self.call_program([self.program, *words], data=data, environment=environment)

    def call_program(
        self, words: list[str], data: bytes = b"", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            words,
            cwd=self.home.workspace,
            env={**self.home.environment, **(environment or {})},
            input=data,
            capture_output=True,
            timeout=PATIENCE,
            **self.identity,  # type: ignore[call-overload]
        )

    def start_program(self, words: list[str], *, pass_fds: list[int], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            cwd=self.home.workspace,
            env={**self.home.environment, **environment},
            pass_fds=pass_fds,
            **self.identity,  # type: ignore[call-overload]
        )


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """A distribution and all that it requires (a marker that does not hold costs a look at what is not installed)."""
    try:
        found[name] = distribution(name)
    except ImportError:
        return found
    for requirement in found[name].requires or ():
        other = requirement.split(";")[0].split("[")[0].strip().split(" ")[0].rstrip("<>=!~.0123456789,")
        if other not in found and "extra ==" not in requirement:
            needed(other, found)
    return found


def install(directory: Path) -> str:
    """A copy of immure and what it needs, beside the system's interpreter, that everybody can read."""
    packages = directory / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for one in needed("immure", {}).values():
        for file in one.files or ():
            source = Path(str(one.locate_file(file)))
            if ".." not in file.parts and source.suffix not in (".pyc", ".pth") and source.is_file():
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, packages / file)
    shutil.copytree(Path(immure.__file__).parent, packages / "immure", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "bin").mkdir()
    shutil.copy(command(), directory / "bin" / "immure")
    interpreter = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    assert os.path.exists(interpreter), f"{interpreter} is missing: another user cannot use {sys.executable}"
    (directory / "bin" / "python").symlink_to(interpreter)
    return str(directory / "bin" / "immure")


def give_away(root: str, uid: int) -> None:
    for directory, _, files in os.walk(root):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.lchown(path, uid, uid)


@contextmanager
def ordinary_user(fake: FakeOpenAI) -> Iterator[OrdinaryUser]:
    """Whoever runs the tests, or, for root, somebody else."""
    with Household(fake, codex=str(CODEX)) as home:
        if os.getuid() == 0:
            installed = Path(home.directory) / "installed"
            installed.mkdir()
            program, uid = install(installed), NOBODY_ELSE
            give_away(home.directory, uid)
        else:
            program, uid = command(), os.getuid()
        made = OrdinaryUser(home, program, uid)
        try:
            yield made
        finally:
            end_broker(made)


def end_broker(user: OrdinaryUser) -> None:
    """Only its own user can: not even root is answered."""
    broker = user.home.broker()
    assert broker
    handle = os.pidfd_open(broker)
    user.call("stop")
    ended, _, _ = select.select([handle], [], [], PATIENCE)
    os.close(handle)
    assert ended
