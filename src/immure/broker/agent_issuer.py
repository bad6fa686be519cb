"""What OpenAI is asked about an agent identity: whether it is its own, and for a task.

*Trust:* the issuer; the JWT is whatever was pasted or lies in a file. *Fails:* UsageError if a JWT is not good, LoginEnded or
LoginUnavailable if there is no task.
"""

import time
from typing import assert_never

from immure.broker.issuer import Issuer, Unanswered
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.errors import UsageError
from immure.model import Secret
from immure.providers import Login, agent_identity
from immure.providers.agent_identity import AgentIdentity, NoTask
from immure.providers.sign_in import refused
from immure.rewrite.assertion import TIME_FORMAT


def verified(issuer: Issuer, token: str, now: float) -> AgentIdentity:
    """What a JWT says, if OpenAI has signed it and it has not expired; `now` in seconds since the epoch. Raises UsageError, Unanswered."""
    try:
        identity = agent_identity.read(token)
    except ValueError as error:
        raise UsageError(
            f"this is not an agent identity: {error}",
            code="login.malformed",
            hint="give the whole JWT, or a personal access token, which begins with 'at-'",
        ) from None
    if identity.expires <= now:
        raise refused("the agent identity has expired")
    status, key_set = issuer.key_set()
    if status != 200:
        raise Unanswered(f"{agent_identity.KEY_SET_HOST} does not give its public keys (status {status})", sent=True)
    try:
        agent_identity.verify(token, key_set)
    except ValueError as error:
        raise refused(f"the agent identity is not good: {error}") from None
    return identity


def registered(issuer: Issuer, login: Login, now: float) -> Secret:
    """The name of a new task for a login. Raises LoginEnded, LoginUnavailable."""
    identity = agent_identity.read(login.secrets["agent_identity"].reveal())
    if identity.expires <= now:
        raise LoginEnded("expired", login.name)
    request = agent_identity.registration(identity, timestamp(now))
    try:
        status, body = issuer.post(agent_identity.task_path(identity.agent_runtime_id.reveal()), request)
        outcome = agent_identity.task_in(status, body, identity.private_key)
    except Unanswered as error:
        outcome = NoTask(cause="unavailable", reason=error.reason)
    match outcome:
        case Secret():
            return outcome
        case NoTask(cause="refused"):
            raise LoginEnded("refused", login.name)
        case NoTask():
            raise LoginUnavailable(outcome.reason, "used")
    assert_never(outcome)


def timestamp(now: float) -> str:
    """Seconds since the epoch as they stand in what an agent signs."""
    return time.strftime(TIME_FORMAT, time.gmtime(now))
