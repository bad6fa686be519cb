"""The codex profile, for each kind of login; and that a profile with a mistake in it is not used."""

import pytest

from immure.errors import Fault
from immure.model import Allow, Binary, Caller, Deny, Endpoint, Secret
from immure.model.path import PathPattern
from immure.policy import Policy
from immure.providers import Login, load_profile
from immure.providers.profile import parse_profile
from immure.rewrite import Binding, HeaderSlot
from immure.rewrite.slot import AssertionSlot

CODEX = (Binary("/opt/codex/bin/codex", 1, 2),)
CURL = Binary("/usr/bin/curl", 1, 3)
SUBSCRIPTION = Login(
    name="codex /home/ann/.codex",
    kind="chatgpt",
    secrets={
        "access_token": Secret("fake-at-0000"),
        "refresh_token": Secret("fake-rt-0000"),
        "account_id": Secret("acct-0000"),
        "id_token": Secret("fake.id.token"),
        "api_key": Secret("fake-key-unused"),
    },
)
KEY = Login(name="codex /home/ann/.codex", kind="api_key", secrets={"api_key": Secret("fake-key-0000")})

BACKEND = Binding(endpoints=(Endpoint("chatgpt.com", 443),), paths=(PathPattern("/backend-api/**"),), binaries=CODEX)

# login, switches, host, who: allowed by which rule, or None
REACH = [
    (SUBSCRIPTION, (), "chatgpt.com", CODEX[0], "codex-chatgpt"),
    (SUBSCRIPTION, (), "chatgpt.com", CURL, None),
    (SUBSCRIPTION, (), "api.openai.com", CODEX[0], None),
    (SUBSCRIPTION, (), "auth.openai.com", CODEX[0], None),
    (SUBSCRIPTION, (), "ab.chatgpt.com", CODEX[0], None),
    (SUBSCRIPTION, ("telemetry",), "ab.chatgpt.com", CODEX[0], "codex-telemetry"),
    (SUBSCRIPTION, ("telemetry",), "ab.chatgpt.com", CURL, None),
    (KEY, (), "api.openai.com", CODEX[0], "codex-api"),
    (KEY, (), "chatgpt.com", CODEX[0], None),
    (None, (), "chatgpt.com", CODEX[0], None),
    (None, (), "api.openai.com", CODEX[0], None),
]

GOOD = """
name: p
binaries: [p]
credentials:
  - name: key
    login: api_key
    variable: P_KEY
    shape: api_key
    slots: [{header: authorization, scheme: bearer}, {header: authorization, scheme: basic}, {query: key}, {path: /bot}]
    endpoints: [p.example]
    foreign: allow
  - name: client_secret
    login: api_key
    variable: P_SECRET
    shape: api_key
    slots: [{field: client_secret, form: form}]
    endpoints: [p.example]
    methods: [POST]
    paths: [/token]
endpoints:
  - {rule: p, endpoint: p.example, login: api_key}
"""
# a change to the profile above that makes it wrong
MISTAKES = [
    ("name: p", "nam: p"),
    ("name: p", "name: 7"),
    ("binaries: [p]", "binaries: p"),
    ("binaries: [p]", "binaries: [null]"),
    ("shape: api_key", "shape: a_key"),
    ("    shape: api_key\n", ""),
    ("{query: key}", "{query: key, scheme: raw}"),
    ("{query: key}", "{parameter: key}"),
    ("{path: /bot}", "{path: bot}"),
    ("form: form", "form: xml"),
    ("paths: [/token]", "paths: [token]"),
    ("methods: [POST]", "methods: POST"),
    ("foreign: allow", "foreign: maybe"),
    ("login: api_key\n    variable", "login: password\n    variable"),
    ("{header: authorization, scheme: bearer}", "{scheme: bearer}"),
    ("scheme: bearer", "scheme: digest"),
    ("endpoints: [p.example]", "endpoints: [p..example]"),
    ("endpoint: p.example", "endpoint: p.example:0"),
    ("{rule: p, endpoint: p.example, login: api_key}", "{rule: p, endpoint: p.example}"),
    ("{rule: p, endpoint: p.example, login: api_key}", "{rule: p, endpoint: p.example, login: api_key, switch: s}"),
    ("{rule: p, endpoint: p.example, login: api_key}", "p.example"),
    ("name: p", "name: [p"),
]


def entropy(count: int) -> bytes:
    entropy.calls += 1  # type: ignore[attr-defined]
    return entropy.calls.to_bytes(count)  # type: ignore[attr-defined]


entropy.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("login", "switches", "host", "binary", "rule"), REACH)
def test_the_profile_lets_through(login, switches, host, binary, rule) -> None:
    policy = Policy(load_profile("codex").rules(login, CODEX, switches))
    decision = policy.decide(host, 443, Caller(binary, 7))
    if rule is None:
        assert isinstance(decision, Deny)
    else:
        assert decision == Allow(rule=rule, layer="profile codex")


def test_telemetry_is_refused_by_name_with_the_way_to_switch_it_on() -> None:
    decision = Policy(load_profile("codex").rules(SUBSCRIPTION, CODEX)).decide("ab.chatgpt.com", 443, Caller(CODEX[0], 7))
    assert isinstance(decision, Deny)
    assert decision.rule == "codex-telemetry"
    assert "telemetry = true under [codex]" in decision.hint


