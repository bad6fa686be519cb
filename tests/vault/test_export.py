"""An export opens with its passphrase and with nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immure.vault.export import Cost, ExportError, open_export, seal_export

CHEAP = Cost(log2_n=2)
SALT, NONCE = bytes(range(16)), bytes(range(12))
RECORDS = {"codex subscription": {"secrets": {"access_token": "fake-at-0000"}, "version": 2}, "codex /home/ann/.codex": {}}
PASSPHRASE = "correct horse battery"
EXPORT = seal_export(RECORDS, PASSPHRASE, SALT, NONCE, CHEAP)


def test_what_is_exported_comes_back() -> None:
    assert open_export(EXPORT, PASSPHRASE) == RECORDS
    for secret in b"fake-at", b"codex", b"ann", PASSPHRASE.encode():
        assert secret not in EXPORT.removeprefix(b"immure vault export 1\n")


def test_the_default_costs_what_is_said() -> None:
    sealed = seal_export({}, PASSPHRASE, SALT, NONCE)
    assert sealed.removeprefix(b"immure vault export 1\n")[:3] == bytes((17, 8, 1))
    assert open_export(sealed, PASSPHRASE) == {}


@given(st.text(min_size=8, max_size=40))
def test_another_passphrase_opens_nothing(other) -> None:
    if other != PASSPHRASE:
        with pytest.raises(ExportError, match="passphrase"):
            open_export(EXPORT, other)


def test_a_passphrase_is_the_same_however_its_letters_are_made_up() -> None:
    sealed = seal_export(RECORDS, "schl\u00fcssel", SALT, NONCE, CHEAP)
    assert open_export(sealed, "schlu\u0308ssel") == RECORDS


@settings(max_examples=300)
@given(st.integers(0, len(EXPORT) - 1), st.integers(1, 255))
def test_a_changed_octet_is_found(at, change) -> None:
    damaged = bytearray(EXPORT)
    damaged[at] ^= change
    if damaged[22] > 12 or damaged[23] > 32 or damaged[24] > 16:
        damaged[22] = 30  # dear costs are refused unpaid, which the next test looks at
    with pytest.raises(ExportError):
        open_export(bytes(damaged), PASSPHRASE)


@pytest.mark.parametrize("costs", [(24, 32, 1), (255, 255, 255), (0, 8, 1), (17, 0, 1), (17, 8, 0), (20, 32, 1), (63, 1, 1)])
def test_costs_beyond_reason_are_refused_before_they_are_paid(costs) -> None:
    dear = EXPORT[:22] + bytes(costs) + EXPORT[25:]
    with pytest.raises(ExportError, match="more memory or time"):
        open_export(dear, PASSPHRASE)


@given(st.binary(max_size=80))
def test_what_is_no_export_is_refused(data) -> None:
    with pytest.raises(ExportError):
        open_export(data, PASSPHRASE)
    with pytest.raises(ExportError):
        open_export(EXPORT[: len(data)], PASSPHRASE)


@pytest.mark.parametrize(("passphrase", "salt", "nonce"), [("seven77", SALT, NONCE), (PASSPHRASE, b"", NONCE), (PASSPHRASE, SALT, b"x")])
def test_a_weak_export_is_not_made(passphrase, salt, nonce) -> None:
    with pytest.raises(ValueError, match=r"passphrase has|needs a"):
        seal_export(RECORDS, passphrase, salt, nonce, CHEAP)
