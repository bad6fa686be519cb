"""Events: what a line says, in OCSF's terms, and that no text breaks it."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.audit.event import file_event, finding_event, http_event, login_event, network_event
from immure.model import Allow, Binary, Caller, Deny, Process

CURL = Caller(Binary("/usr/bin/curl", 1, 11), 42)
ALLOW = Allow("codex", "profile codex")
DENY = Deny("default", "built-in", "/usr/bin/curl may not reach attacker.example.com:443: no rule allows it", "immure run --allow …")

REQUEST: dict[str, Any] = {
    "time": 1_763_650_000_123,
    "sandbox": "s-1",
    "caller": CURL,
    "host": "chatgpt.com",
    "port": 443,
    "method": "POST",
    "path": "/backend-api/codex/responses",
    "status": 200,
    "decision": ALLOW,
    "request_id": "r-1",
    "credentials": ["codex.access_token", "codex.account_id"],
}
CONNECTION = {key: REQUEST[key] for key in ("time", "sandbox", "caller", "host", "port", "decision", "request_id")}


def parsed(line: bytes) -> dict[str, Any]:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    event = json.loads(line, object_pairs_hook=without_repeats)
    assert isinstance(event, dict)
    return event


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_an_allowed_request() -> None:
    event = parsed(http_event(**REQUEST))
    product = event["metadata"].pop("product")
    assert product["name"] == "immure"
    assert event == {
        "time": 1_763_650_000_123,
        "category_uid": 4,
        "class_uid": 4002,
        "activity_id": 6,
        "type_uid": 400_206,
        "severity_id": 1,
        "status_id": 1,
        "status_detail": "",
        "metadata": {"version": "1.7.0", "profiles": ["host", "security_control"], "correlation_uid": "s-1"},
        "actor": {"process": {"pid": 42, "file": {"name": "curl", "path": "/usr/bin/curl", "type_id": 1}}},
        "action_id": 1,
        "action": "Allowed",
        "disposition_id": 1,
        "disposition": "Allowed",
        "dst_endpoint": {"hostname": "chatgpt.com", "port": 443},
        "firewall_rule": {"name": "codex", "category": "profile codex"},
        "http_request": {
            "uid": "r-1",
            "http_method": "POST",
            "url": {"hostname": "chatgpt.com", "port": 443, "path": "/backend-api/codex/responses"},
        },
        "http_response": {"code": 200},
        "unmapped": {"credentials": ["codex.access_token", "codex.account_id"]},
    }


def test_a_denied_connection() -> None:
    event = parsed(network_event(**CONNECTION | {"decision": DENY, "host": "10.0.0.1", "caller": None}))
    assert "actor" not in event
    del event["metadata"]
    assert event == {
        "time": 1_763_650_000_123,
        "category_uid": 4,
        "class_uid": 4001,
        "activity_id": 5,
        "type_uid": 400_105,
        "severity_id": 2,
        "status_id": 2,
        "status_detail": DENY.reason,
        "action_id": 2,
        "action": "Denied",
        "disposition_id": 2,
        "disposition": "Blocked",
        "dst_endpoint": {"ip": "10.0.0.1", "port": 443},
        "firewall_rule": {"name": "default", "category": "built-in"},
        "connection_info": {"uid": "r-1", "protocol_name": "tcp", "direction_id": 2},
    }


def test_an_allowed_connection_is_opened() -> None:
    assert parsed(network_event(**CONNECTION))["activity_id"] == 1


KNOWN = Caller(
    Binary("/usr/bin/python3.11", 1, 12, "ab" * 32),
    43,
    "x.py",
    (Process(Binary("/usr/bin/make", 1, 13), 41), Process(Binary("/usr/bin/bash", 1, 14), 40)),
)


def test_all_that_is_known_of_a_caller() -> None:
    assert parsed(http_event(**REQUEST | {"caller": KNOWN}))["actor"]["process"] == {
        "pid": 43,
        "name": "x.py",
        "file": {
            "name": "python3.11",
            "path": "/usr/bin/python3.11",
            "type_id": 1,
            "hashes": [{"algorithm": "SHA-256", "algorithm_id": 3, "value": "ab" * 32}],
        },
        "ancestry": [{"pid": 41, "name": "make", "path": "/usr/bin/make"}, {"pid": 40, "name": "bash", "path": "/usr/bin/bash"}],
    }


CHANGES = [
    # what is different, where it shows, how
    ({"method": "GET"}, "activity_id", 3),
    ({"method": "PROPFIND"}, "type_uid", 400_299),
    ({"decision": DENY}, "action_id", 2),
    ({"decision": DENY}, "status_detail", DENY.reason),
    ({"decision": DENY, "failure": "x"}, "status_detail", DENY.reason),
    ({"failure": "certificate has expired", "status": 502}, "status_detail", "certificate has expired"),
    ({"failure": "certificate has expired", "status": 502}, "status_id", 2),
    ({"failure": "certificate has expired", "status": 502}, "action_id", 1),
    ({"host": "::1"}, "dst_endpoint", {"ip": "::1", "port": 443}),
    ({"host": "a.b2"}, "dst_endpoint", {"hostname": "a.b2", "port": 443}),
    ({"status": None}, "http_response", None),
    ({"caller": None}, "actor", None),
    ({"credentials": ()}, "unmapped", {"credentials": []}),
]


@pytest.mark.parametrize(("change", "key", "value"), CHANGES)
def test_what_is_different_shows(change: dict[str, Any], key: str, value: object) -> None:
    assert parsed(http_event(**REQUEST | change)).get(key) == value


@pytest.mark.parametrize("path", ["/p?token=fake", "/p#fake", "/p?a?fake", "/p?#fake", "/p#?fake"])
def test_a_query_is_dropped(path: str) -> None:
    line = http_event(**REQUEST | {"path": path})
    assert parsed(line)["http_request"]["url"]["path"] == "/p"
    assert b"fake" not in line


LOGINS = [
    # activity, number, status, severity
    ("imported", 1, 1, 1),
    ("refreshed", 5, 1, 1),
    ("refresh-failed", 5, 2, 2),
    ("revoked-locally", 2, 1, 1),
    ("written-back", 99, 1, 1),
    ("write-back-failed", 99, 2, 2),
    ("signed-in", 1, 1, 1),
    ("signed-out", 2, 1, 1),
    ("attached", 99, 1, 1),
    ("detached", 99, 1, 1),
    ("task-registered", 99, 1, 1),
    ("task-refused", 99, 2, 2),
]


@pytest.mark.parametrize(("activity", "number", "status", "severity"), LOGINS)
def test_a_change_to_a_login(activity: Any, number: int, status: int, severity: int) -> None:
    event = parsed(login_event(time=5, login="codex", activity=activity, host="auth.openai.com", sandbox="s-1", reason="why"))
    assert (event["class_uid"], event["activity_id"], event["type_uid"]) == (3002, number, 300_200 + number)
    assert (event["status_id"], event["severity_id"], event["activity_name"]) == (status, severity, activity)
    assert (event["user"], event["dst_endpoint"]) == ({"name": "codex"}, {"hostname": "auth.openai.com", "port": 443})
    assert (event["metadata"]["correlation_uid"], event["status_detail"]) == ("s-1", "why")


FINDING: dict[str, Any] = {key: REQUEST[key] for key in ("time", "sandbox", "caller", "host", "port", "request_id")} | {
    "title": "misplaced placeholder",
    "credential": "codex.access_token",
    "reason": "credential 'codex.access_token' was not sent to chatgpt.com: it is not for PUT",
}


def test_a_finding() -> None:
    event = parsed(finding_event(**FINDING))
    del event["metadata"]
    assert event == {
        "time": 1_763_650_000_123,
        "category_uid": 2,
        "class_uid": 2004,
        "activity_id": 1,
        "type_uid": 200_401,
        "status_id": 1,
        "status_detail": FINDING["reason"],
        "severity_id": 4,
        "is_alert": True,
        "action_id": 2,
        "action": "Denied",
        "disposition_id": 2,
        "disposition": "Blocked",
        "finding_info": {"uid": "r-1", "title": "misplaced placeholder"},
        "evidences": [
            {
                "actor": {"process": {"pid": 42, "file": {"name": "curl", "path": "/usr/bin/curl", "type_id": 1}}},
                "dst_endpoint": {"hostname": "chatgpt.com", "port": 443},
            }
        ],
        "unmapped": {"credentials": ["codex.access_token"]},
    }


def test_a_finding_about_nobody_and_nothing_known() -> None:
    event = parsed(finding_event(**FINDING | {"caller": None, "credential": None, "host": "::1"}))
    assert event["evidences"] == [{"dst_endpoint": {"ip": "::1", "port": 443}}]
    assert event["unmapped"] == {"credentials": []}


texts = st.text() | st.sampled_from(['"', "\\", "\n", "\r", "\x00", "\x7f", "\u2028", "\udc80", "%s", "{}", "\U0001f600"])


@given(texts, texts, texts)
def test_any_text_comes_back_as_it_was(method: str, name: str, reason: str) -> None:
    binary = Binary("/tmp/" + name.replace("/", ""), 1, 2)
    caller = Caller(binary, 3, reason, (Process(binary, 2),))
    line = http_event(**REQUEST | {"method": method, "caller": caller, "decision": Deny("r", "l", reason)})
    event = parsed(line)
    assert event["http_request"]["http_method"] == method
    process = event["actor"]["process"]
    assert process["file"]["path"] == process["ancestry"][0]["path"] == caller.binary.path
    assert process.get("name", "") == reason
    assert event["status_detail"] == reason
    assert line.isascii()


def test_a_line_costs_less_than_the_json_encoder() -> None:
    event = parsed(http_event(**REQUEST))

    def fastest(build: Any) -> float:
        rounds = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(50):
                build()
            rounds.append(time.perf_counter() - start)
        return min(rounds)

    assert fastest(lambda: http_event(**REQUEST)) < fastest(lambda: json.dumps(event))


@given(st.text(), st.text(), st.text())
def test_a_refused_file_is_one_line_whatever_is_in_it(program: str, path: str, reason: str) -> None:
    event = parsed(file_event(time=1, sandbox="s-1", program=program, pid=7, operation="make", path=path, reason=reason))
    assert (event["class_uid"], event["type_uid"], event["action_id"], event["status_detail"]) == (1001, 100_101, 2, reason)
    assert (event["actor"]["process"]["file"]["path"], event["file"]["path"]) == (program, path)
