"""Slots in the head of a request: what arrives from inside, and what may leave, or why nothing may."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from immure.model import Binary, Caller, Endpoint, Secret
from immure.model.path import PathPattern
from immure.rewrite import Binding, Credential, HeaderSlot, PathSlot, QuerySlot, Refused, Slots, Substituted, mint
from immure.rewrite.placeholder import holds_placeholder
from immure.rewrite.target import unescaped

CODEX = Binary("/opt/codex/bin/codex", 1, 10)
CURL = Binary("/usr/bin/curl", 1, 11)

AT = mint("access_token", b"access token 001")
ACCOUNT = mint("account_id", b"account id 00001")
KEY = mint("api_key", b"api key 00000001")
FOREIGN = mint("access_token", b"another sandbox.")

TOKEN = Credential(
    name="codex.access_token",
    placeholder=AT,
    secret=Secret("fake-real-access-token"),
    slots=(HeaderSlot(header="authorization", scheme="bearer"),),
    binding=Binding(endpoints=(Endpoint("chatgpt.com", 443), Endpoint("*.chatgpt.com", 443)), binaries=(CODEX,)),
)
CREDENTIALS = (
    TOKEN,
    replace(
        TOKEN,
        name="codex.account_id",
        placeholder=ACCOUNT,
        secret=Secret("fake-real-account"),
        slots=(HeaderSlot(header="chatgpt-account-id", scheme="raw"),),
    ),
    replace(
        TOKEN,
        name="codex.api_key",
        placeholder=KEY,
        secret=Secret("fake-real-api-key"),
        binding=Binding(endpoints=(Endpoint("api.openai.com", 443),), binaries=(CODEX,)),
    ),
)

Headers = tuple[tuple[bytes, bytes], ...]


def lines(text: str) -> Headers:
    """Fields from `Name: value` lines, with the placeholders named in braces put in."""
    filled = text.format(AT=AT, ACCOUNT=ACCOUNT, KEY=KEY, FOREIGN=FOREIGN)
    return tuple((name.encode(), value.encode()) for name, value in (line.strip().split(": ", 1) for line in filled.strip().splitlines()))


def send(
    headers: Headers,
    *,
    method: str = "POST",
    target: bytes = b"/",
    host: str = "chatgpt.com",
    port: int = 443,
    encrypted: bool = True,
    binary: Binary | None = CODEX,
    proxy: bytes = b"",
    credentials: Sequence[Credential] = CREDENTIALS,
) -> Substituted | Refused:
    caller = Caller(binary, 7) if binary else None
    slots = Slots(credentials, host=host, port=port, encrypted=encrypted, caller=caller)
    try:
        return slots.substitute(method, target, headers, proxy_authorization=proxy)
    except Refused as refused:
        return refused


PASSED = {
    "both slots are filled, and nothing else is touched": (
        """Host: chatgpt.com
           Authorization: Bearer {AT}
           ChatGPT-Account-ID: {ACCOUNT}
           accept: text/event-stream""",
        """Host: chatgpt.com
           Authorization: Bearer fake-real-access-token
           ChatGPT-Account-ID: fake-real-account
           accept: text/event-stream""",
        ["codex.access_token", "codex.account_id"],
    ),
    "names of fields and the word of the scheme in any letter case": (
        "AUTHORIZATION: bEARER {AT}",
        "AUTHORIZATION: Bearer fake-real-access-token",
        ["codex.access_token"],
    ),
    "several spaces after the scheme (RFC 9110 section 11.4)": (
        "authorization: Bearer   {AT}",
        "authorization: Bearer fake-real-access-token",
        ["codex.access_token"],
    ),
    "no credential at all": ("accept: */*", "accept: */*", []),
    "cookies of the program's own": ("Cookie: __cf_bm=fake", "Cookie: __cf_bm=fake", []),
    "outside a slot a placeholder is inert": (
        "x-note: {AT}\nUser-Agent: {AT}\nReferer: https://x/?q={FOREIGN}\n{AT}: v",
        "x-note: {AT}\nUser-Agent: {AT}\nReferer: https://x/?q={FOREIGN}\n{AT}: v",
        [],
    ),
    "an account placeholder in no declared field is inert": ("x-account: {ACCOUNT}", "x-account: {ACCOUNT}", []),
}


@pytest.mark.parametrize("case", PASSED)
def test_what_leaves(case: str) -> None:
    arrived, left, used = PASSED[case]
    result = send(lines(arrived))
    assert isinstance(result, Substituted)
    assert result.headers == lines(left)
    assert [credential.name for credential in result.used] == used


BEARER = "Authorization: Bearer {AT}"
REFUSED: dict[str, tuple[str, dict[str, object], str | None, str]] = {
    "another host": (BEARER, {"host": "attacker.example.com"}, "codex.access_token", "not for attacker.example.com, port 443"),
    "a host that only begins alike": (BEARER, {"host": "chatgpt.com.example.com"}, "codex.access_token", "not for"),
    "an address": (BEARER, {"host": "10.0.0.1"}, "codex.access_token", "not for"),
    "another port": (BEARER, {"port": 8443}, "codex.access_token", "port 8443"),
    "another credential's host": ("Authorization: Bearer {KEY}", {}, "codex.api_key", "not for chatgpt.com"),
    "plain HTTP": (BEARER, {"encrypted": False}, "codex.access_token", "unencrypted"),
    "another program": (BEARER, {"binary": CURL}, "codex.access_token", "not for /usr/bin/curl"),
    "an unknown program": (BEARER, {"binary": None}, "codex.access_token", "could not be identified"),
    "another sandbox's": ("Authorization: Bearer {FOREIGN}", {}, None, "not of this sandbox"),
    "another sandbox's, in a declared field": ("chatgpt-account-id: {FOREIGN}", {}, None, "not of this sandbox"),
    "in the wrong slot": ("Authorization: Bearer {ACCOUNT}", {}, "codex.account_id", "belongs in chatgpt-account-id"),
    "in the wrong slot, the other way": ("chatgpt-account-id: {AT}", {}, "codex.access_token", "belongs in authorization"),
    "without the scheme": ("Authorization: {AT}", {}, "codex.access_token", "does not stand alone"),
    "with another scheme": ("Authorization: Token {AT}", {}, "codex.access_token", "does not stand alone"),
    "a scheme where none belongs": ("chatgpt-account-id: Bearer {ACCOUNT}", {}, "codex.account_id", "does not stand alone"),
    "with something after it": ("Authorization: Bearer {AT}, x", {}, "codex.access_token", "does not stand alone"),
    "with something before it": ("Authorization: Bearer x{AT}", {}, "codex.access_token", "does not stand alone"),
    "with a tab for the space": ("Authorization: Bearer\t{AT}", {}, "codex.access_token", "does not stand alone"),
    "twice": (BEARER + "\n" + BEARER, {}, "codex.access_token", "more than one authorization"),
    "before one that is not ours": (BEARER + "\nauthorization: Bearer fake-own", {}, "codex.access_token", "more than one authorization"),
    "after one that is not ours": ("authorization: Bearer fake-own\n" + BEARER, {}, "codex.access_token", "is there for credential"),
    "in a cookie": ("Cookie: a=b; t={AT}", {}, "codex.access_token", "belongs in authorization, not in cookie"),
    "with escapes": ("Authorization: Bearer %69mmure{AT}", {}, "codex.access_token", "does not stand alone"),
    "one that fits beside one that does not": (BEARER + "\nchatgpt-account-id: {FOREIGN}", {}, None, "not of this sandbox"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_leave(case: str) -> None:
    arrived, circumstances, name, reason = REFUSED[case]
    result = send(lines(arrived), **circumstances)  # type: ignore[arg-type]
    assert isinstance(result, Refused)
    assert result.credential_name == name
    assert reason in result.reason
    assert "fake-real" not in repr(result)


@pytest.mark.parametrize("pair", ["{AT}:", "user:{AT}", "{FOREIGN}:x", "\xff:{AT}"])
def test_a_placeholder_within_basic_is_found(pair: str) -> None:
    token = b64encode(pair.format(AT=AT, FOREIGN=FOREIGN).encode("latin-1"))
    assert isinstance(send(((b"Authorization", b"Basic " + token),)), Refused)
    assert isinstance(send(((b"Authorization", b"basic  " + token.rstrip(b"=")),)), Refused)


def test_authorization_is_looked_into_even_if_no_credential_declares_it() -> None:
    for line in ("Authorization: Bearer {FOREIGN}", "Authorization: Bearer {ACCOUNT}"):
        assert isinstance(send(lines(line), credentials=[CREDENTIALS[1]]), Refused)


def test_a_letter_changed_in_case_is_refused_and_not_forwarded() -> None:
    assert isinstance(send(((b"Authorization", b"Bearer " + AT.upper().encode()),)), Refused)


def test_a_wildcard_endpoint_holds_for_credentials_too() -> None:
    assert isinstance(send(lines(BEARER), host="eu.chatgpt.com"), Substituted)


def test_one_placeholder_of_two_credentials_goes_out_as_the_one_that_fits() -> None:
    elsewhere = replace(
        TOKEN, name="elsewhere", secret=Secret("fake-other-token"), binding=Binding(endpoints=(Endpoint("a.example.com", 443),))
    )
    result = send(lines(BEARER), credentials=(elsewhere, TOKEN))
    assert isinstance(result, Substituted)
    assert result.used == (TOKEN,)


def test_an_empty_list_of_programs_is_nobody_and_none_is_anybody() -> None:
    for binaries, kind in [((), Refused), (None, Substituted)]:
        credential = replace(TOKEN, binding=replace(TOKEN.binding, binaries=binaries))
        assert isinstance(send(lines(BEARER), binary=CURL, credentials=[credential]), kind)


names = st.sampled_from([b"Authorization", b"chatgpt-account-id", b"ChatGPT-Account-ID", b"Cookie", b"x", AT.encode()])
values = st.lists(st.sampled_from([AT, ACCOUNT, KEY, FOREIGN, "Bearer ", "bearer ", "Basic ", "x", " ", ","]), max_size=4).map("".join)
fields = st.lists(st.tuples(names, values.map(str.encode)), max_size=5).map(tuple)
circumstances_ = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["chatgpt.com", "api.openai.com", "attacker.example.com"]),
        "port": st.sampled_from([443, 80]),
        "encrypted": st.booleans(),
        "binary": st.sampled_from([CODEX, CURL, None]),
    }
)


@given(fields, circumstances_)
def test_a_secret_leaves_only_whole_in_its_own_slot_in_the_right_circumstances(arrived: Headers, circumstances: dict[str, object]) -> None:
    result = send(arrived, **circumstances)  # type: ignore[arg-type]
    if isinstance(result, Refused):
        return
    assert len(result.headers) == len(arrived)
    changed = [new for old, new in zip(arrived, result.headers, strict=True) if old != new]
    if circumstances["port"] != 443 or not circumstances["encrypted"] or circumstances["binary"] != CODEX:
        assert not changed
    own = {
        "chatgpt.com": {(b"authorization", b"Bearer fake-real-access-token"), (b"chatgpt-account-id", b"fake-real-account")},
        "api.openai.com": {(b"authorization", b"Bearer fake-real-api-key")},
    }.get(str(circumstances["host"]), set())
    assert {(name.lower(), value) for name, value in changed} <= own
    for name, value in result.headers:
        assert name.lower() not in {b"authorization", b"chatgpt-account-id"} or b"immure-" not in value


# Every kind of slot, at one host

SERVICE = Credential(
    name="service.key",
    placeholder=KEY,
    secret=Secret("fake real/service+key"),
    slots=(
        HeaderSlot(header="authorization", scheme="bearer"),
        HeaderSlot(header="authorization", scheme="basic"),
        HeaderSlot(header="x-api-key", scheme="raw"),
        QuerySlot(parameter="key"),
        PathSlot(before="/bot"),
    ),
    binding=Binding(endpoints=(Endpoint("api.example.com", 443),)),
)
USER = replace(
    SERVICE,
    name="service.user",
    placeholder=ACCOUNT,
    secret=Secret("fake-real-user"),
    slots=(HeaderSlot(header="authorization", scheme="basic"),),
)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode("latin-1")).decode()


def serve(target: str = "/", *fields: tuple[str, str], **changes: Any) -> tuple[str, list[str]] | Refused:
    """The target and the values of the fields that leave."""
    given = {"credentials": (SERVICE, USER), "host": "api.example.com"} | changes
    arrived = tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
    result = send(arrived, target=target.encode(), **given)
    if isinstance(result, Refused):
        return result
    return result.target.decode(), [value.decode("latin-1") for _, value in result.headers]


FORMS = [
    (basic("ann", KEY), basic("ann", "fake real/service+key")),
    (basic(KEY, ""), basic("fake real/service+key", "")),
    (basic(KEY, "x-oauth-basic"), basic("fake real/service+key", "x-oauth-basic")),
    (basic("\xff\xfe", KEY), basic("\xff\xfe", "fake real/service+key")),
    (basic(ACCOUNT, KEY), basic("fake-real-user", "fake real/service+key")),
    ("bAsIc " + basic("ann", KEY)[6:].rstrip("="), basic("ann", "fake real/service+key")),
    (f"Bearer {KEY}", "Bearer fake real/service+key"),
]


@pytest.mark.parametrize(("arrives", "leaves"), FORMS)
def test_either_half_of_basic_is_exchanged_and_the_other_kept(arrives: str, leaves: str) -> None:
    assert serve("/", ("Authorization", arrives)) == ("/", [leaves])


@pytest.mark.parametrize(
    "pair", [basic("ann", KEY + "x"), basic(KEY, KEY), basic("ann", ACCOUNT + KEY), basic(KEY, FOREIGN), basic(KEY, "")[:-9]]
)
def test_basic_with_anything_else_in_it_is_refused(pair: str) -> None:
    assert isinstance(serve("/", ("Authorization", pair)), Refused)


ESCAPED = "".join(f"%{ord(letter):02x}" for letter in KEY)
TARGETS = [
    ("/search?q=a&key={KEY}&r=%2F+b", "/search?q=a&key=fake%20real%2Fservice%2Bkey&r=%2F+b"),
    ("/search?k%65y={ESCAPED}", "/search?k%65y=fake%20real%2Fservice%2Bkey"),
    ("/bot{KEY}/sendMessage?q", "/botfake%20real%2Fservice%2Bkey/sendMessage?q"),
    ("/bot{KEY}", "/botfake%20real%2Fservice%2Bkey"),
    ("/bot{ESCAPED}/x?key={KEY}", "/botfake%20real%2Fservice%2Bkey/x?key=fake%20real%2Fservice%2Bkey"),
    ("/a/../b%6Ft{KEY}/./x?/../", "/botfake%20real%2Fservice%2Bkey/x?/../"),
    ("/a/../b?c=%41", "/a/../b?c=%41"),  # nothing goes out with it, so nothing is changed
    ("/search?key", "/search?key"),
    ("/search?key=", "/search?key="),
    ("/robot", "/robot"),
    ("/bot/x", "/bot/x"),
    ("/x?immure-at=1", "/x?immure-at=1"),
]


@pytest.mark.parametrize(("arrives", "leaves"), TARGETS)
def test_a_target(arrives: str, leaves: str) -> None:
    assert serve(arrives.format(KEY=KEY, ESCAPED=ESCAPED)) == (leaves, [])


MISPLACED = [
    ("/?q={KEY}", "service.key", "the query parameter 'key' or the path after '/bot', not in the query"),
    ("/?q={ESCAPED}", "service.key", "not in the query"),
    ("/?q={TWICE}", "service.key", "not in the query"),
    ("/?{KEY}=key", "service.key", "not in the query"),
    ("/?key=x{KEY}", "service.key", "does not stand alone in the query parameter 'key'"),
    ("/?key={KEY}&key={KEY}", "service.key", "in the query there is more than one 'key'"),
    ("/?key={KEY}&k%65y=other", "service.key", "in the query there is more than one 'key'"),
    ("/?key={KEY}&q={FOREIGN}", None, "not of this sandbox"),
    ("/?key={ACCOUNT}", "service.user", "belongs in authorization, not in the query parameter 'key'"),
    ("/{KEY}", "service.key", "not in the path"),
    ("/x/bot{KEY}", "service.key", "not in the path"),
    ("/bot{KEY}x/y", "service.key", "does not stand alone in the path after '/bot'"),
    ("/bot{KEY}%2fy", "service.key", "does not stand alone in the path after '/bot'"),
    ("/{FOREIGN}", None, "not of this sandbox"),
    ("/{KEY_IN_CAPITALS}", None, "not of this sandbox"),
    ("/?key=fake-own", "service.key", "the query parameter 'key' is there for credential 'service.key' alone"),
    ("/bot123:fake-own/x", "service.key", "the path after '/bot' is there for credential 'service.key' alone"),
]


@pytest.mark.parametrize(("target", "name", "reason"), MISPLACED)
def test_a_target_that_stays_here(target: str, name: str | None, reason: str) -> None:
    twice = ESCAPED.replace("%", "%25")
    result = serve(target.format(KEY=KEY, ESCAPED=ESCAPED, TWICE=twice, FOREIGN=FOREIGN, ACCOUNT=ACCOUNT, KEY_IN_CAPITALS=KEY.upper()))
    assert isinstance(result, Refused)
    assert (result.credential_name, reason in result.reason) == (name, True), result.reason
    assert "fake real" not in result.sentence("h") + repr(result)


def test_escapes_in_a_field_hide_nothing() -> None:
    for value in (f"Bearer {ESCAPED}", f"Bearer {ESCAPED.replace('%', '%25')}", basic("ann", ESCAPED)):
        for host in ("api.example.com", "elsewhere.example.com"):
            result = serve("/", ("Authorization", value), host=host)
            assert isinstance(result, Refused)
            assert (result.credential_name, result.kind) == ("service.key", "misplaced placeholder")


def test_a_target_is_looked_into_wherever_it_goes() -> None:
    for target in (f"/?q={KEY}", f"/{ESCAPED}", f"/?key={KEY}", f"/{FOREIGN}"):
        assert isinstance(serve(target, host="elsewhere.example.com"), Refused)


def test_a_placeholder_for_a_proxy_is_refused_and_any_other_credential_is_the_proxys_own() -> None:
    for value in (KEY, f"Bearer {FOREIGN}", basic("x", KEY)):
        result = serve("/", proxy=value.encode())
        assert isinstance(result, Refused)
    assert isinstance(serve("/", proxy=b"Basic fake"), tuple)


# What a credential is bound to

BOUND = replace(
    TOKEN,
    binding=replace(TOKEN.binding, methods=("GET", "POST"), paths=(PathPattern("/v1/**"), PathPattern("/ping"))),
)
JUDGED = [
    # method, target, what leaves or why nothing
    ("POST", "/v1/responses?x=/..", "/v1/responses?x=/.."),
    ("GET", "/ping", "/ping"),
    ("GET", "/v1/../v1/a%7Eb?%41", "/v1/a~b?%41"),
    ("PUT", "/v1/responses", "it is not for PUT"),
    ("GET", "/", "it is not for the path /"),
    ("GET", "/v2/x", "it is not for the path /v2/x"),
    ("GET", "/v1/../x", "it is not for the path /x"),
    ("GET", "/v1/%2e%2e/x", "it is not for the path /x"),
    ("GET", "/v1", "it is not for the path /v1"),
    ("GET", "/v1/..%2fx", "more than one way"),
    ("GET", "/v1/%252e%252e/x", "more than one way"),
    ("GET", "/v1/..;/x", "more than one way"),
    ("GET", "/v1/..\\x", "more than one way"),
    ("OPTIONS", "*", "it is not for OPTIONS"),
]


@pytest.mark.parametrize(("method", "target", "outcome"), JUDGED)
def test_the_canonical_path_is_what_is_judged_and_sent(method: str, target: str, outcome: str) -> None:
    result = send(lines(BEARER), method=method, target=target.encode(), credentials=[BOUND])
    if isinstance(result, Refused):
        assert outcome in result.reason
    else:
        assert result.target.decode() == outcome


@pytest.mark.parametrize(("method", "target", "outcome"), JUDGED)
def test_what_is_kept_for_the_next_request_would_have_been_found_again(method: str, target: str, outcome: str) -> None:
    slots = Slots([BOUND, SERVICE], host="chatgpt.com", port=443, encrypted=True, caller=Caller(CODEX, 7))
    used = slots.substitute("POST", b"/v1/first", lines(BEARER)).used
    if slots.may_repeat(used, method, target.encode()):
        assert slots.substitute(method, target.encode(), lines(BEARER)).target == target.encode()
        assert target == outcome
    assert slots.may_repeat(used, "GET", b"/v1/second?q")
    assert not slots.may_repeat(used, "GET", f"/v1/second?q={FOREIGN}".encode())


def test_without_a_credential_a_path_is_nobodys_business() -> None:
    result = send((), target=b"/v2/..%2f?%41", credentials=[BOUND])
    assert isinstance(result, Substituted)
    assert result.target == b"/v2/..%2f?%41"


# Credentials that the agent brings along

OWN = [
    ("authorization", "Bearer fake-own"),
    ("Authorization", "Basic fake"),
    ("AUTHORIZATION", "AWS4-HMAC-SHA256 Credential=fake"),
    ("chatgpt-account-id", "fake-other-account"),
]


@pytest.mark.parametrize(("name", "value"), OWN)
def test_a_credential_of_the_programs_own_is_refused_where_one_of_ours_is_bound(name: str, value: str) -> None:
    field = ((name.encode(), value.encode()),)
    for binary in (CODEX, CURL, None):
        result = send(field, binary=binary)
        assert isinstance(result, Refused)
        assert result.kind == "foreign credential"
        assert "fake" not in result.sentence("h")
    allowing = [replace(credential, foreign="allow") for credential in CREDENTIALS]
    for elsewhere in ({"host": "other.example.com"}, {"port": 8443}, {"credentials": allowing}):
        result = send(field, **elsewhere)  # type: ignore[arg-type]
        assert isinstance(result, Substituted)
        assert result.headers == field
    assert isinstance(send(field, credentials=[*allowing[:2], SERVICE]), Substituted)


def test_an_empty_slot_is_no_credential() -> None:
    assert isinstance(send(((b"Authorization", b""), (b"chatgpt-account-id", b""))), Substituted)


targets = st.lists(
    st.sampled_from(["/", "bot", KEY, ESCAPED, FOREIGN, "?", "&", "key=", "k%65y=", "=", "%", "..", "%2e", "x", "%2f"]), max_size=8
).map(lambda parts: "/" + "".join(parts))


@given(targets)
@example(f"/{KEY}/..")
def test_whatever_the_target_a_secret_is_in_a_slot_or_nowhere(target: str) -> None:
    result = serve(target)
    if isinstance(result, Refused):
        return
    sent, _ = result
    assert not holds_placeholder(unescaped(sent))
    secret = "fake%20real%2Fservice%2Bkey"
    path, _, query = sent.partition("?")
    assert path.count(secret) == path.startswith("/bot" + secret)
    assert query.count(secret) == sum(unquote(item) == "key=fake real/service+key" for item in query.split("&"))
