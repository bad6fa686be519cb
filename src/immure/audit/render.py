"""An audit event as one short line for a person.

    15:04:05 DENY  curl  attacker.example.com:443  default  "/usr/bin/curl may not reach …"
    15:04:05 ALERT curl  api.example.com:443  misplaced placeholder  codex.access_token  "credential 'codex.access_token' was not …"

Not a format to parse: that is the JSON itself. Rules: one event is one line, whatever is in it; nothing that an agent could have
chosen reaches the terminal unless it is printable.

*Trust:* paths, hosts, methods and names of programs are the agent's; the file may end in half a line. *Fails:* never: what is not
an event is shown as the text it is, marked with `?`.
"""

import json
from datetime import datetime, tzinfo
from typing import Any

_FINDING = 2004
_LONGEST = 240
"""Characters of any one text: more is cut, so that an agent cannot scroll what it did off the screen."""

_RED, _GREEN, _YELLOW, _DIM, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def render(line: bytes, *, colour: bool = False, zone: tzinfo | None = None) -> str:
    """The line for one event, without a line feed. Times are in `zone`, by default the machine's own."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        return "?  " + neutral(line.decode("utf-8", "replace").strip())
    verdict, paint = _verdict(event)
    credentials = _at(event, "unmapped", "credentials")
    names = credentials if isinstance(credentials, list) else []
    if event.get("class_uid") == _FINDING:
        evidence = _evidence(event)
        columns = [_who(evidence), _where(evidence), _text(event, "finding_info", "title"), *map(str, names)]
    else:
        columns = [_who(event), *_what(event), _text(event, "firewall_rule", "name"), *(f"+{name}" for name in names)]
    shown = "  ".join(neutral(column) for column in columns if column)
    detail = _text(event, "status_detail")
    if detail:
        quoted = f'"{neutral(detail)}"'
        shown += "  " + _painted(quoted, _DIM, colour)
    return f"{_clock(event, zone)} {_painted(verdict, paint, colour)} {shown}"


def neutral(text: str) -> str:
    """The text with everything that is not printable spelled out: controls, and the marks that reverse or hide what follows."""
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)


def _painted(text: str, paint: str, colour: bool) -> str:
    return f"{paint}{text}{_PLAIN}" if colour else text


def _verdict(event: dict[str, Any]) -> tuple[str, str]:
    failed = event.get("status_id") == 2
    if event.get("class_uid") == _FINDING:
        return "ALERT", _RED
    match event.get("action_id"):
        case 1:
            return ("FAIL ", _YELLOW) if failed else ("ALLOW", _GREEN)
        case 2:
            return "DENY ", _RED
    if event.get("class_uid") == 3002:
        return "LOGIN", _YELLOW if failed else _GREEN
    return "?    ", _YELLOW


def _who(event: dict[str, Any]) -> str:
    if event.get("class_uid") == 3002:
        return _text(event, "user", "name")
    return _text(event, "actor", "process", "file", "name") or "unknown-program"


def _what(event: dict[str, Any]) -> list[str]:
    where = _where(event)
    match event.get("class_uid"):
        case 4002:
            request = f"{_text(event, 'http_request', 'http_method')} {_text(event, 'http_request', 'url', 'path')}"
            return [where, request, _text(event, "http_response", "code")]
        case 3002:
            return [_text(event, "activity_name"), where]
        case 1001:
            return [f"{_text(event, 'activity_name')} {_text(event, 'file', 'path')}"]
    return [where]


def _where(event: dict[str, Any]) -> str:
    host = _text(event, "dst_endpoint", "hostname") or _text(event, "dst_endpoint", "ip")
    return f"{f'[{host}]' if ':' in host else host}:{_text(event, 'dst_endpoint', 'port')}" if host else ""


def _evidence(event: dict[str, Any]) -> dict[str, Any]:
    """What a finding is about: actor and endpoint, as other events have them themselves."""
    evidences = event.get("evidences")
    first = evidences[0] if isinstance(evidences, list) and evidences else {}
    return first if isinstance(first, dict) else {}


def _clock(event: dict[str, Any], zone: tzinfo | None) -> str:
    time = event.get("time")
    try:
        return datetime.fromtimestamp(time / 1000, tz=zone).strftime("%H:%M:%S")  # type: ignore[operator]
    except (TypeError, ValueError, OverflowError, OSError):
        return "--:--:--"


def _at(event: dict[str, Any], *path: str) -> object:
    found: object = event
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _text(event: dict[str, Any], *path: str) -> str:
    """What stands there if it is a text or a number, else nothing."""
    found = _at(event, *path)
    return str(found) if isinstance(found, str | int) else ""
