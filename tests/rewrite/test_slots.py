"""Slots, as transcripts: `>>` the fields that arrive from inside, `<<` those that may leave, or why none may."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Binary, Caller, Endpoint, Secret
from immure.rewrite import Binding, Credential, HeaderSlot, Refused, Slots, Substituted, mint

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
