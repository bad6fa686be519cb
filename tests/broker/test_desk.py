"""Logins made here, in each of the ways, against the stand-in for the issuer."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from immure.agents.codex import ImportedLogin
from immure.broker import desk, login_name
from immure.broker.callback import listening
from immure.broker.issuer import Issuer
from immure.broker.lineage import Lineage
from immure.broker.login import Logins
from immure.config.settings import Upstream
from immure.errors import HostError, UsageError
from immure.model import Secret
from immure.testing.openai.account import Account
from immure.testing.openai.service import FakeOpenAI
from immure.vault import Vault


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


class Visit:
    """A user with a clock that only waiting moves."""

    def __init__(self, fake: FakeOpenAI) -> None:
        self.fake = fake
        self.now = 1_800_000_000.0
        self.said: list[str] = []
        self.waits: list[float] = []
        self.on_wait = lambda: None
        hosts = "auth.openai.com", "chatgpt.com"
        self.upstreams = tuple(Upstream(host=host, address=fake.host, port=fake.port, ca_pem=fake.authority.pem) for host in hosts)
        self.desk = desk.Desk(Issuer(self.upstreams), self.said.append, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)
        self.on_wait()

    def browse(self, url: str, listener: socket.socket) -> None:
        """As a browser: the issuer's page agrees, and leads back."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc)
        context = ssl.create_default_context(cadata=self.fake.authority.pem)
        raw = socket.create_connection((self.fake.host, self.fake.port), timeout=10)
        connection.sock = context.wrap_socket(raw, server_hostname=parts.netloc)
        connection.request("GET", f"{parts.path}?{parts.query}")
        location = urlsplit(connection.getresponse().headers["Location"])
        connection.close()
        back = http.client.HTTPConnection(*listener.getsockname(), timeout=10)
        back.request("GET", f"{location.path}?{location.query}", headers={"Host": location.netloc})
        assert back.getresponse().status == 200
        back.close()


@pytest.fixture
def visit(fake: FakeOpenAI) -> Visit:
    return Visit(fake)


def revealed(lineage: Lineage) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in lineage.secrets.items()}


def current(fake: FakeOpenAI) -> dict[str, str]:
    account = fake.account
    tokens = {"access_token": account.access_token, "refresh_token": account.refresh_token, "id_token": account.id_token}
    return tokens | {"account_id": account.account_id}


def test_a_browser_signs_in(fake, visit) -> None:
    before = fake.account.access_token
    browsers: list[threading.Thread] = []
    with listening(0) as listener:

        def open_browser(url: str) -> None:
            browsers.append(threading.Thread(target=visit.browse, args=(url, listener)))
            browsers[0].start()

        lineage = visit.desk.by_browser(listener, None, open_browser)
    browsers[0].join()
    assert revealed(lineage) == current(fake)
    assert fake.account.access_token != before
    assert (lineage.kind, lineage.source, lineage.last_refresh) == ("chatgpt", "", visit.now)
    assert "https://auth.openai.com/oauth/authorize?" in visit.said[0]


def test_a_device_code_signs_in_once_it_was_entered(fake, visit) -> None:
    def enter_at_third() -> None:
        if len(visit.waits) == 3:
            fake.desk.approve(fake.desk.user_codes[0])

    visit.on_wait = enter_at_third
    lineage = visit.desk.by_device_code()
    assert revealed(lineage) == current(fake)
    assert visit.waits == [1.0, 1.0, 1.0]
    assert fake.desk.user_codes[0] in visit.said[0]
    assert "https://auth.openai.com/codex/device" in visit.said[0]


def test_a_device_code_that_nobody_enters_ends(fake, visit) -> None:
    visit.on_wait = lambda: setattr(visit, "now", visit.now + 100)
    with pytest.raises(UsageError, match="not entered in time"):
        visit.desk.by_device_code()
    assert len(visit.waits) == 9


def test_an_api_key_is_kept_as_it_is_and_nobody_is_asked(fake, visit) -> None:
    lineage = visit.desk.by_api_key(fake.account.api_key)
    assert (lineage.kind, revealed(lineage)) == ("api_key", {"api_key": fake.account.api_key})
    assert fake.record.all() == []


