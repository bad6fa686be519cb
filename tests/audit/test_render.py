"""Rendering: the line that a person sees for each event, and that nothing reaches the terminal but what can be printed."""

import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.audit.event import file_event, finding_event, http_event, login_event, network_event
from immure.audit.render import neutral, render
from immure.model import Allow, Binary, Caller, Decision, Deny

TIME = 1_763_650_864_123  # 15:01:04 UTC
CURL = Caller(Binary("/usr/bin/curl", 1, 11), 42)
ALLOW = Allow("codex", "profile codex")
DENY = Deny("default", "built-in", "no rule allows it")


def request(decision: Decision, *, caller: Caller | None = CURL, status: int | None = 200, path: str = "/p", **more: Any) -> bytes:
    return http_event(
        time=TIME,
        sandbox="s",
        caller=caller,
        host="chatgpt.com",
        port=443,
        method="POST",
        path=path,
        status=status,
        decision=decision,
        request_id="r",
        **more,
    )


def connection(decision: Decision, *, host: str = "attacker.example.com", caller: Caller | None = CURL, failure: str = "") -> bytes:
    return network_event(time=TIME, sandbox="s", caller=caller, host=host, port=443, decision=decision, request_id="r", failure=failure)


def finding(*, caller: Caller | None = CURL, credential: str | None = "codex.key", reason: str = "it is not for PUT") -> bytes:
    title = "misplaced placeholder"
    return finding_event(
        time=TIME,
        sandbox="s",
        caller=caller,
        host="chatgpt.com",
        port=443,
        request_id="r",
        title=title,
        credential=credential,
        reason=reason,
    )


LINES = [
    (finding(), '15:01:04 ALERT curl  chatgpt.com:443  misplaced placeholder  codex.key  "it is not for PUT"'),
    (
        finding(caller=None, credential=None, reason="\x1b[m"),
        '15:01:04 ALERT unknown-program  chatgpt.com:443  misplaced placeholder  "\\x1b[m"',
    ),
    (connection(DENY), '15:01:04 DENY  curl  attacker.example.com:443  default  "no rule allows it"'),
    (connection(DENY, host="::1", caller=None), '15:01:04 DENY  unknown-program  [::1]:443  default  "no rule allows it"'),
    (connection(ALLOW, failure="refused"), '15:01:04 FAIL  curl  attacker.example.com:443  codex  "refused"'),
    (request(DENY, status=403), '15:01:04 DENY  curl  chatgpt.com:443  POST /p  403  default  "no rule allows it"'),
    (request(ALLOW, credentials=["codex.key"]), "15:01:04 ALLOW curl  chatgpt.com:443  POST /p  200  codex  +codex.key"),
    (request(ALLOW, status=None), "15:01:04 ALLOW curl  chatgpt.com:443  POST /p  codex"),
    (
        login_event(time=TIME, login="codex", activity="refreshed", host="auth.openai.com"),
        "15:01:04 LOGIN codex  refreshed  auth.openai.com:443",
    ),
    (
        login_event(time=TIME, login="codex", activity="refresh-failed", host="auth.openai.com", reason="reused"),
        '15:01:04 LOGIN codex  refresh-failed  auth.openai.com:443  "reused"',
    ),
    (
        file_event(time=TIME, sandbox="s", program="/usr/bin/sh", pid=1, operation="make", path="/etc/\x1b[2J", reason="it is read-only"),
        '15:01:04 DENY  sh  make /etc/\\x1b[2J  "it is read-only"',
    ),
    (connection(Deny("r", "l", "why\r\x1b]0;x\x07")), '15:01:04 DENY  curl  attacker.example.com:443  r  "why\\r\\x1b]0;x\\x07"'),
    # The program's name and the path are the agent's: an escape sequence, a line feed, a mark that reverses what follows.
    (
        request(ALLOW, caller=Caller(Binary("/tmp/a\x1b[2K\rcodex", 1, 2), 3), path="/\n15:01:04 ALLOW\u202e/\x9b"),
        "15:01:04 ALLOW a\\x1b[2K\\rcodex  chatgpt.com:443  POST /\\n15:01:04 ALLOW\\u202e/\\x9b  200  codex",
    ),
    (request(ALLOW, caller=Caller(Binary("/tmp/a\udc80", 1, 2), 3)), "15:01:04 ALLOW a\\udc80  chatgpt.com:443  POST /p  200  codex"),
]


@pytest.mark.parametrize(("line", "shown"), LINES)
def test_what_is_shown(line: bytes, shown: str) -> None:
    assert render(line, zone=UTC) == shown


STRANGE = [
    (b"", "?  "),
    (b'{"time":1', '?  {"time":1'),
    (b"[1]", "?  [1]"),
    (b"\xff\x1b[31m", "?  \ufffd\\x1b[31m"),
    (b"{}", "--:--:-- ?     unknown-program"),
    (b'{"class_uid":5019,"time":"soon"}', "--:--:-- ?     unknown-program"),
    (b'{"class_uid":4002,"time":1e999,"http_request":7,"unmapped":{"credentials":3}}', "--:--:-- ?     unknown-program   "),
    (b'{"class_uid":[],"dst_endpoint":{"hostname":["x"]},"status_detail":{"a":1}}', "--:--:-- ?     unknown-program"),
    (b'{"class_uid":2004,"evidences":[7],"unmapped":{"credentials":[{}]}}', "--:--:-- ALERT unknown-program  {}"),
    (b'{"class_uid":2004,"evidences":{},"finding_info":[]}', "--:--:-- ALERT unknown-program"),
    (b"[" * 100_000, "?  " + "[" * 239 + "…"),
]


@pytest.mark.parametrize(("line", "shown"), STRANGE)
def test_what_is_not_an_event_of_ours_is_shown_all_the_same(line: bytes, shown: str) -> None:
    assert render(line, zone=UTC).rstrip() == shown.rstrip()


def test_colour_only_when_asked() -> None:
    line = connection(DENY)
    assert "\x1b" not in render(line, zone=UTC)
    assert render(line, zone=UTC, colour=True) == (
        '15:01:04 \x1b[31mDENY \x1b[0m curl  attacker.example.com:443  default  \x1b[2m"no rule allows it"\x1b[0m'
    )


def test_what_is_very_long_is_cut() -> None:
    assert neutral("x" * 240) == "x" * 240
    assert neutral("x" * 241) == "x" * 239 + "…"
    assert len(render(request(DENY, path="/" + "x" * 10_000))) < 400


@given(st.text())
def test_neutral_text_is_printable_and_keeps_what_was(text: str) -> None:
    assert neutral(text).isprintable()
    if text.isprintable() and len(text) <= 240:
        assert neutral(text) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["time", "class_uid", "action_id", "process", "file", "name", "credentials", "port"]), inner)
    ),
    max_leaves=4,
)
events = st.dictionaries(
    st.sampled_from(["time", "class_uid", "action_id", "actor", "dst_endpoint", "http_request", "unmapped", "status_detail", "evidences"]),
    values,
)


@given(st.binary(max_size=80) | events.map(lambda event: json.dumps(event).encode()))
def test_any_bytes_are_one_printable_line(line: bytes) -> None:
    assert render(line, zone=UTC).isprintable()
