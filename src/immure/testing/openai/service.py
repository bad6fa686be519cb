"""A local stand-in for OpenAI: chatgpt.com, auth.openai.com and api.openai.com on one loopback address, for tests and demonstrations.

It answers what the Codex CLI asks, plays a script as the model, issues and rotates tokens of a made-up account, refuses every other
token, and keeps a record of what truly arrived. Names that are not OpenAI's can be given to it too; for those it is an ear: it answers
200 to everything and records it.

Not a model, and not a test of OpenAI's servers: what it answers is what Codex 0.169.0 was seen to need.
"""

import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, assert_never
from urllib.parse import parse_qsl

from immure.testing.openai.account import Account, RefreshRefused
from immure.testing.openai.desk import TOKEN_EXCHANGE, Desk
from immure.testing.openai.scenario import Expire, Hold, Refuse, Reply, Say, Script, Shell, events, prepared, sse
from immure.testing.record import Arrival
from immure.testing.server import Answer, Server, Upgrade
from immure.testing.websocket import POLICY_VIOLATION, WebSocket

CHATGPT, AUTH, API = "chatgpt.com", "auth.openai.com", "api.openai.com"
HOSTS = (CHATGPT, AUTH, API)
HELD = 120.0
"""Seconds after which a held reply goes on by itself."""

