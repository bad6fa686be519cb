"""A local stand-in for OpenAI: chatgpt.com, auth.openai.com and api.openai.com on one loopback address, for tests and demonstrations.

It answers what the Codex CLI asks, plays a script as the model, issues and rotates tokens of a made-up account, refuses every other
token, and keeps a record of what truly arrived. Names that are not OpenAI's can be given to it too; for those it is an ear: it answers
200 to everything and records it.

Not a model, and not a test of OpenAI's servers: what it answers is what Codex 0.169.0 was seen to need.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from typing import assert_never

from immure.testing.openai.account import Account, RefreshRefused
from immure.testing.openai.scenario import Expire, Hold, Refuse, Reply, Say, Script, Shell, events, sse
from immure.testing.record import Arrival
from immure.testing.server import Answer, Server

CHATGPT, AUTH, API = "chatgpt.com", "auth.openai.com", "api.openai.com"
HOSTS = (CHATGPT, AUTH, API)
HELD = 120.0
"""Seconds after which a held reply goes on by itself."""

_BACKEND = "/backend-api"
_CODE_MODE = "x-openai-internal-codex-responses-lite"
_EMPTY_ANSWERS: dict[str, dict[str, object]] = {
    f"{_BACKEND}/codex/models": {"models": []},
    f"{_BACKEND}/wham/settings/user": {},
    f"{_BACKEND}/wham/config/bundle": {},
}


class FakeOpenAI(Server):
    """The stand-in. Use as a context manager; `record` holds what arrived, `account` the tokens, `release()` ends a `Hold`."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        account: Account | None = None,
        ears: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.account = account or Account()
        self.script = script or Script()
        self.ears = tuple(ears)
        self.holding = threading.Event()
        """Set while a reply is held."""
        self._released = threading.Event()
        super().__init__(self._answer, (*HOSTS, *self.ears), host=host, port=port)

    def release(self) -> None:
        """Let a held reply go on."""
        self.holding.clear()
        self._released.set()

    def close(self) -> None:
        self.release()
        super().close()

    def settings(self, authority_path: str) -> str:
        """The lines of immure's `config.toml` that send these hosts here; `authority_path` is where its certificate was saved."""
        return "".join(
            f"[[upstream]]\nhost = {json.dumps(name)}\naddress = {json.dumps(self.address)}\nca = {json.dumps(authority_path)}\n\n"
            for name in (*HOSTS, *self.ears)
        )

    def _answer(self, arrival: Arrival) -> Answer:
        match arrival.host:
            case "chatgpt.com":
                return self._chatgpt(arrival)
            case "auth.openai.com":
                return self._auth(arrival)
            case "api.openai.com":
                return self._api(arrival)
            case host if host in self.ears:
                return Answer(status=200, headers=(("Content-Type", "text/plain"),), body=b"heard\n")
        return _json(421, {"detail": "no such host here"})

    def _chatgpt(self, arrival: Arrival) -> Answer:
        if not self.account.accepts(arrival.bearer):
            return _json(401, {"detail": "Unauthorized"})
        if arrival.header("chatgpt-account-id") != self.account.account_id:
            return _json(403, {"detail": "The token does not belong to this account"})
        match arrival.method, arrival.path.removeprefix(_BACKEND):
            case "GET", "/wham/accounts/check":
                routing = {"workspace_backend_origin": f"https://{CHATGPT}", "account_routing_override": "NO_CONSTRAINT"}
                return _json(200, {"accounts": [{"id": self.account.account_id, **routing}]})
            case "POST", "/codex/responses":
                return self._respond(arrival)
            case "GET", "/codex/responses":
                return _no_websocket()
        return _empty(arrival)

    def _api(self, arrival: Arrival) -> Answer:
        if arrival.bearer != self.account.api_key:
            return _error(401, "invalid_api_key", "The API key is not right.")
        match arrival.method, arrival.path:
            case "POST", "/v1/responses":
                return self._respond(arrival)
            case "GET", "/v1/responses":
                return _no_websocket()
        return _empty(arrival)

    def _auth(self, arrival: Arrival) -> Answer:
        match arrival.method, arrival.path:
            case "POST", "/oauth/token":
                return self._token(arrival)
            case "POST", "/oauth/revoke":
                return _json(200, {})
            case "GET", "/api/accounts/v1/user-auth-credential/whoami" if self.account.accepts(arrival.bearer):
                return _json(
                    200,
                    {
                        "email": self.account.email,
                        "chatgpt_user_id": self.account.user_id,
                        "chatgpt_account_id": self.account.account_id,
                        "chatgpt_plan_type": self.account.plan,
                        "chatgpt_account_is_fedramp": False,
                    },
                )
            case "GET", "/api/accounts/v1/user-auth-credential/whoami":
                return _error(401, "invalid_token", "The access token is not right.")
        return _empty(arrival)

    def _token(self, arrival: Arrival) -> Answer:
        try:
            grant = json.loads(arrival.body)
            kind, refresh_token = grant["grant_type"], grant["refresh_token"]
        except (ValueError, TypeError, KeyError):
            return _error(400, "invalid_request", "A refresh grant in JSON is expected.")
        if kind != "refresh_token":
            return _error(400, "unsupported_grant_type", "Only the refresh grant is offered.")
        try:
            return _json(200, self.account.refresh(str(refresh_token)))
        except RefreshRefused as refused:
            return _error(401, refused.code, "The refresh token cannot be used any more; sign in again.")

    def _respond(self, arrival: Arrival) -> Answer:
        held = False
        while True:
            match self.script.take():
                case Expire():
                    self.account.expire()
                    if arrival.host == CHATGPT:
                        return _json(401, {"detail": "Unauthorized"})
                case Refuse(status):
                    return _json(status, {"detail": "Refused by the script"})
                case Hold():
                    held = True
                case Shell() | Say() as reply:
                    code_mode = arrival.header(_CODE_MODE).lower() == "true"
                    stream = self._stream(reply, number=arrival.number, code_mode=code_mode, held=held)
                    return Answer(status=200, headers=(("Content-Type", "text/event-stream"),), body=stream)
                case other:
                    assert_never(other)

    def _stream(self, reply: Reply, *, number: int, code_mode: bool, held: bool) -> Iterator[bytes]:
        first, *rest = events(reply, number=number, code_mode=code_mode)
        yield sse(first)
        if held:
            self.holding.set()
            self._released.wait(HELD)
            self._released.clear()
        for event in rest:
            yield sse(event)


