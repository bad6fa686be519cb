"""Who may sign in from inside, and when the user is told."""

import pytest

from immure.broker.consent import GOOD_FOR, Consent
from immure.config.settings import SignInInside


class Table:
    """A consent, with a clock and what the user is told."""

    def __init__(self, standing: SignInInside) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.consent = Consent(standing, "sb-1", self.said.append, lambda: self.now)

    @property
    def state(self) -> tuple[bool, bool]:
        return self.consent.is_given, self.consent.is_refused


@pytest.mark.parametrize(("standing", "state"), [("always", (True, False)), ("ask", (False, False)), ("never", (False, True))])
def test_what_the_settings_say(standing: SignInInside, state: tuple[bool, bool]) -> None:
    table = Table(standing)
    assert table.state == state
    assert table.consent.ask() == (standing != "always")
    assert table.state == state
    assert len(table.said) == (standing != "always")


def test_who_asks_again_and_again_is_heard_once_in_a_quarter_of_an_hour() -> None:
    table = Table("ask")
    assert [table.consent.ask() for _ in range(100)] == [True] + [False] * 99
    table.now += GOOD_FOR + 1
    assert table.consent.ask()
    assert len(table.said) == 2
    assert all("immure login approve sb-1" in line and "immure login deny sb-1" in line for line in table.said)


@pytest.mark.parametrize("standing", ["ask", "never"])
def test_an_approval_is_good_for_one_sign_in_and_not_for_long(standing: SignInInside) -> None:
    table = Table(standing)
    before = table.state
    table.consent.approve()
    assert table.state == (True, False)
    assert not table.consent.ask()
    table.consent.use()
    assert table.state == before
    table.consent.approve()
    table.now += GOOD_FOR + 1
    assert table.state == before


@pytest.mark.parametrize("standing", ["always", "ask", "never"])
def test_a_denial_stays_until_the_user_approves(standing: SignInInside) -> None:
    table = Table(standing)
    table.consent.deny()
    assert table.state == (False, True)
    assert not table.consent.ask()
    table.now += 100 * GOOD_FOR
    assert table.state == (False, True)
    assert table.said == []
    table.consent.approve()
    assert table.state == (True, False)