def test_an_access_token_is_kept_with_its_owner(fake, visit) -> None:
    lineage = visit.desk.by_access_token(fake.account.personal_access_token)
    token = {"personal_access_token": fake.account.personal_access_token, "account_id": fake.account.account_id}
    assert (lineage.kind, revealed(lineage)) == ("personal_access_token", token)
    assert desk.described(lineage.claims()) == "ada@example.com, plan pro"
    assert Lineage.from_record("n", lineage.to_record()) == lineage


@pytest.mark.parametrize("text", ["", "at-x", "at-fake 0000", "at-f\u00e4ke-0000", "at-fake\n0000", "fake-jwt.x.y", "at-fake-unknown-0000"])
def test_what_is_no_access_token_is_refused_without_being_shown(visit, text) -> None:
    with pytest.raises(UsageError) as caught:
        visit.desk.by_access_token(text)
    assert "f\u00e4ke" not in caught.value.render()
    assert "fake" not in caught.value.render()


LATER = 1_900_000_000


def test_an_agent_identity_is_verified_and_kept_with_its_owner(fake, visit) -> None:
    token = fake.account.agent.issue(exp=LATER)
    lineage = visit.desk.by_access_token(token)
    assert (lineage.kind, revealed(lineage)) == ("agent_identity", {"agent_identity": token, "account_id": fake.account.account_id})
    assert desk.described(lineage.claims()) == "ada@example.com, plan pro"
    assert lineage.expires == LATER
    assert Lineage.from_record("n", lineage.to_record()) == lineage
    (asked,) = fake.record.all(host="chatgpt.com")
    assert (asked.method, asked.path, asked.values("authorization")) == ("GET", "/backend-api/wham/agent-identities/jwks", [])


