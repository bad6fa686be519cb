"""The records of a vault in one file that a passphrase opens: for a backup, or another machine.

    "immure vault export 1\\n" | log2 N, r, p (1 octet each) | salt (16) | nonce (12) | ciphertext and tag

The key is derived from the passphrase by scrypt (RFC 7914) with the costs that stand in the file; the contents are a JSON object of
the records by name, under AES-256-GCM with everything before them as associated data.

Rules: the costs of a file are bounded before they are paid, for the file may come from anywhere. Pure: salt and nonce come in.

*Fails:* ExportError for any file that was not made so, or a wrong passphrase; the two cannot be told apart.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

SALT_SIZE: Final = 16
NONCE_SIZE: Final = 12
SHORTEST_PASSPHRASE: Final = 8
"""In characters. The file may be copied and tried at leisure, so this is the least that is not a joke."""
_MAGIC: Final = b"immure vault export 1\n"
_HEADER: Final = len(_MAGIC) + 3 + SALT_SIZE + NONCE_SIZE
_MEMORY: Final = 1 << 30
"""Octets that scrypt may take at most (128 N r)."""


class ExportError(ValueError):
    """The bytes are not an export, or not under this passphrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of scrypt. The default takes 128 MiB and half a second, as OWASP advises for stored passwords."""

    log2_n: int = 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.log2_n <= 24 and 1 <= self.r <= 32 and 1 <= self.p <= 16) or 128 * self.r << self.log2_n > _MEMORY:
            raise ExportError("asks for more memory or time than any export of immure")

    def key(self, passphrase: str, salt: bytes) -> bytes:
        # One passphrase may be typed as different code points on two machines (RFC 8265 section 4.2).
        text = unicodedata.normalize("NFC", passphrase)
        return Scrypt(salt=salt, length=32, n=1 << self.log2_n, r=self.r, p=self.p).derive(text.encode())


DEFAULT: Final = Cost()


def seal_export(records: Mapping[str, Mapping[str, Any]], passphrase: str, salt: bytes, nonce: bytes, cost: Cost = DEFAULT) -> bytes:
    """Raises ValueError for a passphrase that is too short, or a salt or nonce of the wrong size."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise ValueError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")
    if len(salt) != SALT_SIZE or len(nonce) != NONCE_SIZE:
        raise ValueError("an export needs a 16-byte salt and a 12-byte nonce")
    header = _MAGIC + bytes((cost.log2_n, cost.r, cost.p)) + salt + nonce
    content = json.dumps({"records": {name: dict(record) for name, record in records.items()}}).encode()
    return header + AESGCM(cost.key(passphrase, salt)).encrypt(nonce, content, header)


def open_export(data: bytes, passphrase: str) -> dict[str, dict[str, Any]]:
    """The records by name. Raises ExportError."""
    header, sealed = data[:_HEADER], data[_HEADER:]
    if not data.startswith(_MAGIC):
        raise ExportError("is not an export of a vault, or of another version")
    if len(header) < _HEADER:
        raise ExportError("is cut short")
    log2_n, r, p = header[len(_MAGIC) : len(_MAGIC) + 3]
    salt, nonce = header[-SALT_SIZE - NONCE_SIZE : -NONCE_SIZE], header[-NONCE_SIZE:]
    try:
        content = AESGCM(Cost(log2_n=log2_n, r=r, p=p).key(passphrase, salt)).decrypt(nonce, sealed, header)
        records: dict[str, dict[str, Any]] = json.loads(content)["records"]
    except InvalidTag:
        raise ExportError("does not open with this passphrase, or was damaged") from None
    return records
