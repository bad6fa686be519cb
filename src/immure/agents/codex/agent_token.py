"""The agent identity that Codex finds inside: a JWT in the form of the real one, with keys of the sandbox's own.

Codex verifies the JWT that it is given against a key set that it fetches, takes the key out of it, and signs with that key from then on. So
a sandbox gets a JWT that says what the real one says, but for the names of agent and account, which are placeholders, and for the key;
and it is told that the key set is the one which fits. What is signed inside proves one thing: that it was signed in this sandbox.

Rules: both keys are made for one sandbox. The one that signs the JWT is forgotten at once.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from immure.providers.agent_identity import AUDIENCE, ISSUER, AgentIdentity

_AUTH: Final = "https://api.openai.com/auth"
_KEY_ID: Final = "immure"
_MAX_TEXT: Final = 512
_RSA_BITS: Final = 2048
"""The least that Codex takes (RFC 7518 section 3.3); finding the primes takes some 50 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnIdentity:
    """`token` is for inside, `key_set` (a JWK set) what it is verified with there, `public_key` what checks the assertions of inside."""

    token: str = field(repr=False)
    key_set: bytes
    public_key: str


def own_identity(real: AgentIdentity, *, runtime_id: str, account_id: str, now: float) -> OwnIdentity:
    """Make one, with placeholders for the agent and its account; `now` in seconds since the epoch."""
    key, issuer = Ed25519PrivateKey.generate(), generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": real.expires,
        "agent_runtime_id": runtime_id,
        "agent_private_key": b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode(),
        "account_id": account_id,
        **_kept(real, {real.account_id.reveal(): account_id, real.agent_runtime_id.reveal(): runtime_id}),
    }
    head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
    signed = ".".join(_segment(json.dumps(part).encode()) for part in (head, claims))
    return OwnIdentity(
        token=f"{signed}.{_segment(issuer.sign(signed.encode(), PKCS1v15(), SHA256()))}",
        key_set=json.dumps({"keys": [_public(issuer.public_key())]}).encode(),
        public_key=b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
    )


def _kept(real: AgentIdentity, placeholders: Mapping[str, str]) -> dict[str, Any]:
    """What Codex is told of the owner: it reads the plan as it does that of an id_token, and every one of the claims must be there."""

    def text(value: Any) -> str:
        kept = value if isinstance(value, str) and len(value) <= _MAX_TEXT else ""
        for secret, placeholder in placeholders.items():
            kept = kept.replace(secret, placeholder)
        return kept

    nested = real.owner[_AUTH]
    return {
        "chatgpt_user_id": text(nested["chatgpt_user_id"]),
        "email": text(real.owner.get("email")),
        "plan_type": text(nested["chatgpt_plan_type"]),
        "chatgpt_account_is_fedramp": nested["chatgpt_account_is_fedramp"],
    }


def _public(key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    modulus, exponent = (_segment(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, "n": modulus, "e": exponent}


def _segment(content: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(content).decode().rstrip("=")
