"""What a sandbox is told at the token endpoint: placeholders, or one clear refusal."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from token_server import send

from immure.broker.token_endpoint import Held, answer
from immure.providers.oauth import claims
from immure.vault import Vault

PLACEHOLDERS = {"access_token": "immure-at-x", "refresh_token": "immure-rt-x", "account_id": "immure-acct-x"}
GRANT = {"client_id": "app_x", "grant_type": "refresh_token", "refresh_reason": "unauthorized_recovery", "refresh_token": "immure-rt-x"}

# body, status, code
REFUSED = [
    (GRANT | {"refresh_token": "immure-rt-of-another-sandbox"}, 401, "refresh_token_invalidated"),
    (GRANT | {"refresh_token": "fake-rt-0000"}, 401, "refresh_token_invalidated"),
    (GRANT | {"refresh_token": None}, 401, "refresh_token_invalidated"),
    (GRANT | {"refresh_token": ["immure-rt-x"]}, 401, "refresh_token_invalidated"),
    ({"grant_type": "refresh_token"}, 401, "refresh_token_invalidated"),
    ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
    (b"grant_type=authorization_code&client_id=app_x&code=c&code_verifier=v", 400, "unsupported_grant_type"),
    (b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=x", 400, "unsupported_grant_type"),
    ({"grant_type": 7}, 400, "invalid_request"),
    ({}, 400, "invalid_request"),
    ([], 400, "invalid_request"),
    (b"", 400, "invalid_request"),
    (b"\xff\xfe", 400, "invalid_request"),
    (b"[" * 60_000, 400, "invalid_request"),
    (b"&".join(b"a=1" for _ in range(100)), 400, "invalid_request"),
]

# how the issuer answers, status inside, code inside
FAILURES = [
    (401, {"error": {"code": "refresh_token_expired"}}, 401, "refresh_token_expired"),
    (401, {"error": {"code": "refresh_token_reused"}}, 401, "refresh_token_reused"),
    (401, {"error": {"code": "refresh_token_invalidated"}}, 401, "refresh_token_invalidated"),
    (400, {"error": "invalid_grant"}, 401, "refresh_token_invalidated"),
    (401, b"", 401, "refresh_token_invalidated"),
    (500, b"fake-rt-0000", 503, "temporarily_unavailable"),
    (200, b"fake-rt-0000", 503, "temporarily_unavailable"),
]


def ask(machine, login, body, *, path="/oauth/token", method="POST", placeholders=PLACEHOLDERS):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    held = Held(login=login, placeholders=placeholders)
    told = answer(machine.logins(), held, method=method, path=path, body=raw, sandbox="s1")
    assert b"fake" not in told.body
    assert b"acct-0" not in told.body
    assert told.headers == (("content-type", "application/json"), ("cache-control", "no-store"))
    return told


def refusal(told) -> tuple[int, str]:
    error = json.loads(told.body)["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["message"]
    return told.status, error["code"]


@pytest.fixture
def login(machine):
    machine.sign_in()
    return machine.open()


def test_a_refresh_renews_outside_and_answers_with_the_same_placeholders(machine, server, login) -> None:
    told = ask(machine, login, GRANT)
    assert told.status == 200
    tokens = json.loads(told.body)
    assert (tokens["access_token"], tokens["refresh_token"]) == ("immure-at-x", "immure-rt-x")
    assert claims(tokens["id_token"])["https://api.openai.com/auth"]["chatgpt_account_id"] == "immure-acct-x"
    assert claims(tokens["id_token"])["email"] == "ann@example.com"
    assert sorted(tokens) == ["access_token", "id_token", "refresh_token"]
    assert told.held.login.secrets["access_token"].reveal() == "fake-at-0001"
    assert json.loads(server.seen[0][3])["refresh_token"] == "fake-rt-0000"


@pytest.mark.parametrize(("said", "passed_on"), [("scheduled", "scheduled"), ("fake-injection", "unauthorized_recovery")])
def test_the_reason_that_is_passed_on_is_one_of_ours(machine, server, login, said, passed_on) -> None:
    ask(machine, login, GRANT | {"refresh_reason": said, "client_id": "app_evil"})
    sent = json.loads(server.seen[0][3])
    assert (sent["refresh_reason"], sent["client_id"]) == (passed_on, "app_EMoamEEZ73f0CkXaXp7hrann")


def test_ten_sandboxes_that_ask_in_the_same_second_cost_one_request(machine, server, login) -> None:
    together = threading.Barrier(10)

    def sandbox(number: int):
        mine = {name: f"{placeholder}{number}" for name, placeholder in PLACEHOLDERS.items()}
        together.wait()
        return ask(machine, login, GRANT | {"refresh_token": f"immure-rt-x{number}"}, placeholders=mine)

    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(sandbox, range(10)))
    assert [(one.status, json.loads(one.body)["access_token"]) for one in told] == [(200, f"immure-at-x{n}") for n in range(10)]
    assert {one.held.login.secrets["access_token"].reveal() for one in told} == {"fake-at-0001"}
    assert len(server.seen) == 1


def test_ten_sandboxes_of_an_ended_login_get_one_text_for_one_request(machine, server, login) -> None:
    server.reply = lambda handler, body: send(handler, 401, {"error": {"code": "refresh_token_reused"}})
    with ThreadPoolExecutor(10) as pool:
        told = list(pool.map(lambda _: ask(machine, login, GRANT), range(10)))
    assert {one.status for one in told} == {401}
    (body,) = {one.body for one in told}
    assert b"renewed by another program" in body
    assert len(server.seen) == 1


def test_two_sandboxes_of_one_login_cost_one_request(machine, server, login) -> None:
    first = ask(machine, login, GRANT)
    other = {name: placeholder + "y" for name, placeholder in PLACEHOLDERS.items()}
    second = ask(machine, login, GRANT | {"refresh_token": "immure-rt-xy"}, placeholders=other)
    assert second.held.login == first.held.login
    assert json.loads(second.body)["access_token"] == "immure-at-xy"
    assert len(server.seen) == 1


@pytest.mark.parametrize(("body", "status", "code"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_not_this_sandboxs_own_refresh_is_refused(machine, server, login, body, status, code) -> None:
    told = ask(machine, login, body)
    assert refusal(told) == (status, code)
    assert told.held.login == login
    assert not server.seen
    assert machine.activities == ["imported", "refresh-failed"]


@pytest.mark.parametrize(("status", "content", "inside", "code"), FAILURES)
def test_a_failure_outside_is_told_in_the_form_that_codex_knows(machine, server, login, status, content, inside, code) -> None:
    server.reply = lambda handler, body: send(handler, status, content)
    assert refusal(ask(machine, login, GRANT)) == (inside, code)


def test_a_login_that_has_ended_answers_without_asking_again(machine, server, login) -> None:
    server.reply = lambda handler, body: send(handler, 401, {"error": {"code": "refresh_token_expired"}})
    bodies = {ask(machine, login, GRANT).body for _ in range(5)}
    assert len(bodies) == 1
    assert b"codex login" in bodies.pop()
    assert len(server.seen) == 1


def test_a_vault_that_cannot_be_used_is_told_without_its_path(machine, login, tmp_path) -> None:
    machine.vault = Vault(str(tmp_path / "state" / "vault"), bytes(32))
    told = ask(machine, login, GRANT)
    assert refusal(told) == (503, "temporarily_unavailable")
    assert str(tmp_path).encode() not in told.body
    assert b"tampered" in machine.trail[-1]


def test_a_revocation_ends_the_login_in_this_sandbox_and_nothing_outside(machine, server, login) -> None:
    before = machine.record
    told = ask(machine, login, {"token": "immure-rt-x", "token_type_hint": "refresh_token"}, path="/oauth/revoke")
    assert (told.status, told.body, told.held) == (200, b"{}", Held(login=None, placeholders={}))
    assert machine.record == before
    assert not server.seen
    assert machine.activities == ["imported", "revoked-locally"]


@pytest.mark.parametrize("token", ["immure-rt-of-another-sandbox", "fake-rt-0000", None, 7, ["immure-rt-x"]])
def test_a_revocation_of_anything_else_is_answered_and_changes_nothing(machine, login, token) -> None:
    told = ask(machine, login, {"token": token}, path="/oauth/revoke")
    assert (told.status, told.held.login) == (200, login)
    assert machine.activities == ["imported"]


@pytest.mark.parametrize("body", [GRANT, {"token": "immure-rt-x"}])
def test_a_sandbox_that_has_signed_out_has_nothing(machine, server, body) -> None:
    told = ask(machine, None, body, placeholders={})
    assert refusal(told) == ((401, "refresh_token_invalidated") if "grant_type" in body else (400, "invalid_request"))
    assert told.held.login is None
    assert not server.seen


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/oauth/token"), ("POST", "/oauth/authorize"), ("POST", "/oauth/token/"), ("post", "/oauth/token")]
)
def test_nothing_else_is_answered(machine, server, login, method, path) -> None:
    assert refusal(ask(machine, login, GRANT, method=method, path=path)) == (404, "not_found")
    assert not server.seen


def test_a_sandbox_with_an_api_key_has_nothing_to_refresh(machine, server) -> None:
    machine.write({"OPENAI_API_KEY": "fake-key-0000"})
    told = ask(machine, machine.open(), GRANT, placeholders={"api_key": "sk-immure-x"})
    assert refusal(told) == (401, "refresh_token_invalidated")
    assert not server.seen
