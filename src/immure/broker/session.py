"""One sandbox, from the client's request to its exit status.

    plan ─► gate and namespaces, side by side ─► start ─► exit ─► clean up

Every way to end leads through `_clean`: what was made for the sandbox is removed whether it ran, was refused, or lost its gate. A
session is owned by one task of the service.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from immure.broker import permitted_plan
from immure.broker import plan as planning
from immure.broker.denials import Denials
from immure.broker.gate_line import GateLine
from immure.broker.house import House
from immure.broker.line import Line, close_all
from immure.broker.plan import Plan, Request
from immure.broker.provision import Provision
from immure.broker.sign_ins import given_secret
from immure.broker.streams import check_streams, standard_streams
from immure.broker.trail import Trail
from immure.broker.workers import process_of
from immure.errors import EXIT_LAUNCH, Fault, ImmureError
from immure.launcher.ownership import staged
from immure.sandbox import spec, system
from immure.sandbox.workspace import StandIn, written

T = TypeVar("T")

_PATIENCE = 15.0
"""Seconds for what takes milliseconds: for namespaces and gate to be made, a killed process to be gone, the last audit lines to be read."""


class Ended(Exception):
    """The client has ended this launch itself, or is gone: there is nothing to tell it but the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class Session:
    """The sandbox of one client. `run` is called once; the other methods may be called while it runs."""

    def __init__(self, house: House, client: Line, request: Request, streams: Sequence[int | None]) -> None:
        self.identifier = f"sb-{secrets.token_hex(4)}"
        self._house = house
        self._client = client
        self._request = request
        self._streams = streams
        self._directory = f"{house.paths.state}/sandboxes/{self.identifier}"
        self.provision = Provision(house, self.identifier, self._say, self.end)
        self._started: float | None = None
        self._workspace = ""
        self._mount_points: tuple[StandIn, ...] = ()
        self._denials = Denials() if request.options["log_denials"] else None
        self._trail = Trail(self._record, self.end)
        self._gate: GateLine | None = None
        self._prepared: asyncio.Future[list[int]] | None = None
        self._ended: asyncio.Future[ImmureError | Ended] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """The exit status for the client. Raises Ended, or ImmureError: the sandbox could not be made, or lost a part of its wall."""
        try:
            check_streams([fd for fd in self._streams if fd is not None])
            given = await self._unless_ended(asyncio.ensure_future(given_secret(self._request, self._streams[0])))
            self._request = replace(self._request, given=given)
            return await self._launch(await self._plan())
        except ImmureError:
            self._go_on()  # what had ended it is why it failed
            raise
        finally:
            await self._clean()
            if self._denials is not None:
                self._say(self._denials.text())

    def _record(self, lines: bytes) -> None:
        self._house.record(lines)
        if self._denials is not None:
            self._denials.add(lines)

    def signal(self, number: int) -> None:
        """The client was sent a signal. It is the program's, once there is one."""
        if self.is_running:
            self._house.launcher.signal(self.identifier, number)
        else:
            self.end(Ended(128 + number))

    def left(self) -> None:
        """The client is gone."""
        self.end(Ended(EXIT_LAUNCH))

    def end(self, why: ImmureError | Ended) -> None:
        """End the sandbox, whether it is still being made or runs. The first reason is the one that is told."""
        if not self._ended.done():
            self._ended.set_result(why)
        self._house.launcher.end(self.identifier)

    def _go_on(self) -> None:
        if self._ended.done():
            raise self._ended.result()

    # While it runs

    @property
    def is_running(self) -> bool:
        return self._started is not None

    def summary(self) -> dict[str, Any]:
        """What `immure list` shows of a sandbox that runs. Of its command only the program: arguments may hold anything."""
        assert self._prepared is not None
        return {
            "id": self.identifier,
            "command": self._request.verb if self._request.verb == "codex" else f"{self._request.verb} {self._request.command[0]}",
            "workspace": self._workspace,
            "since": self._started,
            "providers": self.provision.attachments.states,
            "pid": process_of(self._prepared.result()[-1]),
        }

    # From the plan to the end

    def _say(self, text: str) -> None:
        self._client.send_word(f"say {text}")

    async def _plan(self) -> Plan:
        """Make the plan: renewing a login may take long, and nobody should have to wait."""
        make = permitted_plan.make if self._request.verb == permitted_plan.VERB else planning.make
        return await self._unless_ended(
            asyncio.get_running_loop().run_in_executor(
                None, make, self._request, self._directory, self._house.paths, self._house.logins, self._say
            )
        )

    async def _unless_ended(self, work: asyncio.Future[T]) -> T:
        """Wait for that, unless the session is ended meanwhile."""
        either: list[asyncio.Future[Any]] = [work, self._ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            work.cancel()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())  # whatever comes of it, nobody asks any more
        self._go_on()
        return work.result()

    async def _launch(self, plan: Plan) -> int:
        bubblewrap = system.bubblewrap()
        self._workspace = plan.around.workspace
        self.provision.prepare(plan, self._request)
        self._make_directories(plan)
        launcher = self._house.launcher
        self._gate = GateLine(self._house.nursery.gate(), self.provision.answer, self.end)
        self._prepared = launcher.prepare(self.identifier, watched=self._denials is not None)
        try:
            async with asyncio.timeout(_PATIENCE):
                certificate, sockets = await asyncio.gather(self._gate.certificate, self._prepared)
        except TimeoutError:
            raise Fault(
                "launcher or nursery does not answer", code="sandbox.late", hint="immure stop, and run it again: a new broker starts both"
            ) from None
        self._go_on()
        self.provision.serve(self._gate, self._trail.writer, sockets)
        complete = replace(plan.spec, files=plan.system.files(certificate))
        place = staged if self._house.uid is not None else None
        options, command, data = spec.bubblewrap(complete, place)
        stage = [mount.source for mount in plan.spec.mounts]
        given = [self.provision.input(self._streams[0]), *self._streams[1:]]
        with standard_streams(given, self._request.terminal, self._house.uid, self._client) as streams:
            launcher.start(
                self.identifier,
                bubblewrap,
                options,
                command,
                data,
                streams=streams,
                stage=stage,
                covers=plan.spec.covers(place),
                umask=self._request.umask,
                limits=plan.limits,
            )
        self._started = time.time()
        await self.provision.revise()  # a login that was removed while this was planned was nobody's to take away
        status = await launcher.exited(self.identifier)
        self._go_on()
        return status

    def _make_directories(self, plan: Plan) -> None:
        """What the plan says must exist: mount points in the workspace, the agent's home and its files."""
        os.makedirs(self._directory, 0o700)
        if missing := self._house.mount_points.missing(plan.needed):
            with open(f"{self._directory}/mount-points", "wb") as file:  # for the next broker, if this one is killed
                file.write(written(missing))
            self._house.mount_points.claim(missing)
            self._mount_points = missing
        self.provision.begin(plan)
        for attachment in plan.attachments:
            for directory in attachment.kept:
                os.makedirs(directory, 0o700, exist_ok=True)

    async def _gone(self, pidfd: int) -> None:
        """Wait for the end of the first process inside, and so of all: a launcher that has died tells nobody."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(pidfd, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), _PATIENCE)
        except TimeoutError:
            pass  # in a system call that cannot be interrupted; there is no more to do
        finally:
            loop.remove_reader(pidfd)

    async def _clean(self) -> None:
        """Leave nothing behind."""
        self._started = None
        if self._prepared is not None:
            self._house.launcher.end(self.identifier)
            await asyncio.wait([self._house.launcher.exited(self.identifier)], timeout=_PATIENCE)
            self._prepared.cancel()
            if not self._prepared.cancelled() and self._prepared.exception() is None:
                await self._gone(self._prepared.result()[-1])
                close_all(self._prepared.result())
            self._house.launcher.forget(self.identifier)
        self.provision.close()
        os.close(self._trail.writer)
        if self._gate is not None:
            self._gate.close()
        await asyncio.wait([self._trail.finished], timeout=_PATIENCE)
        self._house.mount_points.release(self._mount_points)
        shutil.rmtree(self._directory, ignore_errors=True)
