"""The broker looks for itself whether the vault has changed, and again when that failed."""

import asyncio
from collections.abc import Iterator

import pytest

from immure.broker.watch import watch
from immure.errors import HostError


def test_a_change_is_looked_at_once_and_one_that_could_not_be_until_it_can() -> None:
    answers: Iterator[bool] = iter([False, True, False, True, False, False, False])
    looks: list[int] = []
    asked = 0

    async def scene() -> None:
        done = asyncio.Event()

        def changed() -> bool:
            nonlocal asked
            asked += 1
            answer = next(answers, None)
            if answer is None:
                done.set()
                return False
            return answer

        async def revise() -> None:
            looks.append(asked)
            if len(looks) in (2, 3):
                raise HostError("the vault is busy", code="vault.busy")

        task = asyncio.create_task(watch(changed, revise, interval=0.001))
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert looks == [2, 4, 5, 6]
