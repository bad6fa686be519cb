"""The assertion with which Codex signs each request on an agent identity: checked, and made again with the real key.

    Authorization: AgentAssertion BASE64URL({"agent_runtime_id", "signature", "task_id", "timestamp"})

`signature` is the base64 of an Ed25519 signature (RFC 8032) of `agent_runtime_id:task_id:timestamp`, as codex-rs/agent-identity has it. A
sandbox signs with a key of its own, which is worth nothing elsewhere. Its assertion is not so much exchanged as answered: if it is good
here and now, another one is made, of this very moment.

Rules: nothing of the assertion inside goes out. The clock comes in as text, in the form of `timestamp`; an Ed25519 signature needs no
randomness.

*Trust:* the agent wrote every byte of an assertion, and may repeat one that it has seen. *Fails:* ValueError that says what is wrong.
"""

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from calendar import timegm
from dataclasses import asdict, dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from immure.model import Secret

SCHEME: Final = "AgentAssertion"
MOMENT: Final = 300
"""Seconds, either way, within which an assertion must have been made. Codex makes one for each request, within a second of it."""

TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
"""Of strftime(3), for UTC."""

_FIELDS: Final = ("agent_runtime_id", "signature", "task_id", "timestamp")
_TIMESTAMP: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)
_SIGNATURE_SIZE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """Who signs: the agent as the upstream knows it, and what the assertions of its sandbox must be.

    `private_key` is the base64 of PKCS #8 (RFC 8410), `task_id` is empty until a task was registered. `own_task` is the placeholder that
    stands for the task inside, `own_key` the base64 of the public key that assertions are checked with.
    """

    agent_runtime_id: str = field(repr=False)
    private_key: str = field(repr=False)
    task_id: str = field(repr=False)
    own_task: str
    own_key: str

    def to_secret(self) -> Secret:
        """All of it as one secret, in which form it reaches a gate and changes there."""
        return Secret(json.dumps(asdict(self)))

    @classmethod
    def of(cls, secret: Secret) -> Self:
        """The inverse of `to_secret`. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(secret.reveal()))

    def pairs(self, placeholder: str) -> tuple[tuple[bytes, bytes], ...]:
        """What an answer may repeat of it, with what stands for that inside; `placeholder` is that of the runtime id."""
        named = ((self.agent_runtime_id, placeholder), (self.task_id, self.own_task))
        return tuple((real.encode(), inside.encode()) for real, inside in named if real)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A new assertion. `echoes` are what an answer may repeat of it and of no other, with the same part of the assertion from inside."""

    value: str
    echoes: tuple[tuple[bytes, bytes], ...]


def answered(value: str, placeholder: str, signatory: Signatory, now: str) -> Signed:
    """The field's value for a good value from inside. Raises ValueError, with a clause about the assertion."""
    token = value.partition(" ")[2].lstrip(" ")
    fields = _read(token)
    if fields is None:
        raise ValueError("it is in an assertion that cannot be read")
    if fields["agent_runtime_id"] != placeholder or fields["task_id"] != signatory.own_task:
        raise ValueError("its assertion is about another agent or task")
    if not is_of_moment(fields["timestamp"], now):
        raise ValueError(f"its assertion was not made within {MOMENT} seconds of now")
    if not is_signed(f"{placeholder}:{signatory.own_task}:{fields['timestamp']}", fields["signature"], signatory.own_key):
        raise ValueError("its assertion is not signed with the key of this sandbox")
    if not signatory.task_id:
        raise ValueError("no task has been registered for its assertion")
    text = f"{signatory.agent_runtime_id}:{signatory.task_id}:{now}"
    real = _write(signatory.agent_runtime_id, signature := sign(text, signatory.private_key), signatory.task_id, now)
    return Signed(value=f"{SCHEME} {real}", echoes=((signature.encode(), fields["signature"].encode()),))


def is_assertion(value: str) -> bool:
    """Whether the value of a field has the scheme, in any letter case (RFC 9110 section 11.1)."""
    return value.partition(" ")[0].lower() == SCHEME.lower()


def shown(value: str) -> str:
    """What stands in an assertion, for whoever looks for a placeholder in it; nothing if it cannot be decoded."""
    token = value.partition(" ")[2].strip(" =")
    try:
        return urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("latin-1")
    except ValueError:
        return ""


def is_of_moment(made: str, now: str) -> bool:
    """Whether the first of two timestamps is one, and close to the second."""
    then, moment = _seconds(made), _seconds(now)
    return then is not None and moment is not None and abs(moment - then) <= MOMENT


def sign(text: str, private_key: str) -> str:
    """The base64 of a signature. Raises ValueError if the key, in base64 of PKCS #8, is not one of Ed25519."""
    return b64encode(signing_key(private_key).sign(text.encode())).decode()


def signing_key(private_key: str) -> Ed25519PrivateKey:
    """Raises ValueError, which repeats nothing of the text."""
    try:
        key = load_der_private_key(b64decode(private_key, validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the private key is not one of Ed25519 in PKCS #8")
    return key


def is_signed(text: str, signature: str, public_key: str) -> bool:
    """Whether the signature (base64) of a text was made with the private key of this public one (base64 of its 32 octets)."""
    try:
        raw = b64decode(signature, validate=True)
        if len(raw) == _SIGNATURE_SIZE:
            Ed25519PublicKey.from_public_bytes(b64decode(public_key)).verify(raw, text.encode())
            return True
    except (ValueError, InvalidSignature):
        pass
    return False


def _read(token: str) -> dict[str, str] | None:
    if "=" in token:
        return None
    try:
        fields = json.loads(b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or sorted(fields) != list(_FIELDS) or not all(isinstance(text, str) for text in fields.values()):
        return None
    return fields


def _write(*values: str) -> str:
    content = json.dumps(dict(zip(_FIELDS, values, strict=True)), separators=(",", ":"))
    return urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _seconds(timestamp: str) -> int | None:
    """Since the epoch, of a time as Codex writes it (RFC 3339, in UTC and whole seconds)."""
    found = _TIMESTAMP.fullmatch(timestamp)
    if found is None:
        return None
    try:
        return timegm((*map(int, found.groups()), 0, 0, 0))
    except ValueError:  # there is no such day
        return None
