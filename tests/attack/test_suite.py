"""What holds for every attack of the suite."""

from immure.attack import suite
from immure.attack.attack import IF_THE_HOST_ALLOWS, NEIGHBOURS, OUTSIDE


def test_every_attack_has_a_control_that_exists() -> None:
    assert [one.id for one in suite.attacks() if one.control not in (OUTSIDE, IF_THE_HOST_ALLOWS, *NEIGHBOURS)] == []


def test_every_claim_says_how_it_is_stopped_and_what_is_unstopped_claims_nothing() -> None:
    assert [one.id for one in suite.attacks() if bool(one.words) != bool(one.stopped_by)] == []
    assert {one.group for one in suite.attacks() if one.stopped_by is None} == {"unstopped"}


def test_no_two_have_a_title() -> None:
    titles = [one.title for one in suite.attacks()]
    assert sorted({title for title in titles if titles.count(title) > 1}) == []
    assert [title for title in titles if title.endswith(".") or title[:1] != title[:1].upper()] == []
