"""What all sandboxes of a broker share: its directories, workers, vault, audit trail, and the list of who is here."""

import asyncio
import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from immure.audit.sink import Sink
from immure.broker import renewal, watch
from immure.broker.login import Logins
from immure.broker.workers import Launcher, Nursery, worker_died
from immure.config.settings import Settings
from immure.errors import HostError
from immure.launcher.ownership import SPARE_ID
from immure.paths import Paths
from immure.sandbox.workspace import MountPoints
from immure.vault import Vault, open_vault
from immure.vault.watch import Watch

if TYPE_CHECKING:
    from immure.broker.session import Session


class House:
    """`end` is called when a worker has died and nothing can be done here any more.

    A house is taken over only when nobody is left in it: its lock is held by the broker and, past the broker's death, by the launcher,
    until the last sandbox has ended.

    `uid` is who sandboxes and gates are, if that is not you: for root they are nobody's.
    """

    def __init__(self, paths: Paths, end: Callable[[], None]) -> None:
        self.paths = paths
        self.sessions: dict[str, Session] = {}
        self.mount_points = MountPoints()
        self._end = end
        self.uid = SPARE_ID if os.geteuid() == 0 else None
        self._vault: Vault | None = None
        self._watch: Watch | None = None
        self._vault_lock = threading.Lock()
        self._sink = Sink(paths.audit)
        self._sink_lock = threading.Lock()
        lock = _lock(paths)
        self._sweep()
        self.launcher = Launcher(lock, lambda: self._worker_died("launcher"))
        self.nursery = Nursery(self.uid, lambda: self._worker_died("nursery"))
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(renewal.keep_fresh(lambda: [session.provision for session in self.sessions.values()])),
            loop.create_task(watch.watch(self._vault_has_changed, self.revise)),
        )

    def record(self, lines: bytes) -> None:
        """Append to the audit trail, from any thread."""
        with self._sink_lock:
            self._sink.write(lines)

    def logins(self, settings: Settings, say: Callable[[str], None]) -> Logins:
        """The logins in the vault, which is opened by whoever needs it first. Any thread may call."""
        with self._vault_lock:
            if self._vault is None:
                self._vault = open_vault(self.paths.vault, os.environ, lambda text: say(f"immure: {text}\n"))
                self._watch = self._vault.watch()
        return Logins(self._vault, settings.upstreams, self.record)

    async def revise(self) -> None:
        """Logins in the vault have changed: returns when the gate of every sandbox goes by what they are now. Raises HostError (vault)."""
        outcomes = await asyncio.gather(*(session.provision.revise() for session in self.sessions.values()), return_exceptions=True)
        for failure in outcomes:
            if failure is not None:
                raise failure

    def _vault_has_changed(self) -> bool:
        return self._watch is not None and self._watch.changed()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._watch is not None:
            self._watch.close()
        self.launcher.close()
        self.nursery.close()
        self._sink.close()

    def _worker_died(self, name: str) -> None:
        for session in list(self.sessions.values()):
            session.end(worker_died(name))
        self._end()

    def _sweep(self) -> None:
        """Remove what a broker that was killed has left: its sandboxes died with it."""
        root = f"{self.paths.state}/sandboxes"
        for identifier in os.listdir(root) if os.path.isdir(root) else ():
            directory = f"{root}/{identifier}"
            try:
                with open(f"{directory}/mount-points", "rb") as file:
                    self.mount_points.forget(file.read())
            except FileNotFoundError:
                pass
            try:
                shutil.rmtree(directory)
            except OSError as error:
                raise HostError(
                    f"{directory} is left from a sandbox that was killed, and cannot be removed: {error.strerror}",
                    code="state.unclean",
                    hint=f"rm -r {directory}",
                ) from error


def _lock(paths: Paths) -> int:
    """Wait until a broker that is ending, or what a killed one has left, is gone. The lock is the descriptor's, and ends with it."""
    os.makedirs(paths.state, 0o700, exist_ok=True)
    descriptor = os.open(f"{paths.state}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
