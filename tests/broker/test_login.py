"""The life of a login: imported, renewed, refused, and what a crash at each moment leaves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from token_server import NOW, Machine, TokenServer, id_token, jwt, send

from immure.broker.lineage import Lineage
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.errors import HostError, UsageError
from immure.model import Secret
from immure.vault import Vault

DAY = 24 * 3600


def tokens(login) -> tuple[str, str]:
    return login.secrets["access_token"].reveal(), login.secrets["refresh_token"].reveal()


def error(code: str) -> dict[str, object]:
    return {"error": {"message": "fake-rt-0000 is no good", "type": "invalid_request_error", "param": None, "code": code}}


def test_first_use_imports_and_says_what_it_does(machine, server) -> None:
    machine.sign_in()
    login = machine.open()
    assert (login.kind, tokens(login), login.account_id) == ("chatgpt", ("fake-at-0000", "fake-rt-0000"), Secret("acct-0000"))
    assert login.claims["email"] == "ann@example.com"
    copied = "it is copied, encrypted, into the vault. Codex inside gets placeholders."
    assert machine.said == [
        f"The ChatGPT login of {machine.home}/auth.json is used: {copied}",
        "From now on immure renews it, and writes the new tokens back to that file for the Codex outside.",
    ]
    assert machine.activities == ["imported"]
    assert not server.seen


def test_later_use_is_silent(machine) -> None:
    machine.sign_in()
    first = machine.open()
    machine.said.clear()
    assert machine.open() == first
    assert machine.said == []
    assert machine.activities == ["imported"]


def test_an_import_on_demand_is_the_import_of_first_use(machine) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        machine.logins().take(machine.home, machine.said.append)
    machine.sign_in()
    machine.logins().take(machine.home, machine.said.append)
    assert "it is copied, encrypted" in machine.said[0]
    machine.said.clear()
    machine.logins().take(machine.home, machine.said.append)
    machine.open()
    assert (machine.said, machine.activities) == ([], ["imported"])


def test_what_is_said_is_said_before_it_is_done(machine) -> None:
    machine.sign_in()

    def stop(sentence: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.logins().open(machine.home, stop)
    assert machine.vault.names() == ()


def test_a_home_behind_a_link_is_the_same_login(machine, tmp_path) -> None:
    machine.sign_in()
    first = machine.open()
    (tmp_path / "link").symlink_to(machine.home)
    assert machine.logins().open(str(tmp_path / "link"), machine.said.append) == first


def test_an_api_key_says_that_it_is_billed(machine, server) -> None:
    machine.write({"auth_mode": "apikey", "OPENAI_API_KEY": "fake-key-0000"})
    machine.now += 400 * DAY
    login = machine.open()
    assert (login.kind, dict(login.secrets), dict(login.claims)) == ("api_key", {"api_key": Secret("fake-key-0000")}, {})
    said = "Codex signs in with an API key, the Codex login of {}: its use is billed."
    assert machine.said[1:] == [said.format(machine.home)]
    machine.said.clear()
    machine.open()
    assert machine.said == [said.format(machine.home)]
    assert not server.seen


def test_of_both_the_subscription_is_used_and_that_is_said(machine) -> None:
    machine.sign_in(auth_mode=None, OPENAI_API_KEY="fake-key-0000")
    assert machine.open().kind == "chatgpt"
    assert "the API key is not" in machine.said[-1]


def test_without_a_login_nothing_is_made(machine) -> None:
    with pytest.raises(UsageError) as caught:
        machine.open()
    assert caught.value.code == "login.missing"
    assert (machine.vault.names(), machine.trail, machine.said) == ((), [], [])


def test_an_id_token_that_codex_cannot_read_is_refused(machine) -> None:
    machine.sign_in(tokens={"id_token": "fake-opaque-id", "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000"})
    with pytest.raises(UsageError, match=r"tokens\.id_token is not a JWT") as caught:
        machine.open()
    assert caught.value.code == "login.malformed"
    assert machine.vault.names() == ()


def test_a_login_outlives_its_file(machine) -> None:
    machine.sign_in()
    first = machine.open()
    os.unlink(f"{machine.home}/auth.json")
    assert machine.open() == first


def test_a_file_that_became_unusable_is_an_error(machine) -> None:
    machine.sign_in()
    machine.open()
    Path(machine.home, "auth.json").write_text("{")
    with pytest.raises(UsageError, match="not a usable Codex login"):
        machine.open()


def test_a_new_sign_in_takes_the_place_of_the_old_and_that_is_said(machine) -> None:
    machine.sign_in()
    machine.open()
    machine.said.clear()
    machine.sign_in(refresh="fake-rt-new1", access="fake-at-new1", account="acct-1111")
    login = machine.open()
    assert (tokens(login), login.account_id) == (("fake-at-new1", "fake-rt-new1"), Secret("acct-1111"))
    assert machine.said == [f"The Codex login in {machine.home}/auth.json is newer than the one in the vault, and takes its place."]
    assert machine.activities == ["imported", "imported"]


def test_a_change_from_a_subscription_to_a_key_is_not_silent(machine) -> None:
    machine.sign_in()
    machine.open()
    machine.said.clear()
    machine.write({"OPENAI_API_KEY": "fake-key-0000"})
    assert machine.open().kind == "api_key"
    assert "its use is billed" in machine.said[-1]


def test_a_file_that_comes_back_with_spent_tokens_is_brought_up_to_date(machine, server) -> None:
    machine.sign_in()
    renewed = machine.logins().refresh(machine.open())
    machine.now += 60
    machine.sign_in()  # as from a backup: the first tokens, with a new date
    assert machine.open() == renewed
    assert machine.refresh_token_outside == "fake-rt-0001"


def test_a_token_that_the_hosts_codex_has_replaced_is_spent_too(machine, server) -> None:
    machine.sign_in()
    machine.open()
    server.rotate()
    machine.sign_in(refresh="fake-rt-0001", access="fake-at-0001")
    machine.open()
    machine.sign_in()  # as from a backup
    assert tokens(machine.open()) == ("fake-at-0001", "fake-rt-0001")
    assert machine.refresh_token_outside == "fake-rt-0001"


def test_a_file_that_goes_back_to_another_account_is_taken_at_its_word(machine, server) -> None:
    machine.sign_in()
    machine.open()
    machine.sign_in(refresh="fake-rt-other", access="fake-at-other", account="acct-1111")
    machine.open()
    machine.sign_in()
    assert tokens(machine.open()) == ("fake-at-0000", "fake-rt-0000")
    assert machine.refresh_token_outside == "fake-rt-0000"


def test_what_is_renewed_is_written_back_to_where_it_came_from(machine, server) -> None:
    machine.sign_in(future_field={"kept": True})
    before = machine.file
    login = machine.open()
    for count in 1, 2:
        machine.now += 60
        login = machine.logins().refresh(login)
        changed = {"access_token": f"fake-at-000{count}", "refresh_token": f"fake-rt-000{count}"}
        after = machine.file
        assert after == before | {"tokens": before["tokens"] | changed, "last_refresh": after["last_refresh"]}
        assert datetime.fromisoformat(after["last_refresh"]).timestamp() == machine.now
    machine.said.clear()
    assert machine.open() == login
    assert machine.said == []
    assert machine.activities == ["imported", "refreshed", "written-back", "refreshed", "written-back"]


def test_a_newer_sign_in_on_the_host_is_not_written_over(machine, server) -> None:
    machine.sign_in()
    first = machine.open()
    machine.sign_in(refresh="fake-rt-other", access="fake-at-other", account="acct-1111")
    machine.logins().refresh(first)
    assert machine.refresh_token_outside == "fake-rt-other"
    assert machine.activities == ["imported", "refreshed"]


def test_a_file_that_is_gone_is_not_made_anew(machine, server) -> None:
    machine.sign_in()
    first = machine.open()
    os.unlink(f"{machine.home}/auth.json")
    assert tokens(machine.logins().refresh(first)) == ("fake-at-0001", "fake-rt-0001")
    assert not os.path.exists(f"{machine.home}/auth.json")


def test_a_file_that_cannot_be_written_costs_nothing_inside_and_is_said_at_the_next_start(machine, server) -> None:
    machine.sign_in()
    first = machine.open()
    machine.said.clear()
    os.mkdir(f"{machine.home}/auth.lock")
    fresh = machine.logins().refresh(first)
    assert tokens(fresh) == ("fake-at-0001", "fake-rt-0001")
    assert machine.activities[-1] == "write-back-failed"
    assert machine.open() == fresh
    assert machine.said == [
        f"The new tokens could not be written to {machine.home}/auth.json: Is a directory. The Codex outside may have to sign in again."
    ]
    os.rmdir(f"{machine.home}/auth.lock")
    assert machine.open() == fresh
    assert machine.refresh_token_outside == "fake-rt-0001"


def test_a_token_that_the_hosts_codex_used_a_moment_before_us_is_no_end(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()

    def quicker(handler, body) -> None:
        server.rotate()
        machine.sign_in(refresh="fake-rt-0001", access="fake-at-0001")
        send(handler, 401, error("refresh_token_reused"))

    server.reply = quicker
    assert tokens(machine.logins().refresh(stale)) == ("fake-at-0001", "fake-rt-0001")
    assert machine.activities == ["imported", "imported"]


def test_a_refused_token_is_renewed_and_kept(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    fresh = machine.logins().refresh(stale, sandbox="s1")
    assert tokens(fresh) == ("fake-at-0001", "fake-rt-0001")
    assert machine.open() == fresh
    [(_, path, _, body)] = server.seen
    assert path == "/oauth/token"
    assert json.loads(body) == {
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "grant_type": "refresh_token",
        "refresh_reason": "unauthorized_recovery",
        "refresh_token": "fake-rt-0000",
    }
    assert machine.activities == ["imported", "refreshed", "written-back"]
    assert json.loads(machine.trail[1])["metadata"]["correlation_uid"] == "s1"


def test_whoever_comes_second_is_given_what_the_first_was(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    first = machine.logins().refresh(stale)
    assert machine.logins().refresh(stale) == first
    assert len(server.seen) == 1


def test_an_agent_that_asks_in_a_loop_makes_no_loop_upstream(machine, server) -> None:
    machine.sign_in()
    login = machine.open()
    for _ in range(20):
        login = machine.logins().refresh(login)
        machine.now += 1
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("access", "age", "renewed"),
    [
        ("fake-at-0000", 7.9 * DAY, False),
        ("fake-at-0000", 8.1 * DAY, True),
        (jwt({"exp": int(NOW) + 30 * DAY}), 20 * DAY, False),
        (jwt({"exp": int(NOW) + 30 * DAY}), 30 * DAY - 200, True),
    ],
)
def test_a_token_near_its_end_is_renewed_before_the_start(machine, server, access, age, renewed) -> None:
    machine.sign_in(access=access)
    machine.now += age
    machine.open()
    assert len(server.seen) == renewed
    if renewed:
        assert json.loads(server.seen[0][3])["refresh_reason"] == "scheduled"


# status and content of the answer, why the login has ended
PERMANENT = [
    (401, error("refresh_token_expired"), "has expired"),
    (401, error("refresh_token_reused"), "renewed by another program"),
    (401, error("refresh_token_invalidated"), "was revoked"),
    (400, {"error": "invalid_grant"}, "no longer accepted"),
    (401, b"no", "no longer accepted"),
]


@pytest.mark.parametrize(("status", "content", "says"), PERMANENT)
def test_a_login_that_has_ended_says_so_once_and_for_all(machine, server, status, content, says) -> None:
    machine.sign_in()
    stale = machine.open()
    server.reply = lambda handler, body: send(handler, status, content)
    for _ in range(3):
        with pytest.raises(LoginEnded, match=says) as caught:
            machine.logins().refresh(stale)
        with pytest.raises(LoginEnded, match=says):
            machine.open()
    assert (caught.value.code, caught.value.status) == ("login.ended", 2)
    assert caught.value.hint == "sign in on the host: codex login; then start again"
    assert "fake" not in caught.value.render()
    assert len(server.seen) == 1
    assert machine.activities == ["imported", "refresh-failed"]


def test_after_a_new_sign_in_an_ended_login_works_again(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    server.reply = lambda handler, body: send(handler, 401, error("refresh_token_expired"))
    with pytest.raises(LoginEnded):
        machine.logins().refresh(stale)
    machine.sign_in(refresh="fake-rt-new1", access="fake-at-new1")
    assert tokens(machine.open()) == ("fake-at-new1", "fake-rt-new1")


# status and content of the answer, may the token have been used up?
TRANSIENT = [
    (503, b"", False),
    (429, b"{}", False),
    (302, b"", False),
    (400, {"error": "invalid_request"}, False),
    (200, b"<html>fake-at-0000", True),
    (200, {"access_token": 7}, True),
]


@pytest.mark.parametrize(("status", "content", "pending"), TRANSIENT)
def test_a_renewal_that_failed_for_now_may_be_tried_again(machine, server, status, content, pending) -> None:
    machine.sign_in()
    stale = machine.open()
    server.reply = lambda handler, body: send(handler, status, content)
    with pytest.raises(LoginUnavailable) as caught:
        machine.logins().refresh(stale)
    assert (caught.value.code, caught.value.status) == ("login.unavailable", 125)
    assert "fake" not in caught.value.render()
    assert (machine.record["pending"] is not None) == pending
    server.reply = None
    machine.now += 1
    assert tokens(machine.logins().refresh(stale)) == ("fake-at-0001", "fake-rt-0001")
    assert (machine.record["pending"], machine.record["failures"]) == (None, 0)
    assert machine.activities == ["imported", "refresh-failed", "refreshed", "written-back"]


def test_an_issuer_in_trouble_is_asked_ever_more_rarely(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    server.reply = lambda handler, body: send(handler, 503, b"")
    started = machine.now
    asked = []
    while machine.now < started + 1200:
        before = len(server.seen)
        with pytest.raises(LoginUnavailable):
            machine.logins().refresh(stale)
        if len(server.seen) > before:
            asked.append(machine.now - started)
        machine.now += 1
    assert asked == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111]
    assert machine.activities.count("refresh-failed") == len(asked)


def test_a_clock_that_was_set_back_does_not_stop_renewals(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    server.reply = lambda handler, body: send(handler, 503, b"")
    with pytest.raises(LoginUnavailable):
        machine.logins().refresh(stale)
    server.reply = None
    machine.now -= 30 * DAY
    assert tokens(machine.logins().refresh(stale)) == ("fake-at-0001", "fake-rt-0001")


def test_an_issuer_that_is_not_there_changes_nothing(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    before = machine.record
    machine.upstreams = (replace(server.upstream, ca_pem=None),)
    with pytest.raises(LoginUnavailable, match="certificate is not valid"):
        machine.logins().refresh(stale)
    assert machine.record == before | {"failures": 1, "failed": machine.now}


@pytest.mark.parametrize(("age", "starts"), [(30 * DAY - 200, True), (30 * DAY + 1, False)])
def test_without_the_issuer_a_start_goes_on_as_long_as_the_token_lives(machine, server, age, starts) -> None:
    machine.sign_in(access=jwt({"exp": int(NOW) + 30 * DAY}))
    machine.open()
    machine.now += age
    server.reply = lambda handler, body: send(handler, 503, b"")
    if starts:
        assert tokens(machine.open())[1] == "fake-rt-0000"
    else:
        with pytest.raises(LoginUnavailable):
            machine.open()
    assert len(server.seen) == 1


def test_a_login_without_a_refresh_token_cannot_be_renewed(machine, server) -> None:
    machine.sign_in(refresh="")
    with pytest.raises(LoginEnded, match="without a refresh token"):
        machine.logins().refresh(machine.open())
    assert not server.seen


def test_what_the_hosts_codex_has_renewed_is_taken_and_nobody_is_asked(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    server.rotate()
    machine.sign_in(refresh="fake-rt-0001", access="fake-at-0001")
    assert tokens(machine.logins().refresh(stale)) == ("fake-at-0001", "fake-rt-0001")
    assert not server.seen
    machine.now += 60
    assert tokens(machine.logins().refresh(machine.open())) == ("fake-at-0002", "fake-rt-0002")


def test_a_sign_in_to_another_account_ends_the_sandboxes_of_the_first(machine, server) -> None:
    machine.sign_in()
    first = machine.open()
    machine.sign_in(refresh="fake-rt-other", access="fake-at-other", account="acct-1111")
    # Not while it runs: the first account's sandbox is renewed as what it is …
    assert tokens(machine.logins().refresh(first)) == ("fake-at-0001", "fake-rt-0001")
    # … until the new login is used, after which there is only one in the vault.
    machine.open()
    with pytest.raises(LoginEnded, match="another account"):
        machine.logins().refresh(first)


def test_a_login_that_is_gone_from_the_vault_has_ended(machine) -> None:
    machine.sign_in()
    login = machine.open()
    machine.vault.delete(login.name)
    with pytest.raises(LoginEnded, match="no longer in the vault"):
        machine.logins().refresh(login)


def test_a_record_that_was_tampered_with_is_an_error(machine, tmp_path) -> None:
    machine.sign_in()
    login = machine.open()
    machine.vault = Vault(str(tmp_path / "state" / "vault"), bytes(32))
    for use in machine.open, lambda: machine.logins().refresh(login):
        with pytest.raises(HostError, match="tampered"):
            use()


def test_threads_that_refresh_at_once_make_one_request(machine, server) -> None:
    machine.sign_in()
    stale = machine.open()
    with ThreadPoolExecutor(8) as pool:
        fresh = list(pool.map(lambda _: machine.logins().refresh(stale), range(8)))
    assert {tokens(login) for login in fresh} == {("fake-at-0001", "fake-rt-0001")}
    assert len(server.seen) == 1


# A process that renews the login, and dies (SIGKILL) at the step of its last argument: before or after the Nth record is written, or
# before or after the file on the host is replaced.
RENEWER = """
import os, signal, sys
from immure.broker.login import Logins
from immure.config.settings import Upstream
from immure.vault import Vault