def test_an_agent_identity_that_is_not_good_is_refused_without_being_shown(fake, visit) -> None:
    good = fake.account.agent.issue(exp=LATER)
    elsewhere = Account().agent.issue(exp=LATER)
    for token, why in (
        (fake.account.agent.issue(exp=int(visit.now)), "has expired"),
        (elsewhere, "not by OpenAI"),
        (good[:-8] + "fakefake", "not by OpenAI"),
        (fake.account.agent.issue(exp=LATER, aud="fake"), "not an agent identity"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            visit.desk.by_access_token(token)
        assert "fake" not in caught.value.render()
    fake.close()
    with pytest.raises(HostError) as unanswered:
        visit.desk.by_access_token(good)
    assert unanswered.value.code == "login.unavailable"


def test_an_agent_identity_of_the_host_is_verified_before_it_is_imported(fake, visit, logins, codex_home) -> None:
    path = f"{codex_home}/auth.json"
    document = {"auth_mode": "agentIdentity", "OPENAI_API_KEY": None, "agent_identity": fake.account.agent.issue(exp=LATER)}
    with open(path, "w") as file:
        json.dump(document | {"agent_identity": Account().agent.issue(exp=LATER)}, file)
    with pytest.raises(UsageError, match="not by OpenAI"):
        opened(logins, codex_home)
    assert logins.held() == {}
    with open(path, "w") as file:
        json.dump(document, file)
    name, said = opened(logins, codex_home)
    assert (name, said.startswith(f"The agent identity of {path} is used")) == (login_name.of_home(codex_home), True)
    assert opened(logins, codex_home) == (name, "")
    assert len(fake.record.all()) == 2
    visit.now = LATER
    with pytest.raises(UsageError, match="has expired") as caught:
        opened(logins, codex_home)
    assert caught.value.code == "login.ended"


def test_an_agent_identity_of_the_keyring_is_verified_too(fake, visit) -> None:
    good, bad = (
        ImportedLogin(kind="agent_identity", secrets={"agent_identity": Secret(account.agent.issue(exp=LATER))})
        for account in (fake.account, Account())
    )
    assert visit.desk.by_copy(good, "the keyring's login").kind == "agent_identity"
    with pytest.raises(UsageError, match="not by OpenAI"):
        visit.desk.by_copy(bad, "the keyring's login")


def test_without_the_issuer_there_is_no_login(fake, visit) -> None:
    fake.close()
    with pytest.raises(HostError) as caught:
        visit.desk.by_device_code()
    assert caught.value.code == "login.unavailable"


@pytest.fixture
def logins(visit: Visit, tmp_path) -> Logins:
    vault = Vault(str(tmp_path / "vault"), bytes(32))
    return Logins(vault, visit.upstreams, lambda line: None, lambda: visit.now)


@pytest.fixture
def codex_home(tmp_path) -> str:
    (tmp_path / ".codex").mkdir()
    return str(tmp_path / ".codex")


def subscription(visit: Visit) -> Lineage:
    visit.on_wait = lambda: visit.fake.desk.approve(visit.fake.desk.user_codes[-1])
    return visit.desk.by_device_code()


def opened(logins: Logins, codex_home: str) -> tuple[str, str]:
    said: list[str] = []
    return logins.open(codex_home, said.append).name, " ".join(said)


def test_of_several_logins_a_subscription_is_used_and_a_key_only_if_there_is_no_other(fake, visit, logins, codex_home) -> None:
    key = logins.sign_in(visit.desk.by_api_key(fake.account.api_key))
    name, said = opened(logins, codex_home)
    assert name == key
    assert "its use is billed" in said
    with open(f"{codex_home}/auth.json", "wb") as file:
        file.write(fake.account.login_file())
    name, said = opened(logins, codex_home)
    assert name == login_name.of_home(codex_home)
    assert "the Codex API key of `immure login` is not used" in said
    token = logins.sign_in(visit.desk.by_access_token(fake.account.personal_access_token))
    assert opened(logins, codex_home)[0] == token
    own = logins.sign_in(subscription(visit))
    name, said = opened(logins, codex_home)
    assert name == own == "codex subscription"
    assert said == "Codex signs in with the Codex subscription of `immure login`; the Codex API key of `immure login` is not used."
    assert list(logins.held()) == [own, token, key, login_name.of_home(codex_home)]


def test_a_key_of_our_own_goes_before_that_of_the_host(fake, visit, logins, codex_home) -> None:
    with open(f"{codex_home}/auth.json", "wb") as file:
        file.write(fake.account.api_key_file())
    key = logins.sign_in(visit.desk.by_api_key("fake-other-key-0000"))
    assert opened(logins, codex_home)[0] == key


def test_a_login_of_our_own_is_renewed_and_no_file_is_made(fake, visit, logins, codex_home, tmp_path) -> None:
    logins.sign_in(subscription(visit))
    login = logins.open(codex_home, visit.said.append)
    visit.now += 9 * 24 * 3600
    fresh = logins.open(codex_home, visit.said.append)
    assert fresh.secrets["access_token"].reveal() == fake.account.access_token
    assert fresh.secrets["access_token"] != login.secrets["access_token"]
    assert not any(tmp_path.joinpath(".codex").iterdir())


def test_an_ended_subscription_is_not_replaced_by_a_key_in_silence(fake, visit, logins, codex_home) -> None:
    logins.sign_in(visit.desk.by_api_key(fake.account.api_key))
    logins.sign_in(subscription(visit))
    fake.account.revoke(fake.account.refresh_token)
    visit.now += 9 * 24 * 3600
    with pytest.raises(UsageError, match="the Codex subscription of `immure login` was revoked") as caught:
        logins.open(codex_home, visit.said.append)
    assert "immure login codex" in caught.value.hint


def test_signing_out_revokes_and_removes(fake, visit, logins, codex_home) -> None:
    name = logins.sign_in(subscription(visit))
    token = fake.account.refresh_token
    assert logins.sign_out(name) == ""
    assert fake.account.revoked == [token]
    assert logins.held() == {}


def test_signing_out_without_the_issuer_removes_and_says_what_is_left(fake, visit, logins) -> None:
    name = logins.sign_in(subscription(visit))
    fake.close()
    assert "auth.openai.com" in logins.sign_out(name)
    assert logins.held() == {}


def test_a_login_of_the_host_is_forgotten_and_not_revoked(fake, visit, logins, codex_home) -> None:
    with open(f"{codex_home}/auth.json", "wb") as file:
        file.write(fake.account.login_file())
    name = logins.open(codex_home, visit.said.append).name
    assert logins.sign_out(name) == ""
    assert (fake.account.revoked, logins.held()) == ([], {})
