"""What a record remembers of a login, and what it makes of an answer."""

from dataclasses import replace

import pytest
from token_server import NOW, id_token, jwt

from immure.agents.codex import ImportedLogin
from immure.broker.lineage import Lineage
from immure.errors import HostError
from immure.model import Secret
from immure.providers.oauth import CLIENT_ID, Rotated

TOKENS = {"access_token": Secret("fake-at-0000"), "refresh_token": Secret("fake-rt-0000"), "id_token": Secret(id_token())}
BEGUN = Lineage.begin(ImportedLogin(kind="chatgpt", secrets=TOKENS, last_refresh=NOW), "/home/ann/.codex/auth.json")

# is a renewal pending, the cause, why the lineage ends
ENDS = [
    (None, "reused", "reused"),
    (None, "expired", "expired"),
    (NOW, "reused", "interrupted"),
    (NOW, "invalid_grant", "interrupted"),
    (NOW, "refused", "interrupted"),
    (NOW, "expired", "expired"),
]


def with_id(payload: dict[str, object]) -> ImportedLogin:
    return ImportedLogin(kind="chatgpt", secrets=TOKENS | {"id_token": Secret(jwt(payload))})


def test_a_record_gives_back_what_it_was_made_of() -> None:
    full = replace(BEGUN, pending=NOW, ended="reused", renewed=NOW, spent=("a", "b"), identity={"email": "x"}, failures=2, failed=NOW)
    for lineage in BEGUN, full:
        assert Lineage.from_record("codex", lineage.to_record()) == lineage
    assert "fake" not in repr(BEGUN)


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(HostError, match="another version"):
        Lineage.from_record("codex", BEGUN.to_record() | {"version": 1})


def test_the_account_is_taken_from_the_token_if_the_file_does_not_name_it() -> None:
    assert BEGUN.secrets["account_id"] == Secret("acct-0000")
    assert "account_id" not in Lineage.begin(with_id({"email": "ann@example.com"}), "/s").secrets
    assert BEGUN.client_id == CLIENT_ID


@pytest.mark.parametrize("account", ["", "short", "acc\u00f6unt-0000", 7, ["acct-0000"]])
def test_an_account_that_cannot_be_one_is_refused(account) -> None:
    with pytest.raises(ValueError, match="account"):
        Lineage.begin(with_id({"https://api.openai.com/auth": {"chatgpt_account_id": account}}), "/s")


def test_an_id_token_that_codex_could_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="segments"):
        Lineage.begin(ImportedLogin(kind="chatgpt", secrets=TOKENS | {"id_token": Secret("fake-opaque-id")}), "/s")


def test_an_answer_replaces_what_it_names_and_nothing_else() -> None:
    after = BEGUN.rotated(Rotated(access_token=Secret("fake-at-0001"), refresh_token=None, id_token=None), NOW + 5)
    assert after.secrets == BEGUN.secrets | {"access_token": Secret("fake-at-0001")}
    assert (after.last_refresh, after.renewed, after.pending) == (NOW + 5, NOW + 5, None)


def test_an_id_token_of_an_answer_is_taken_only_if_it_can_be_read() -> None:
    plan = Secret(id_token(plan="enterprise"))
    taken = BEGUN.rotated(Rotated(access_token=None, refresh_token=None, id_token=plan), NOW)
    assert taken.secrets["id_token"] == plan
    left = BEGUN.rotated(Rotated(access_token=None, refresh_token=Secret("fake-rt-0001"), id_token=Secret("fake-opaque-id")), NOW)
    assert left.secrets["id_token"] == BEGUN.secrets["id_token"]
    assert left.secrets["refresh_token"] == Secret("fake-rt-0001")


@pytest.mark.parametrize(("pending", "cause", "end"), ENDS)
def test_a_token_that_was_lost_on_the_way_is_told_from_one_that_was_taken(pending, cause, end) -> None:
    assert replace(BEGUN, pending=pending).end(cause).ended == end


def test_a_line_remembers_what_it_has_spent_and_knows_a_newer_token_by_that() -> None:
    line = BEGUN
    for number in range(1, 150):
        line = line.rotated(Rotated(access_token=None, refresh_token=Secret(f"fake-rt-{number:04}"), id_token=None), NOW)

    def found(number: int) -> ImportedLogin:
        return ImportedLogin(kind="chatgpt", secrets=TOKENS | {"refresh_token": Secret(f"fake-rt-{number:04}")})

    assert [line.is_behind(found(number)) for number in (48, 49, 148, 149, 150)] == [True, False, False, False, True]
    same = line.rotated(Rotated(access_token=Secret("fake-at-0001"), refresh_token=None, id_token=None), NOW)
    assert same.spent == line.spent
