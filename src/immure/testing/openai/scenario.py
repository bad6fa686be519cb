"""What the stand-in model says: a script of steps, and their form on Codex's wire.

The model is the one part of a coding agent that cannot be run in a test, and the one part that may turn hostile: a script can make it
run any command. Each request for a response takes the next step; a script that has ended goes on with its last words.

Two tool formats exist. Models of one kind call `exec_command` as a function; models in code mode write a line of JavaScript that calls
it. The request says which is expected, by a header (seen with Codex 0.169.0).
"""

import json
import threading
from dataclasses import dataclass
from typing import Any, assert_never


@dataclass(frozen=True, slots=True)
class Shell:
    """The model asks for a shell command."""

    command: str


@dataclass(frozen=True, slots=True)
class Say:
    """The model ends its turn with a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The access token expires now; the request at hand is the first to be refused."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request at hand is answered with this HTTP status, whatever its token."""

    status: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The next reply starts, but ends only when the server is told to release it: the agent is alive and waiting meanwhile."""


Step = Shell | Say | Expire | Refuse | Hold
Reply = Shell | Say
END = Say("The script has ended.")


class Script:
    """The steps still to come. Taking one is atomic: connections of one agent may ask at once."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self._lock = threading.Lock()

    def take(self) -> Step:
        with self._lock:
            return self._steps.pop(0) if self._steps else END

    def finished(self) -> bool:
        with self._lock:
            return not self._steps


def parse(text: str) -> Step:
    """A step from a command line: `shell: COMMAND`, `say: TEXT`, `expire`, `hold` or `refuse: STATUS`. Raises ValueError."""
    kind, _, rest = (part.strip() for part in text.partition(":"))
    match kind:
        case "shell" if rest:
            return Shell(rest)
        case "say":
            return Say(rest)
        case "expire" if not rest:
            return Expire()
        case "hold" if not rest:
            return Hold()
        case "refuse" if rest.isdecimal() and 400 <= int(rest) <= 599:
            return Refuse(int(rest))
    raise ValueError(f"not a step: {text!r}")


def events(reply: Reply, *, number: int, code_mode: bool) -> list[dict[str, Any]]:
    """The events of the Responses API that carry one reply. `number` makes the ids of one server unique."""
    created, completed = prepared(number=number)
    match reply:
        case Say(text):
            item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        case Shell(command):
            item = _tool_call(command, f"call_fake_{number}", code_mode=code_mode)
        case _:
            assert_never(reply)
    return [created, {"type": "response.output_item.done", "output_index": 0, "item": item}, completed]


def prepared(*, number: int) -> list[dict[str, Any]]:
    """The events of a response without a reply: Codex asks for one on a new WebSocket, to refer to it in what it asks next."""
    response = f"resp_fake_{number}"
    usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None, "total_tokens": 2}
    return [
        {"type": "response.created", "response": {"id": response}},
        {"type": "response.completed", "response": {"id": response, "usage": usage}},
    ]


def _tool_call(command: str, call: str, *, code_mode: bool) -> dict[str, Any]:
    if code_mode:
        source = f"const r = await tools.exec_command({json.dumps({'cmd': command})}); text(JSON.stringify(r));"
        return {"type": "custom_tool_call", "call_id": call, "name": "exec", "input": source}
    arguments = json.dumps({"cmd": command, "yield_time_ms": 10_000})
    return {"type": "function_call", "call_id": call, "name": "exec_command", "arguments": arguments}


def sse(event: dict[str, Any]) -> bytes:
    """One server-sent event (WHATWG HTML section 9.2.6) of the Responses API."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
