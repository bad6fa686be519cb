"""What is granted by what is attached, through every change: attached, login gone and back, detached, attached anew."""

import re
from dataclasses import replace

import pytest

from immure.agents.codex import Program
from immure.broker.attachment import Attachment
from immure.broker.attachments import Attachments
from immure.broker.login_failure import LoginEnded
from immure.broker.token_endpoint import Held
from immure.errors import UsageError
from immure.gate.grants import Withdrawal
from immure.model import Binary, Endpoint, Secret
from immure.policy import Rule
from immure.providers import Login, load_profile

CODEX = Binary("/opt/codex", 1, 2)
NAME = "codex subscription"
SIGNED_OUT = Held(login=None, placeholders={})
OWN_RULE = Rule(name="mine", layer="command line", effect="allow", endpoint=Endpoint("example.com", 443))


def login(number: int = 0) -> Login:
    secrets = {"access_token": f"fake-access-{number:04}", "refresh_token": f"fake-refresh-{number:04}", "account_id": "fake-account-id"}
    return Login(name=NAME, kind="chatgpt", secrets={name: Secret(text) for name, text in secrets.items()})


def attachment(seed: int = 1) -> Attachment:
    profile = load_profile("codex")
    return Attachment(
        profile=profile,
        login=login(),
        placeholders=profile.placeholders(login(), lambda size: bytes([seed]) * size),
        binaries=(CODEX,),
        program=Program(executable="/opt/codex", mounts=(), directory="/opt"),
        variables={},
        mounts=(),
        files={},
        settings=(),
        kept=(),
        switches=(),
    )


@pytest.fixture
def attached() -> Attachments:
    made = Attachments("sb-1")
    made.add(attachment())
    return made


def secrets(attachments: Attachments) -> list[str]:
    return [credential.secret.reveal() for credential in attachments.grants((OWN_RULE,)).credentials]


def withdrawal(attachments: Attachments) -> Withdrawal:
    (found,) = attachments.grants(()).withdrawn
    return found


def now(attachments: Attachments) -> Attachment:
    (found,) = attachments
    return found


def test_what_is_attached_is_granted_beside_the_rules_of_the_user(attached: Attachments) -> None:
    grants = attached.grants((OWN_RULE,))
    assert grants.rules == (OWN_RULE, *attachment().rules)
    assert grants.credentials == attachment().credentials
    assert grants.virtual == attachment().virtual
    assert grants.withdrawn == ()
    assert attached.states == {"codex": "ready"}


def test_a_rotation_changes_the_secret_behind_the_placeholder_and_is_told_once(attached: Attachments) -> None:
    assert attached.update(now(attached), login(1))
    assert secrets(attached) == ["fake-access-0001", "fake-account-id"]
    assert [c.placeholder for c in attached.grants(()).credentials] == [c.placeholder for c in attachment().credentials]
    assert not attached.update(now(attached), login(1))


# why the login cannot be used, what the refusal says, and which command it names
LOST = [("removed", "is no longer in the vault", "immure login codex$"), ("replaced", "to another account", "immure attach codex sb-1$")]


@pytest.mark.parametrize(("cause", "reason", "command"), LOST)
def test_a_login_that_is_gone_is_refused_with_the_command_that_mends_it_and_may_come_back(
    attached: Attachments, cause: str, reason: str, command: str
) -> None:
    lost = LoginEnded(cause, NAME)
    assert attached.update(now(attached), lost)
    assert not attached.update(now(attached), lost)
    assert secrets(attached) == []
    assert attached.grants(()).virtual == attachment().virtual, "the token endpoint says it too"
    assert attached.grants(()).rules == attachment().rules
    assert attached.states == {"codex": cause}
    assert set(withdrawal(attached).placeholders) == set(attachment().placeholders.values())
    assert reason in withdrawal(attached).reason
    assert re.search(command, withdrawal(attached).hint)
    assert attached.update(now(attached), login(2))
    assert secrets(attached) == ["fake-access-0002", "fake-account-id"]
    assert attached.grants(()).withdrawn == ()


def test_what_was_detached_is_withdrawn_whole(attached: Attachments) -> None:
    assert attached.remove("codex") == attachment()
    grants = attached.grants((OWN_RULE,))
    assert (grants.rules, grants.credentials, grants.virtual) == ((OWN_RULE,), (), ())
    assert {rule.endpoint.host for rule in withdrawal(attached).rules} >= {"chatgpt.com", "auth.openai.com"}
    assert "detached" in withdrawal(attached).reason
    assert withdrawal(attached).hint == "immure attach codex sb-1"
    with pytest.raises(UsageError, match="not attached to sb-1"):
        attached.remove("codex")