_BACKEND = "/backend-api"
_CODE_MODE = "x-openai-internal-codex-responses-lite"
_TASK = re.compile(r"/api/accounts/v1/agent/([^/]+)/task/register")
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
        websocket: bool = False,
    ) -> None:
        """`websocket`: responses are offered over a WebSocket too, which Codex prefers; else it is told to do without."""
        self.account = account or Account()
        self.desk = Desk(self.account)
        self.script = script or Script()
        self.ears = tuple(ears)
        self.backend_origin = f"https://{CHATGPT}"
        """Where an account is told to go with its requests for responses."""
        self.websocket = websocket
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

    def _answer(self, arrival: Arrival) -> Answer | Upgrade:
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

    def _chatgpt(self, arrival: Arrival) -> Answer | Upgrade:
        if (arrival.method, arrival.path) == ("GET", f"{_BACKEND}/wham/agent-identities/jwks"):
            return _json(200, self.account.agent.key_set())
        if not self.account.accepts(arrival.bearer) and not self.account.agent.accepts(arrival.header("authorization")):
            return _json(401, {"detail": "Unauthorized"})
        if arrival.header("chatgpt-account-id") != self.account.account_id:
            return _json(403, {"detail": "The token does not belong to this account"})
        match arrival.method, arrival.path.removeprefix(_BACKEND):
            case "GET", "/wham/accounts/check":
                routing = {"workspace_backend_origin": self.backend_origin, "account_routing_override": "NO_CONSTRAINT"}
                return _json(200, {"accounts": [{"id": self.account.account_id, **routing}]})
            case "POST", "/codex/responses":
                return self._respond(arrival)
            case "GET", "/codex/responses":
                return self._upgrade(arrival)
        return _empty(arrival)

    def _api(self, arrival: Arrival) -> Answer | Upgrade:
        if arrival.bearer != self.account.api_key:
            return _error(401, "invalid_api_key", "The API key is not right.")
        match arrival.method, arrival.path:
            case "POST", "/v1/responses":
                return self._respond(arrival)
            case "GET", "/v1/responses":
                return self._upgrade(arrival)
        return _empty(arrival)

    def _auth(self, arrival: Arrival) -> Answer:
        match arrival.method, arrival.path:
            case "POST", "/oauth/token":
                return self._token(arrival)
            case "GET", "/oauth/authorize":
                where = self.desk.authorize(dict(parse_qsl(arrival.target.partition("?")[2])))
                return Answer(status=302, headers=(("Location", where),)) if where else _error(400, "invalid_request", "Not our client.")
            case "POST", "/oauth/revoke":
                self.account.revoke(_fields(arrival).get("token", ""))
                return _json(200, {})
            case "POST", path if task := _TASK.fullmatch(path):
                registered = self.account.agent.register(task[1], arrival.body)
                if registered is None:
                    return _error(401, "invalid_signature", "That is not this agent.")
                sealed = self.account.agent.seals
                name, content = ("encrypted_task_id", self.account.agent.sealed(registered)) if sealed else ("task_id", registered)
                return _json(200, {name: content})
            case "POST", "/api/accounts/deviceauth/usercode":
                return _json(200, self.desk.begin_device())
            case "POST", "/api/accounts/deviceauth/token":
                device = _fields(arrival)
                grant = self.desk.poll_device(device.get("device_auth_id", ""), device.get("user_code", ""))
                return _json(200, grant) if grant else _error(403, "deviceauth_authorization_pending", "Not yet.")
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
        form = dict(parse_qsl(arrival.body.decode("latin-1")))
        if form.get("grant_type") == "authorization_code":
            tokens = self.desk.exchange(form)
            return _json(200, tokens) if tokens else _error(400, "invalid_grant", "The code is not right.")
        if form.get("grant_type") == TOKEN_EXCHANGE:
            key = self.desk.api_key(form)
            return _json(200, {"access_token": key}) if key else _error(401, "invalid_subject_token", "No API key for this.")
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
        played = self._play(arrival)
        if isinstance(played, Answer):
            return played
        return Answer(status=200, headers=(("Content-Type", "text/event-stream"),), body=map(sse, played))

    def _play(self, arrival: Arrival) -> Answer | Iterator[dict[str, Any]]:
        """What the script has for a request: the events of a reply, or a refusal."""
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
                    return self._stream(reply, number=arrival.number, code_mode=code_mode, held=held)
                case other:
                    assert_never(other)

    def _stream(self, reply: Reply, *, number: int, code_mode: bool, held: bool) -> Iterator[dict[str, Any]]:
        first, *rest = events(reply, number=number, code_mode=code_mode)
        yield first
        if held:
            self.holding.set()
            self._released.wait(HELD)
            self._released.clear()
        yield from rest

    def _upgrade(self, arrival: Arrival) -> Answer | Upgrade:
        """426 makes Codex fall back to server-sent events at once; other statuses cost it seven attempts (seen with 0.169.0)."""
        if not self.websocket or arrival.header("upgrade").lower() != "websocket":
            return Answer(status=426, headers=(("Upgrade", "websocket"), ("Connection", "Upgrade")))
        return Upgrade(serve=lambda socket: self._attend(arrival, socket))

    def _attend(self, upgrade: Arrival, socket: WebSocket) -> None:
        """Answer each `response.create` on a WebSocket with the events of a stream, one to a message; each is recorded."""
        while (message := socket.receive()) is not None:
            arrival = self.record.add(
                server_name=upgrade.server_name, method="MESSAGE", target=upgrade.target, headers=upgrade.headers, body=message.encode()
            )
            if not json.loads(message).get("generate", True):
                for event in prepared(number=arrival.number):
                    socket.send(json.dumps(event))
                continue
            played = self._play(arrival)
            if isinstance(played, Answer):
                socket.close(POLICY_VIOLATION)  # a token that is not good any more is told so at the next upgrade
                return
            for event in played:
                socket.send(json.dumps(event))


def _fields(arrival: Arrival) -> dict[str, str]:
    """The texts of a JSON object; nothing of anything else."""
    try:
        body = json.loads(arrival.body)
    except ValueError:
        return {}
    return {name: value for name, value in body.items() if isinstance(value, str)} if isinstance(body, dict) else {}


def _json(status: int, content: object) -> Answer:
    return Answer(status=status, headers=(("Content-Type", "application/json"),), body=json.dumps(content).encode())


def _error(status: int, code: str, message: str) -> Answer:
    return _json(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})


def _empty(arrival: Arrival) -> Answer:
    if arrival.method == "GET" and arrival.path in _EMPTY_ANSWERS:
        return _json(200, _EMPTY_ANSWERS[arrival.path])
    return _json(404, {"detail": "Not Found"})


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