def _json(status: int, content: object) -> Answer:
    return Answer(status=status, headers=(("Content-Type", "application/json"),), body=json.dumps(content).encode())


def _error(status: int, code: str, message: str) -> Answer:
    return _json(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})


def _empty(arrival: Arrival) -> Answer:
    if arrival.method == "GET" and arrival.path in _EMPTY_ANSWERS:
        return _json(200, _EMPTY_ANSWERS[arrival.path])
    return _json(404, {"detail": "Not Found"})


def _no_websocket() -> Answer:
    """426 makes Codex fall back to server-sent events at once; other statuses cost it seven attempts (seen with 0.169.0)."""
    return Answer(status=426, headers=(("Upgrade", "websocket"), ("Connection", "Upgrade")))


def lay_out(directory: str, fake: FakeOpenAI, *, api_key: bool = False) -> None:
    """Write into an existing directory what a set-up needs to meet `fake`: `ca.pem`, `config.toml` for immure and `auth.json` for Codex."""
    authority = os.path.join(directory, "ca.pem")
    login = fake.account.api_key_file() if api_key else fake.account.login_file()
    for name, content in (
        ("ca.pem", fake.authority.pem.encode()),
        ("config.toml", fake.settings(authority).encode()),
        ("auth.json", login),
    ):
        fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
