"""Fields of bodies: the one value that changes, and that nothing else does."""

import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.rewrite.content import exchange_field, forms_of
from immure.rewrite.slot import BodyForm

NEW = 'fake "new" & é'


def exchange(value: str) -> str:
    return NEW if value == "old" else value


EXCHANGED = [
    ("json", '{"token":"old"}', '{"token":%s}'),
    ("json", ' {\r\n\t"a" : [1, 1.50, 1e400, {"token":"old"}] ,"token" :  "old" , "b":"old"} \n', None),
    ("json", '{"t\\u006fken":"\\u006fld","é":"\\/"}', '{"t\\u006fken":%s,"é":"\\/"}'),
    ("json", '{"token":"older"}', '{"token":"older"}'),
    ("json", '{"token":""}', '{"token":""}'),
    ("json", '{"token":null}', '{"token":null}'),
    ("json", '{"Token":"old"}', '{"Token":"old"}'),
    ("json", "{}", "{}"),
    ("json", " { } ", " { } "),
    ("form", "token=old", "token=fake%20%22new%22%20%26%20%C3%A9"),
    ("form", "a=%6F&t%6Fken=%6fld&b=old&", "a=%6F&t%6Fken=fake%20%22new%22%20%26%20%C3%A9&b=old&"),
    ("form", "token=&a=1+1", "token=&a=1+1"),
    ("form", "", ""),
]


@pytest.mark.parametrize(("form", "body", "expected"), EXCHANGED)
def test_nothing_but_the_value_changes(form: BodyForm, body: str, expected: str | None) -> None:
    if expected is None:
        expected = body.replace('"token" :  "old"', '"token" :  %s')
    expected = expected.replace("%s", json.dumps(NEW))
    assert exchange_field(body.encode(), form, "token", exchange).decode() == expected


UNREADABLE = [
    ("json", b"", "not a JSON object"),
    ("json", b"[]", "not a JSON object"),
    ("json", b'"token"', "not a JSON object"),
    ("json", b'{"token":"old"', "not a JSON object"),
    ("json", b'{"token":"old",}', "not JSON"),
    ("json", b'{"token":"old"}{}', "not one JSON object"),
    ("json", b'{"token" "old"}', "not a JSON object"),
    ("json", b'{"token":"old" "b":1}', "not a JSON object"),
    ("json", b'{token:"old"}', "not JSON"),
    ("json", b"{'token':'old'}", "not JSON"),
    ("json", b'{1:"old"}', "not a JSON object"),
    ("json", b'{"token":"old","a":"\n"}', "not JSON"),
    ("json", b'\xef\xbb\xbf{"token":"old"}', "not a JSON object"),
    ("json", '{"token":"old"}'.encode("utf-16"), "not UTF-8"),
    ("json", b'{"a":' + b"[" * 100_000, "not JSON"),
    ("json", b'{"token":"old","token":"x"}', "more than one 'token'"),
    ("json", b'{"token":"x","tok\\u0065n":"old"}', "more than one 'token'"),
    ("form", b"token=old&token=x", "more than one 'token'"),
    ("form", b"token=\xff", "not UTF-8"),
]


@pytest.mark.parametrize(("form", "body", "why"), UNREADABLE)
def test_what_two_readers_may_understand_differently_is_not_read(form: BodyForm, body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        exchange_field(body, form, "token", exchange)


def test_what_is_no_text_is_shown_as_it_is_written() -> None:
    seen: list[str] = []
    exchange_field(b'{"token": {"a": "old"} }', "json", "token", lambda value: seen.append(value) or value)  # type: ignore[func-returns-value]
    assert seen == ['{"a": "old"}']


KINDS = [
    (["application/json"], {"json"}),
    (["Application/JSON; charset=utf-8"], {"json"}),
    (["application/vnd.api+json"], {"json"}),
    (["application/x-www-form-urlencoded;charset=UTF-8"], {"form"}),
    (["application/json", "application/x-www-form-urlencoded"], {"json", "form"}),
    (["text/plain"], set()),
    (["multipart/form-data; boundary=x"], set()),
    ([], set()),
]


@pytest.mark.parametrize(("kinds", "forms"), KINDS)
def test_the_form_of_a_body(kinds: list[str], forms: set[str]) -> None:
    assert forms_of([(b"Content-TYPE", kind.encode()) for kind in kinds]) == forms


texts = st.text(max_size=6)
atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = atoms | st.lists(atoms, max_size=3) | st.dictionaries(texts, atoms, max_size=3)


@given(st.dictionaries(texts, values, max_size=5), texts, st.sampled_from([None, 0, 2]), st.booleans())
def test_any_object_is_read_as_json_reads_it(members: dict[str, object], name: str, indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(members, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = exchange_field(body, "json", name, lambda _: "other")
    if members.get(name) in (None, ""):
        assert found == body
    else:
        assert json.loads(found) == members | {name: "other"}


@given(st.lists(st.tuples(texts, texts)), st.binary(max_size=30))
def test_any_bytes_are_a_form_or_an_error(pairs: list[tuple[str, str]], data: bytes) -> None:
    for form in ("json", "form"):
        try:
            changed = exchange_field(data, form, "a", lambda _: "new")
        except ValueError:
            continue
        if changed != data:
            assert ("a", "new") in (parse_qsl(changed.decode()) if form == "form" else json.loads(changed).items())
