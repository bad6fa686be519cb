"""Logins of running sandboxes are renewed ahead of time, once for all of them, and trouble with one does not stop the others."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from token_server import NOW, jwt, send

from immure.broker.renewal import keep_fresh, kept
from immure.errors import HostError

HOUR = 3600


@pytest.fixture
def login(machine):
    machine.sign_in(access=jwt({"exp": int(NOW) + HOUR}))
    return machine.open()


@pytest.mark.parametrize(("left", "renewed"), [(301, False), (299, True), (-1, True)])
def test_a_login_is_renewed_when_it_is_due(machine, server, login, left, renewed) -> None:
    machine.now += HOUR - left
    fresh = kept(machine.logins(), login, "s1")
    assert (fresh.secrets != login.secrets) == renewed
    assert [json.loads(body)["refresh_reason"] for *_, body in server.seen] == ["scheduled"] * renewed


def test_ten_sandboxes_of_one_login_cost_one_request(machine, server, login) -> None:
    machine.now += HOUR - 60
    with ThreadPoolExecutor(10) as pool:
        fresh = list(pool.map(lambda n: kept(machine.logins(), login, f"s{n}"), range(10)))
    assert {one.secrets["access_token"].reveal() for one in fresh} == {"fake-at-0001"}
    assert len(server.seen) == 1


def test_what_another_has_renewed_is_found(machine, server, login) -> None:
    fresh = machine.logins().refresh(login)
    assert kept(machine.logins(), login, "s1") == fresh
    assert len(server.seen) == 1


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (503, 6)])
def test_an_issuer_that_does_not_renew_is_not_pressed(machine, server, login, status, asked) -> None:
    machine.now += HOUR - 300
    server.reply = lambda handler, body: send(handler, status, b"")
    for _ in range(600):
        machine.now += 0.1
        assert kept(machine.logins(), login, "s1") == login
    assert len(server.seen) == asked


def test_a_login_that_cannot_be_renewed_is_left_as_it_is(machine, server) -> None:
    machine.sign_in(refresh="", access=jwt({"exp": int(NOW) + HOUR}))
    login = machine.open()
    machine.now += 2 * HOUR
    assert kept(machine.logins(), login, "s1") == login
    assert not server.seen
    assert machine.activities == ["imported"]


class Sandbox:
    """Counts its turns; may fail at each."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.turns = 0
        self.failure = failure
        self.twice = asyncio.Event()

    async def keep_fresh(self) -> None:
        self.turns += 1
        if self.turns == 2:
            self.twice.set()
        if self.failure is not None:
            raise self.failure


def test_every_sandbox_that_runs_has_its_turn_again_and_again() -> None:
    async def scene() -> None:
        troubled, sound = Sandbox(HostError("its vault is gone", code="vault.file")), Sandbox()
        running = {"a": troubled, "b": Sandbox(TimeoutError()), "c": sound}
        task = asyncio.create_task(keep_fresh(running.values, interval=0.001))
        await asyncio.wait_for(sound.twice.wait(), 10)
        assert troubled.turns >= 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
