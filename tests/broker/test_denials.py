"""The list of what was denied in one sandbox."""

import re

from immure.audit.event import file_event, http_event
from immure.broker.denials import MOST, Denials
from immure.model import Allow


def refused(path: str, time: int = 0) -> bytes:
    return file_event(time=time, sandbox="s", program="/usr/bin/sh", pid=1, operation="write", path=path, reason="it is read-only inside")


def allowed(path: str) -> bytes:
    return http_event(
        time=0,
        sandbox="s",
        caller=None,
        host="a.example",
        port=443,
        method="GET",
        path=path,
        status=200,
        decision=Allow("r", "l"),
        request_id="1",
    )


def text(*lines: bytes) -> list[str]:
    denials = Denials()
    denials.add(b"".join(lines))
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in denials.text().splitlines()]


def test_what_was_allowed_is_not_in_it() -> None:
    assert text(allowed("/"), allowed('/"action_id":2,')) == ["immure: nothing was denied"]


def test_what_happened_again_is_counted() -> None:
    assert text(refused("/a", 1), refused("/b", 2), refused("/a", 9_000_000)) == [
        "immure: denied:",
        'DENY  sh  write /a  "it is read-only inside" (2 times)',
        'DENY  sh  write /b  "it is read-only inside"',
    ]


def test_it_is_cut_and_says_so() -> None:
    lines = text(*(refused(f"/{number}") for number in range(MOST + 2)))
    assert (len(lines), lines[-1]) == (MOST + 2, "and 2 more: immure logs")


def test_nothing_of_an_agent_reaches_the_terminal_unprintable() -> None:
    assert text(refused("/\x1b[2J\n/fake"))[1] == r'DENY  sh  write /\x1b[2J\n/fake  "it is read-only inside"'
