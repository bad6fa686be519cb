"""What leaves the gate in place of what a request says: targets, bodies, and nothing at all when something does not fit."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from house import (
    ACCOUNT_PLACEHOLDER,
    OK,
    PLACEHOLDER,
    POOL,
    TOKEN,
    Gate,
    Peer,
    World,
    allow,
    answering,
    credentials,
    read_answer,
    world,
)

from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.gate.substitution import MAX_BODY
from immure.model import Binary, Endpoint, Secret
from immure.model.path import PathPattern
from immure.rewrite import Binding, Credential, FieldSlot, HeaderSlot, PathSlot, QuerySlot

HOST = "api.example.com"
OTHER = "other.example.com"
KEY = "sk-immure-" + "k" * 26
REAL_KEY = "fake-real-key/0123456789+"
CLIENT_SECRET = "immure-" + "c" * 26
REAL_CLIENT_SECRET = 'fake-client-"secret"-0123'
FOREIGN = "immure-at-" + "z" * 26
Setting = tuple[Gate, World]


def declared(port: int) -> tuple[Credential, ...]:
    endpoints = (Endpoint(HOST, port),)
    return (
        *credentials(HOST, port),
        Credential(
            name="key",
            placeholder=KEY,
            secret=Secret(REAL_KEY),
            slots=(QuerySlot(parameter="key"), PathSlot(before="/bot"), HeaderSlot(header="authorization", scheme="basic")),
            binding=Binding(endpoints=endpoints, methods=("GET",), paths=(PathPattern("/**"),)),
        ),
        Credential(
            name="client",
            placeholder=CLIENT_SECRET,
            secret=Secret(REAL_CLIENT_SECRET),
            slots=(FieldSlot(field="client_secret", form="form"), FieldSlot(field="client_secret", form="json")),
            binding=Binding(endpoints=endpoints, methods=("POST",), paths=(PathPattern("/token"),)),
        ),
        Credential(
            name="curl's",
            placeholder="immure-" + "u" * 26,
            secret=Secret("fake-curl-secret"),
            slots=(HeaderSlot(header="x-curl", scheme="raw"),),
            binding=Binding(endpoints=endpoints, binaries=(Binary("/usr/bin/curl", 1, 1),)),
        ),
    )


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    """Two allowed hosts, the credentials for one of them."""
    with world(HOST, OTHER) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port), allow(OTHER, port)), credentials=declared(port)),
                upstreams=(served.upstream(HOST), served.upstream(OTHER)),
                pool=POOL,
            ),
        )
        yield gate, served
        gate.hang_up()


def request(gate: Gate, start: str, *lines: str, host: str = HOST, body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{start} HTTP/1.1", f"Host: {host}:{gate.port}", *lines, "")).encode() + body


def taking(size: int) -> Callable[[Peer], None]:
    """A script: one request with a body of so many octets, and an answer."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.read(size)
        peer.send(OK)

    return script


def test_a_secret_goes_into_the_target_and_its_placeholder_onto_the_trail(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [answering(OK)]
    with gate.connect_tls(HOST) as client:
        for target in (f"/bot{KEY}/getMe", f"/bot{KEY}/getMe", f"/v1/x?a=1&key={KEY}&b=%2F", "/v1/x"):
            client.sendall(request(gate, f"GET {target}"))
            assert read_answer(client)[1] == b"hello"
    quoted = REAL_KEY.replace("/", "%2F").replace("+", "%2B")
    seen = [head.split()[1].decode() for head in served.peers[0].heads]
    assert seen == [f"/bot{quoted}/getMe", f"/bot{quoted}/getMe", f"/v1/x?a=1&key={quoted}&b=%2F", "/v1/x"]
    asked = [b"Accept-Encoding: identity" in head for head in served.peers[0].heads]
    assert asked == [True, True, True, False]
    events = [gate.event() for _ in seen]
    assert [event["unmapped"]["credentials"] for event in events] == [["key"], ["key"], ["key"], []]
    assert events[0]["http_request"]["url"]["path"] == f"/bot{KEY}/getMe"
    assert gate.no_event()


BODIES = [
    # content type, body with the placeholder, body with the secret
    (
        "application/json; charset=utf-8",
        f'{{ "grant_type":"x", "client_secret" : "{CLIENT_SECRET}","note":"{PLACEHOLDER}" }}\n',
        f'{{ "grant_type":"x", "client_secret" : {json.dumps(REAL_CLIENT_SECRET)},"note":"{PLACEHOLDER}" }}\n',
    ),
    (
        "application/x-www-form-urlencoded",
        f"grant_type=a%20b&client_secret={CLIENT_SECRET}&note={PLACEHOLDER}",
        f"grant_type=a%20b&client_secret=fake-client-%22secret%22-0123&note={PLACEHOLDER}",
    ),
]


@pytest.mark.parametrize(("kind", "arrives", "leaves"), BODIES, ids=["json", "form"])
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "bytewise"])
def test_the_field_of_a_body_is_exchanged_and_its_length_said(setting: Setting, kind: str, arrives: str, leaves: str, cut: int) -> None:
    gate, served = setting
    served.scripts = [taking(len(leaves.encode()))]
    body = arrives.encode()
    head = request(gate, "POST /token", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Content-MD5: x")
    with gate.connect_tls(HOST) as client:
        for piece in [body[i : i + 1] for i in range(len(body))] if cut else [body]:
            client.sendall(head + piece)
            head = b""
        assert read_answer(client)[1] == b"hello"
    sent, _, payload = bytes(served.peers[0].seen).partition(b"\r\n\r\n")
    assert payload.decode() == leaves
    assert f"Content-Length: {len(leaves)}" in sent.decode().splitlines()
    assert b"Content-MD5" not in sent
    assert gate.event()["unmapped"]["credentials"] == ["client"]


def test_a_chunked_body_stays_chunked_and_keeps_its_trailers(setting: Setting) -> None:
    gate, served = setting
    kind, arrives, leaves = BODIES[1]

    def script(peer: Peer) -> None:
        peer.head()
        peer.until(b"0\r\nX-Sum: 1\r\n\r\n")
        peer.send(OK)

    served.scripts = [script]
    parts = [arrives[:30].encode(), arrives[30:].encode()]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Sum: 1\r\n\r\n"
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "POST /token", f"Content-Type: {kind}", "Transfer-Encoding: chunked", body=chunks))
        assert read_answer(client)[1] == b"hello"
    sent, _, payload = bytes(served.peers[0].seen).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in sent
    assert payload.decode() == f"{len(leaves):x}\r\n{leaves}\r\n0\r\nX-Sum: 1\r\n\r\n"


