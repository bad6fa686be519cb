"""The one request that carries a refresh token, against servers that behave and servers that do not."""

import socket
import threading
from dataclasses import replace

import pytest
from token_server import certificate, send

from immure.broker.issuer import Issuer, Unanswered
from immure.config.settings import Upstream

BODY = b'{"refresh_token":"fake-rt-0000"}'


def silence(handler, body) -> None:
    silence.over.wait()


silence.over = threading.Event()


def cut(handler, body) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{fake-rt-0000")


def not_http(handler, body) -> None:
    handler.wfile.write(b"fake-rt-0000 is what you sent\r\n\r\n")


def nothing(handler, body) -> None:
    pass


def flood(handler, body) -> None:
    send(handler, 200, b"x" * 300_000)


def drip(handler, body) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    try:
        while not silence.over.wait(0.02):
            handler.wfile.write(b" ")
    except OSError:
        pass


# what the server does after the request has arrived, and what is said about it
BAD_ANSWERS = [
    (silence, "it took too long"),
    (drip, "it took too long"),
    (cut, "cut short, too long, or not HTTP"),
    (not_http, "cut short, too long, or not HTTP"),
    (nothing, "cut short, too long, or not HTTP"),
    (flood, "cut short, too long, or not HTTP"),
]


def test_the_request_arrives_as_it_was_made(server) -> None:
    server.reply = lambda handler, body: send(handler, 200, {"fine": True})
    assert Issuer([server.upstream]).post("/oauth/token", BODY) == (200, b'{"fine": true}')
    [(method, path, headers, body)] = server.seen
    assert (method, path, body) == ("POST", "/oauth/token", BODY)
    assert headers.pop("user-agent").startswith("immure/")
    assert headers == {
        "host": "auth.openai.com",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept-encoding": "identity",
    }


@pytest.mark.parametrize("status", [200, 401, 503])
def test_any_status_is_an_answer(server, status) -> None:
    server.reply = lambda handler, body: send(handler, status, b"text")
    assert Issuer([server.upstream]).post("/oauth/token", BODY) == (status, b"text")


def test_a_redirect_is_an_answer_and_not_followed(server) -> None:
    def redirect(handler, body) -> None:
        handler.send_response(307)
        handler.send_header("location", f"https://auth.openai.com:{server.port}/elsewhere")
        handler.send_header("content-length", "0")
        handler.end_headers()

    server.reply = redirect
    assert Issuer([server.upstream]).post("/oauth/token", BODY) == (307, b"")
    assert len(server.seen) == 1


def test_proxy_variables_are_not_obeyed(server, monkeypatch) -> None:
    for name in "https_proxy", "HTTPS_PROXY", "ALL_PROXY":
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.reply = lambda handler, body: send(handler, 200, b"direct")
    assert Issuer([server.upstream]).post("/oauth/token", BODY) == (200, b"direct")


@pytest.mark.parametrize(("reply", "says"), BAD_ANSWERS, ids=lambda value: getattr(value, "__name__", None))
def test_an_answer_that_does_not_come_whole_leaves_the_request_sent(server, reply, says) -> None:
    server.reply = reply
    silence.over.clear()
    try:
        with pytest.raises(Unanswered, match=says) as caught:
            Issuer([server.upstream], patience=0.2).post("/oauth/token", BODY)
    finally:
        silence.over.set()
    assert caught.value.sent
    assert "fake-rt" not in caught.value.reason


def test_a_certificate_of_another_authority_is_refused_before_anything_is_sent(server) -> None:
    stranger = replace(server.upstream, ca_pem=certificate("auth.openai.com")[0])
    with pytest.raises(Unanswered, match="certificate is not valid") as caught:
        Issuer([stranger]).post("/oauth/token", BODY)
    assert not caught.value.sent
    assert not server.seen


@pytest.mark.parametrize("server_certificate", [certificate("auth.example.com")])
def test_a_certificate_for_another_name_is_refused(server) -> None:
    with pytest.raises(Unanswered, match="certificate is not valid") as caught:
        Issuer([server.upstream]).post("/oauth/token", BODY)
    assert not caught.value.sent
    assert not server.seen


def test_without_a_certificate_of_its_own_a_mapping_needs_one_that_the_system_trusts(server) -> None:
    with pytest.raises(Unanswered, match="certificate is not valid"):
        Issuer([replace(server.upstream, ca_pem=None)]).post("/oauth/token", BODY)


def test_a_server_that_is_not_there_leaves_the_request_unsent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Upstream(host="auth.openai.com", address="127.0.0.1", port=closed.getsockname()[1], ca_pem=None)
        with pytest.raises(Unanswered, match="cannot connect") as caught:
            Issuer([nobody]).post("/oauth/token", BODY)
    assert not caught.value.sent


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "64:ff9b::a00:1"])
def test_a_name_that_leads_inward_is_refused_unless_it_is_mapped(server, monkeypatch, address) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 443))])
    elsewhere = replace(server.upstream, host="chatgpt.com")
    with pytest.raises(Unanswered, match="no public address") as caught:
        Issuer([elsewhere]).post("/oauth/token", BODY)
    assert not caught.value.sent


def test_a_name_that_does_not_resolve_is_said(monkeypatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(Unanswered, match="cannot resolve"):
        Issuer([]).post("/oauth/token", BODY)
