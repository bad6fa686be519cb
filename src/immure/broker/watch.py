"""Logins that another process has changed: whoever does that tells the broker, and the broker looks for itself all the same.

The command that changed a login may be killed before it has told anybody, so the vault is asked every two seconds whether anything was
written. Asking costs microseconds; only if there was something are the logins of running sandboxes read again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from immure.errors import ImmureError

INTERVAL: Final = 2.0
"""Seconds for which a running sandbox may go on with a login that was removed by a command that did not live to say so."""


async def watch(changed: Callable[[], bool], revise: Callable[[], Awaitable[None]], interval: float = INTERVAL) -> NoReturn:
    """Have `revise` look again whenever `changed` says so, until cancelled. What fails is tried again the next time."""
    due = False
    while True:
        await asyncio.sleep(interval)
        due = await asyncio.to_thread(changed) or due
        if not due:
            continue
        try:
            await revise()
        except ImmureError:
            continue  # the vault is in trouble, which is told where a login is used
        due = False
