"""The endpoints of an agent identity, as a sandbox sees them: the keys that its own JWT is verified with, and a task.

Codex inside verifies the JWT that it was given, and registers a task with the key in it. What happens is that a task is registered
outside, with the real key, and its name goes to the gate; inside stands a placeholder. Codex 0.169 asks for four tasks in its first second
and never again, not even when its requests are refused: so a task is given to whoever asks within a minute, and after that a new one takes
its place. Where it is given none Codex does not say so but goes on unauthenticated: so a sandbox starts with a task, or not at all.

Rules: only what is signed with this sandbox's own key, now, is answered with a task. One request at a time goes out.

*Trust:* the agent wrote method, path and body. *Fails:* 401 if the login has ended, 503 if it may work later; the trail has the reason.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from immure.agents.codex.agent_token import OwnIdentity
from immure.broker.agent_issuer import timestamp
from immure.broker.login import Logins
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.broker.token_endpoint import Answer, Held, refusal
from immure.model import Secret
from immure.providers import Login, agent_identity
from immure.providers.agent_identity import KEY_SET_PATH, registered_text, task_path
from immure.rewrite.assertion import Signatory, is_of_moment, is_signed

_LIFE: Final = 60.0
"""Seconds for which a task is given to whoever asks."""
_REST: Final = 5.0
"""Seconds for which nothing is asked of the issuer after it gave none: an agent that asks in a loop must not turn into a loop upstream."""


class AgentEndpoint:
    """That of one sandbox; `runtime_id` and `task_id` are its placeholders. Any thread may call."""

    __slots__ = ("_asked", "_clock", "_failure", "_lock", "_own", "_runtime_id", "_task", "_task_id")

    def __init__(self, own: OwnIdentity, *, runtime_id: str, task_id: str, clock: Callable[[], float] = time.time) -> None:
        self._own = own
        self._runtime_id = runtime_id
        self._task_id = task_id
        self._clock = clock
        self._lock = threading.Lock()
        self._task: tuple[Secret, Secret] | None = None  # with the agent that it was registered for
        self._failure: LoginEnded | LoginUnavailable | None = None
        self._asked = 0.0

    @property
    def token(self) -> str:
        """The JWT for inside."""
        return self._own.token

    def signing(self, login: Login) -> Login:
        """The login with what a gate needs to sign for it, in place of the JWT."""
        identity = agent_identity.read(login.secrets["agent_identity"].reveal())
        task = self._task
        signatory = Signatory(
            agent_runtime_id=identity.agent_runtime_id.reveal(),
            private_key=identity.private_key.reveal(),
            task_id=task[0].reveal() if task is not None and task[1] == identity.agent_runtime_id else "",
            own_task=self._task_id,
            own_key=self._own.public_key,
        )
        return replace(login, secrets={**login.secrets, "agent_identity": signatory.to_secret()})

    def serves(self, path: str) -> bool:
        return path in (KEY_SET_PATH, task_path(self._runtime_id))

    def answer(self, logins: Logins, held: Held, *, method: str, path: str, body: bytes, sandbox: str = "") -> Answer:
        """Serve one request of a sandbox that runs on such a login. Waits for the issuer."""
        match method, path:
            case "GET", where if where == KEY_SET_PATH:
                return Answer(status=200, body=self._own.key_set, held=held)
            case "POST", where if where == task_path(self._runtime_id):
                return self._registered(logins, held, body, sandbox)
        return refusal(held, 404, "not_found", "immure answers nothing else of this host")

    def register(self, logins: Logins, login: Login, *, sandbox: str) -> None:
        """Have a task that is young enough. Raises LoginEnded, LoginUnavailable. Waits for the issuer."""
        with self._lock:
            age = self._clock() - self._asked
            if self._failure is not None and 0 <= age < _REST:
                raise self._failure.with_traceback(None)
            agent = agent_identity.read(login.secrets["agent_identity"].reveal()).agent_runtime_id
            if self._failure is None and self._task is not None and self._task[1] == agent and 0 <= age < _LIFE:
                return
            try:
                self._task, self._failure = (logins.register_task(login, sandbox=sandbox), agent), None
            except (LoginEnded, LoginUnavailable) as error:
                self._failure = error
                raise
            finally:
                self._asked = self._clock()

    def _registered(self, logins: Logins, held: Held, body: bytes, sandbox: str) -> Answer:
        if held.login is None or not self._is_own(body):
            logins.report(held.name, "task-refused", sandbox=sandbox, reason="the sandbox did not sign with its own key")
            return refusal(held, 401, "invalid_signature", "this is not signed with the key of this sandbox, or not now")
        try:
            self.register(logins, held.login, sandbox=sandbox)
        except LoginEnded as error:
            return refusal(held, 401, "agent_identity_refused", f"{error.what}; {error.hint}")
        except LoginUnavailable as error:
            return refusal(held, 503, "temporarily_unavailable", f"{error.what}; {error.hint}")
        return Answer(status=200, body=json.dumps({"task_id": self._task_id}).encode(), held=held, granted=True)

    def _is_own(self, body: bytes) -> bool:
        try:
            request: Any = json.loads(body)
            made, signature = request["timestamp"], request["signature"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        if not isinstance(made, str) or not isinstance(signature, str) or not is_of_moment(made, timestamp(self._clock())):
            return False
        return is_signed(registered_text(self._runtime_id, made), signature, self._own.public_key)