def test_a_login_that_is_found_after_a_detachment_attaches_nothing(attached: Attachments) -> None:
    before = now(attached)
    attached.remove("codex")
    assert not attached.update(before, login(1))
    assert secrets(attached) == []


def test_an_attachment_in_the_place_of_another_leaves_the_old_placeholders_dead(attached: Attachments) -> None:
    attached.remove("codex")
    attached.add(attachment(2))
    assert {c.placeholder for c in attached.grants(()).credentials}.isdisjoint(attachment().placeholders.values())
    assert set(withdrawal(attached).placeholders) == set(attachment().placeholders.values())
    assert withdrawal(attached).rules == ()
    assert "anew" in withdrawal(attached).reason


def test_only_an_attachment_that_does_not_work_is_replaced(attached: Attachments) -> None:
    with pytest.raises(UsageError, match="attached to sb-1 already"):
        attached.may_add("codex")
    attached.update(now(attached), LoginEnded("replaced", NAME))
    attached.may_add("codex")
    attached.add(attachment(2))
    assert secrets(attached) == ["fake-access-0000", "fake-account-id"]
    assert attached.last("codex") == attachment(2)


def test_the_last_attachment_is_known_after_it_was_removed(attached: Attachments) -> None:
    attached.remove("codex")
    assert attached.get("codex") is None
    assert attached.last("codex") == attachment()
    assert replace(attachment(), login=login(1)) == attachment().running_on(login(1))


def test_who_signs_out_inside_has_nothing_until_somebody_signs_in(attached: Attachments) -> None:
    assert attached.hold(now(attached), SIGNED_OUT)
    grants = attached.grants((OWN_RULE,))
    assert (grants.credentials, grants.virtual) == ((), attachment().virtual)
    assert {rule.effect for rule in grants.rules if rule is not OWN_RULE} == {"deny"}
    assert set(withdrawal(attached).placeholders) == set(attachment().placeholders.values())
    assert "signed out" in withdrawal(attached).reason
    assert attached.states == {"codex": "signed out"}
    attached.may_add("codex")
    assert attached.hold(now(attached), attachment(2).held)
    assert {c.placeholder for c in attached.grants(()).credentials} <= set(attachment(2).placeholders.values())
    assert set(withdrawal(attached).placeholders) == set(attachment().placeholders.values())
    assert attached.states == {"codex": "ready"}


def test_a_sign_in_mends_a_login_that_was_gone(attached: Attachments) -> None:
    attached.update(now(attached), LoginEnded("removed", NAME))
    assert attached.hold(now(attached), attachment(2).held)
    assert secrets(attached) == ["fake-access-0000", "fake-account-id"]


def test_a_sign_in_that_comes_after_a_rotation_counts(attached: Attachments) -> None:
    before = now(attached)
    attached.update(before, login(1))
    assert attached.hold(before, attachment(2).held)
    assert attached.states == {"codex": "ready"}


def test_what_is_held_as_before_changes_nothing(attached: Attachments) -> None:
    assert not attached.hold(now(attached), now(attached).held)


def test_a_sign_in_that_comes_after_a_detachment_attaches_nothing(attached: Attachments) -> None:
    before = now(attached)
    attached.remove("codex")
    assert not attached.hold(before, attachment(2).held)
    attached.add(attachment(3))
    assert not attached.hold(before, attachment(2).held)
    assert {c.placeholder for c in attached.grants(()).credentials} <= set(attachment(3).placeholders.values())


def test_a_program_that_is_trusted_as_it_is_now_is_added_to_what_was(attached: Attachments) -> None:
    updated = replace(CODEX, inode=3, digest="ab" * 32)
    before = now(attached)
    assert attached.programs == {CODEX.path}
    assert not attached.trust_again({"/usr/bin/curl": updated})
    assert now(attached) is before
    assert attached.trust_again({CODEX.path: updated})
    assert now(attached).binaries == (CODEX, updated)
    assert {rule.binaries for rule in now(attached).rules if rule.effect == "allow"} == {(CODEX, updated)}
    assert not attached.trust_again({CODEX.path: updated})