def test_a_client_that_waits_is_told_to_go_on(setting: Setting) -> None:
    gate, served = setting
    kind, arrives, leaves = BODIES[0]
    served.scripts = [taking(len(leaves.encode()))]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "POST /token", f"Content-Type: {kind}", f"Content-Length: {len(arrives)}", "Expect: 100-continue"))
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not served.peers
        client.sendall(arrives.encode())
        assert read_answer(client)[1] == b"hello"
    assert b"Expect" not in served.peers[0].heads[0]


def test_a_body_that_is_long_under_way_is_judged_by_what_is_granted_at_its_end(setting: Setting) -> None:
    gate, served = setting
    kind, arrives, leaves = BODIES[1]
    rotated = "fake-rotated-client-secret"
    expected = leaves.replace("fake-client-%22secret%22-0123", rotated)
    served.scripts = [taking(len(expected))]
    *others, client_secret, _ = declared(gate.port)
    with gate.connect_tls(HOST) as client:
        fields = (f"Content-Type: {kind}", f"Content-Length: {len(arrives)}", "Expect: 100-continue")
        client.sendall(request(gate, "POST /token", *fields))
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        gate.grant(Grants(rules=(allow(HOST, gate.port),), credentials=(*others, replace(client_secret, secret=Secret(rotated)))))
        client.sendall(arrives.encode())
        assert read_answer(client)[1] == b"hello"
    assert bytes(served.peers[0].seen).partition(b"\r\n\r\n")[2].decode() == expected


INERT = [
    ("POST /other", "application/json", BODIES[0][1]),
    ("PUT /token", "application/json", BODIES[0][1]),
    ("POST /token", "text/plain", BODIES[0][1]),
    ("POST /token", "application/json", f'{{"prompt": "{CLIENT_SECRET}"}}'),
]