directory, home, port, ca, moment = sys.argv[1:]

class Mortal(Vault):
    written = 0
    def put(self, name, record):
        Mortal.written += 1
        if moment == f"before {Mortal.written}":
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(name, record)
        if moment == f"after {Mortal.written}":
            os.kill(os.getpid(), signal.SIGKILL)

rename = os.rename
def mortal_rename(*paths):
    if moment == "before rename":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*paths)
    if moment == "after rename":
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = mortal_rename

upstream = Upstream(host="auth.openai.com", address="127.0.0.1", port=int(port), ca_pem=ca)
logins = Logins(Mortal(directory, bytes(range(32))), [upstream], lambda line: None, lambda: 1800000000.0)
login = logins.open(home, lambda sentence: None)
print("ready", flush=True)
sys.stdin.readline()
print(logins.refresh(login).secrets["access_token"].reveal())
"""


Renew = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def renewer(machine: Machine, server: TokenServer) -> Iterator[Renew]:
    """Starts such a process, which waits for a line before it renews."""
    started: list[subprocess.Popen[str]] = []
    directory = os.path.dirname(os.path.dirname(machine.home)) + "/state/vault"

    def start(moment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RENEWER, directory, machine.home, str(server.port), server.ca, moment]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_processes_that_refresh_at_once_make_one_request(machine, server, renewer) -> None:
    machine.sign_in()
    machine.open()
    processes = [renewer("never") for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["fake-at-0001\n"] * 4
    assert len(server.seen) == 1


# when it dies, requests that reached the issuer by then, what the next refresh gives
CRASHES = [
    ("before 1", 0, "fake-at-0001"),
    ("after 1", 0, "fake-at-0001"),
    ("answering", 1, None),
    ("before 2", 1, None),
    ("after 2", 1, "fake-at-0001"),
    ("before rename", 1, "fake-at-0001"),
    ("after rename", 1, "fake-at-0001"),
]


@pytest.mark.parametrize(("moment", "requests", "then"), CRASHES)
def test_a_process_killed_at_any_step_leaves_the_old_tokens_or_the_new(machine, server, renewer, moment, requests, then) -> None:
    machine.sign_in()
    stale = machine.open()
    process = renewer(moment)

    def rotate_and_kill(handler, body) -> None:
        server.rotate()
        process.send_signal(signal.SIGKILL)

    if moment == "answering":
        server.reply = rotate_and_kill
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    server.reply = None
    assert len(server.seen) == requests
    assert (machine.record["pending"] is not None) == (moment in ("after 1", "answering", "before 2"))

    if then is not None:
        assert machine.logins().refresh(stale).secrets["access_token"] == Secret(then)
        assert machine.record["pending"] is None
        assert len(server.seen) == 1
        assert tokens(machine.open()) == (then, "fake-rt-0001")
        assert machine.refresh_token_outside == "fake-rt-0001"
        assert [name for name in os.listdir(machine.home) if name.startswith(".")] == []
    else:
        with pytest.raises(LoginEnded, match="the answer that held the new token was lost") as caught:
            machine.logins().refresh(stale)
        assert caught.value.cause == "interrupted"


def test_no_secret_reaches_the_audit_trail_or_the_terminal(machine, server) -> None:
    machine.sign_in()
    login = machine.logins().refresh(machine.open())
    server.reply = lambda handler, body: send(handler, 401, error("refresh_token_reused"))
    machine.now += 60
    with pytest.raises(LoginEnded):
        machine.logins().refresh(login)
    talk = b"".join(machine.trail) + "".join(machine.said).encode()
    for secret in b"fake-", b"acct-", id_token().split(".")[1].encode():
        assert secret not in talk


def sign_in_here(machine: Machine, number: int, account: str = "acct-0000") -> str:
    secrets = {"access_token": f"fake-own-{number:04}", "id_token": id_token(account), "account_id": account}
    held = {name: Secret(text) for name, text in secrets.items()}
    return machine.logins().sign_in(Lineage(kind="chatgpt", secrets=held, client_id="app", last_refresh=machine.now))


def present(machine: Machine, login) -> str:
    """The access token that the vault has for a sandbox on this login, or why it has none."""
    try:
        return machine.logins().present(login).secrets["access_token"].reveal()
    except LoginEnded as failure:
        return failure.cause


def test_a_sandbox_goes_on_with_whatever_the_vault_has_for_its_account(machine, server) -> None:
    name = sign_in_here(machine, 1)
    login = machine.open()
    assert present(machine, login) == "fake-own-0001"
    sign_in_here(machine, 2)
    assert present(machine, login) == "fake-own-0002"
    machine.logins().sign_out(name)
    assert present(machine, login) == "removed"
    sign_in_here(machine, 3, "acct-other")
    assert present(machine, login) == "replaced"
    machine.sign_in(access="fake-at-imported")
    machine.logins().take(machine.home, machine.said.append)
    assert present(machine, login) == "fake-at-imported", "another login to the same account will do"
    assert not server.seen


def test_one_api_key_does_not_stand_in_for_another(machine) -> None:
    machine.write({"OPENAI_API_KEY": "sk-fake-imported"})
    login = machine.open()
    machine.logins().sign_in(Lineage(kind="api_key", secrets={"api_key": Secret("sk-fake-own-key")}, client_id="app"))
    machine.logins().sign_out(login.name)
    with pytest.raises(LoginEnded, match="no longer in the vault"):
        machine.logins().present(login)
