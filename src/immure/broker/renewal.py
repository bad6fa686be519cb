"""Renewal ahead of time: the logins of running sandboxes are looked at once a minute, so that no request meets an expired token.

A login is due some minutes before it expires (`providers.oauth`), and how soon a failed renewal may be tried again stands in its record
(`broker.lineage`): so there is nothing to plan here, and any number of sandboxes or brokers that look at once cost one request.

*Fails:* quietly, for the trail has it: an agent whose login has ended learns it from the token endpoint when it needs a new token.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, NoReturn, Protocol

from immure.broker.login import Logins
from immure.errors import ImmureError
from immure.providers import Login

INTERVAL: Final = 60.0
"""Seconds; an expiring token is due for five minutes (`oauth.EARLY`), which leaves a few tries."""
_PATIENCE: Final = 180.0
"""Seconds for one sandbox: the issuer may be slow, and another renewal may hold the lock."""


class Sandbox(Protocol):
    """A running sandbox, which renews its own logins and tells its gate."""

    async def keep_fresh(self) -> None: ...


async def keep_fresh(running: Callable[[], Collection[Sandbox]], interval: float = INTERVAL) -> NoReturn:
    """Have every running sandbox look at its logins, again and again, until cancelled."""
    while True:
        await asyncio.sleep(interval)
        for sandbox in tuple(running()):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await sandbox.keep_fresh()
            except (TimeoutError, ImmureError):
                continue  # its gate or its vault is in trouble, which ends the sandbox or is told where it is met


def kept(logins: Logins, login: Login, sandbox: str) -> Login:
    """The login as it is now, renewed if that was due and could be done. Waits for the issuer."""
    try:
        return logins.keep(login, sandbox=sandbox)
    except ImmureError:
        return login