@pytest.mark.parametrize(("start", "kind", "body"), INERT)
def test_any_other_body_passes_byte_for_byte(setting: Setting, start: str, kind: str, body: str) -> None:
    gate, served = setting
    served.scripts = [taking(len(body))]
    with gate.connect_tls(HOST) as client:
        fields = (f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Digest: x")
        client.sendall(request(gate, start, *fields, body=body.encode()))
        assert read_answer(client)[1] == b"hello"
    sent, _, payload = bytes(served.peers[0].seen).partition(b"\r\n\r\n")
    assert payload.decode() == body
    assert b"Digest: x" in sent
    assert gate.event()["unmapped"]["credentials"] == []


def form(**fields: str) -> tuple[str, ...]:
    body = "&".join(f"{name}={value}" for name, value in fields.items())
    return "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}", "", body


REFUSED: dict[str, tuple[str, str, tuple[str, ...], str, str | None, str]] = {
    # host, first line, fields, title and credential of the finding, reason
    "wrong host": (OTHER, "GET /", (f"Authorization: Bearer {PLACEHOLDER}",), "misplaced placeholder", "access", "it is not for other"),
    "wrong scheme": (HOST, "GET /", (f"Authorization: Basic {PLACEHOLDER}",), "misplaced placeholder", "access", "does not stand alone"),
    "wrong field": (HOST, "GET /", (f"Account-ID: {PLACEHOLDER}",), "misplaced placeholder", "access", "belongs in authorization"),
    "wrong program": (HOST, "GET /", ("X-Curl: immure-" + "u" * 26,), "misplaced placeholder", "curl's", "it is not for /"),
    "wrong method": (HOST, f"PUT /v1/x?key={KEY}", (), "misplaced placeholder", "key", "it is not for PUT"),
    "wrong path": (HOST, f"GET /v1/..%2fx?key={KEY}", (), "misplaced placeholder", "key", "more than one way"),
    "another sandbox's": (HOST, "GET /", (f"Authorization: Bearer {FOREIGN}",), "misplaced placeholder", None, "not of this sandbox"),
    "in the path": (HOST, f"GET /{PLACEHOLDER}", (), "misplaced placeholder", "access", "not in the path"),
    "in the query": (OTHER, f"GET /?{ACCOUNT_PLACEHOLDER}", (), "misplaced placeholder", "account", "not in the query"),
    "in a cookie": (HOST, "GET /", (f"Cookie: a={PLACEHOLDER}",), "misplaced placeholder", "access", "not in cookie"),
    "for a proxy": (HOST, "GET /", (f"Proxy-Authorization: {FOREIGN}",), "misplaced placeholder", None, "not of this sandbox"),
    "in a body": (HOST, "POST /token", form(client_secret=PLACEHOLDER), "misplaced placeholder", "access", "not in the field"),
    "one's own": (HOST, "GET /", ("Authorization: Bearer fake-own",), "foreign credential", "access", "authorization is there for"),
    "one's own in a body": (HOST, "POST /token", form(client_secret="fake-own"), "foreign credential", "client", "is there for"),
    "a body that is encoded": (
        HOST,
        "POST /token",
        ("Content-Encoding: gzip", *form(client_secret="x")),
        "unreadable slot",
        "client",
        "encoded as gzip",
    ),
    "a body that is broken": (HOST, "POST /token", form(client_secret="x&client_secret=y"), "unreadable slot", "client", "more than one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_one_finding_and_nothing_is_sent(setting: Setting, case: str) -> None:
    gate, served = setting
    host, start, fields, title, name, reason = REFUSED[case]
    *lines, body = fields if "" in fields else (*fields, "")
    with gate.connect_tls(host) as client:
        client.sendall(request(gate, start, *(line for line in lines if line), host=host, body=body.encode()))
        head, answer = read_answer(client)
        assert head.startswith(b"HTTP/1.1 403")
        error = json.loads(answer)["error"]
        assert error["code"] == "credential_refused"
        assert reason in error["reason"]
        event, finding = gate.event(), gate.event()
        assert (event["class_uid"], event["action"], event["status_detail"]) == (4002, "Denied", error["reason"])
        assert (finding["class_uid"], finding["severity_id"], finding["status_detail"]) == (2004, 4, error["reason"])
        assert finding["finding_info"] == {"uid": error["request_id"], "title": title}
        assert finding["unmapped"] == {"credentials": [name] if name else []}
        assert finding["evidences"][0]["dst_endpoint"] == {"hostname": host, "port": gate.port}
        assert finding["evidences"][0]["actor"]["process"]["pid"] == gate.inside.pid
        shown = json.dumps([error, event, finding])
        assert not any(secret in shown for secret in (TOKEN, REAL_KEY, REAL_CLIENT_SECRET, "fake-own"))
        client.sendall(request(gate, "TRACE /", host=host))
        assert read_answer(client)[0].startswith(b"HTTP/1.1 405"), "the connection was lost"
    assert gate.event()["class_uid"] == 4002
    assert gate.no_event()
    assert not served.peers


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_that_is_too_long_to_look_into_is_refused(setting: Setting, chunked: bool) -> None:
    gate, served = setting
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY + 1}"
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "POST /token", "Content-Type: application/json", length))
        body = b"a" * (MAX_BODY + 1)
        client.sendall(b"%x\r\n%b" % (len(body), body) if chunked else body)
        head, answer = read_answer(client)
        assert head.startswith(b"HTTP/1.1 413")
        assert json.loads(answer)["error"]["code"] == "body_too_long"
    assert gate.event()["http_response"]["code"] == 413
    assert not served.peers


def test_a_body_of_nearly_the_limit_passes(setting: Setting) -> None:
    gate, served = setting
    body = f'{{"a":"{"b" * (MAX_BODY - 200)}","client_secret":"{CLIENT_SECRET}"}}'.encode()
    expected = body.replace(CLIENT_SECRET.encode(), json.dumps(REAL_CLIENT_SECRET)[1:-1].encode())
    served.scripts = [taking(len(expected))]
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "POST /token", "Content-Type: application/json", f"Content-Length: {len(body)}", body=body))
        assert read_answer(client)[1] == b"hello"
    assert bytes(served.peers[0].seen).partition(b"\r\n\r\n")[2] == expected


def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_nothing_upstream(setting: Setting) -> None:
    gate, served = setting
    client: socket.socket
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, "POST /token", "Content-Type: application/json", "Content-Length: 50", body=b'{"client_secret":"'))
    event: dict[str, Any] = gate.event()
    assert event["status_detail"] == "the client closed the connection before it was answered"
    assert not served.peers