def test_a_subscription_has_placeholders_for_three_secrets_and_slots_for_two() -> None:
    profile = load_profile("codex")
    placeholders = profile.placeholders(SUBSCRIPTION, entropy)
    assert sorted(placeholders) == ["access_token", "account_id", "refresh_token"]
    credentials = profile.credentials(SUBSCRIPTION, placeholders, CODEX)
    assert [(c.name, c.slots, c.binding) for c in credentials] == [
        ("codex.access_token", (HeaderSlot(header="authorization", scheme="bearer"),), BACKEND),
        ("codex.account_id", (HeaderSlot(header="chatgpt-account-id", scheme="raw"),), BACKEND),
    ]
    assert [c.secret for c in credentials] == [SUBSCRIPTION.secrets["access_token"], SUBSCRIPTION.secrets["account_id"]]
    assert profile.environment(placeholders) == {
        "CODEX_AUTH_ACCESS_TOKEN": placeholders["access_token"],
        "CODEX_AUTH_ACCOUNT_ID": placeholders["account_id"],
        "CODEX_AUTH_REFRESH_TOKEN": placeholders["refresh_token"],
    }


def test_an_api_key_goes_to_the_api_alone() -> None:
    profile = load_profile("codex")
    placeholders = profile.placeholders(KEY, entropy)
    [credential] = profile.credentials(KEY, placeholders, CODEX)
    assert (credential.name, credential.binding.endpoints) == ("codex.api_key", (Endpoint("api.openai.com", 443),))
    assert credential.binding.paths == (PathPattern("/v1/**"),)
    assert placeholders["api_key"].startswith("sk-")
    assert profile.environment(placeholders) == {"OPENAI_API_KEY": placeholders["api_key"]}


def test_a_login_without_an_account_has_no_placeholder_for_one() -> None:
    bare = Login(name="n", kind="chatgpt", secrets={"access_token": Secret("fake-at-0000")})
    profile = load_profile("codex")
    placeholders = profile.placeholders(bare, entropy)
    assert list(placeholders) == ["access_token"]
    assert [credential.name for credential in profile.credentials(bare, placeholders, CODEX)] == ["codex.access_token"]


def test_a_personal_access_token_looks_like_one_and_goes_to_chatgpt_alone() -> None:
    profile = load_profile("codex")
    token = {"personal_access_token": Secret("at-fake-0000"), "account_id": Secret("acct-0000")}
    login = Login(name="codex access token", kind="personal_access_token", secrets=token)
    placeholders = profile.placeholders(login, entropy)
    assert placeholders["personal_access_token"].startswith("at-immure-")
    credentials = profile.credentials(login, placeholders, CODEX)
    assert {(one.name, one.slots, one.binding) for one in credentials} == {
        ("codex.personal_access_token", (HeaderSlot(header="authorization", scheme="bearer"),), BACKEND),
        ("codex.account_id", (HeaderSlot(header="chatgpt-account-id", scheme="raw"),), BACKEND),
    }
    assert [str(rule.endpoint) for rule in profile.rules(login, CODEX) if rule.effect == "allow"] == ["chatgpt.com:443"]


def test_what_an_agent_identity_is_goes_to_chatgpt_alone_and_as_a_signature() -> None:
    profile = load_profile("codex")
    held = {"agent_identity": Secret("fake-jwt-0000"), "account_id": Secret("acct-0000")}
    login = Login(name="codex agent identity", kind="agent_identity", secrets=held)
    placeholders = profile.placeholders(login, entropy)
    assert placeholders["agent_identity"].startswith("immure-agent-")
    declared = {one.name: (one.slots, one.binding.paths) for one in profile.declared if one.login == "agent_identity"}
    assert declared == {
        "agent_identity": ((AssertionSlot(),), BACKEND.paths),
        "account_id": ((HeaderSlot(header="chatgpt-account-id", scheme="raw"),), BACKEND.paths),
    }
    assert [str(rule.endpoint) for rule in profile.rules(login, CODEX) if rule.effect == "allow"] == ["chatgpt.com:443"]
    assert ISSUERS_OWN | {
        ("auth.openai.com:443", "POST", f"/api/accounts/v1/agent/{placeholders['agent_identity']}/task/register"),
        ("chatgpt.com:443", "GET", "/backend-api/wham/agent-identities/jwks"),
    } == {(str(v.endpoint), v.method, v.path) for v in profile.virtual_for(login, placeholders)}


ISSUERS_OWN = {
    ("auth.openai.com:443", "POST", "/oauth/token"),
    ("auth.openai.com:443", "POST", "/oauth/revoke"),
    ("auth.openai.com:443", "POST", "/api/accounts/deviceauth/usercode"),
    ("auth.openai.com:443", "POST", "/api/accounts/deviceauth/token"),
    ("auth.openai.com:443", "GET", "/api/accounts/v1/user-auth-credential/whoami"),
}


def test_the_issuer_is_never_reached() -> None:
    for login in SUBSCRIPTION, KEY, None:
        assert {(str(v.endpoint), v.method, v.path) for v in load_profile("codex").virtual_for(login, {})} == ISSUERS_OWN


@pytest.mark.parametrize("name", ["nobody", "../codex", "", "codex.yaml", "__init__"])
def test_a_profile_that_is_not_there_is_not_found(name) -> None:
    with pytest.raises(KeyError):
        load_profile(name)


def test_the_example_of_a_profile_is_good() -> None:
    assert parse_profile(GOOD).name == "p"


@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_a_profile_with_a_mistake_is_a_fault(right, wrong) -> None:
    assert right in GOOD
    with pytest.raises(Fault, match="profile"):
        parse_profile(GOOD.replace(right, wrong))


def test_a_login_shows_no_secret_and_does_not_change() -> None:
    assert "fake" not in repr(SUBSCRIPTION)
    with pytest.raises(TypeError):
        SUBSCRIPTION.secrets["access_token"] = Secret("other")  # type: ignore[index]
