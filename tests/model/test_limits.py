"""How limits are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model.limits import NAMES, UNLIMITED, Limits, read_limit

READ = [
    ("pids", "100", 100),
    ("pids", "unlimited", UNLIMITED),
    ("open_files", "1024", 1024),
    ("memory", "4G", 4 << 30),
    ("memory", "512m", 512 << 20),
    ("memory", "512MiB", 512 << 20),
    ("memory", "1TB", 1 << 40),
    ("memory", "16777216", 16 << 20),
    ("file_size", "4M", 4 << 20),
    ("cpus", "2", 2.0),
    ("cpus", "0.5", 0.5),
]
REFUSED = [
    ("pids", ""),
    ("pids", "0"),
    ("pids", "15"),
    ("pids", "-1"),
    ("pids", "1e3"),
    ("pids", "1\u06642"),
    ("pids", "100 "),
    ("memory", "1M"),
    ("memory", "4.5G"),
    ("memory", "4P"),
    ("file_size", "1M"),
    ("cpus", "0"),
    ("cpus", "0.001"),
    ("cpus", "inf"),
    ("open_files", "10"),
]


@pytest.mark.parametrize(("name", "text", "amount"), READ)
def test_read(name: str, text: str, amount: float | str) -> None:
    assert amount == read_limit(name, text)


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        read_limit(name, text)


@given(st.sampled_from(NAMES), st.text(max_size=12))
def test_any_text_is_an_amount_or_no_limit_at_all(name: str, text: str) -> None:
    try:
        amount = read_limit(name, text)
    except ValueError:
        return
    assert amount == UNLIMITED or (isinstance(amount, int | float) and amount > 0)


def test_every_limit_can_be_written() -> None:
    assert set(NAMES) == set(Limits.__slots__)
