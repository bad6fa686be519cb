"""An agent identity: a JWT with a key in it, by which Codex acts for an account without a person at a browser.

    the JWT     signed by OpenAI (RS256, RFC 7518 section 3.3), whose public keys are at a well-known place (a JWK set, RFC 7517)
    a task      registered with the key in the JWT by every Codex that starts; the issuer gives it a name
    requests    each is signed with that key, for that task (`rewrite.assertion`)

The key is what matters: whoever has it acts for the account until the JWT expires. It can be neither renewed nor revoked from here.

Rules: what is read of a JWT is believed once its signature was verified. No text of an answer is passed on.

*Trust:* a JWT is whatever was pasted, a key set whatever came from the far end of a verified TLS connection. *Fails:* ValueError that
says why, and repeats nothing of either.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha512
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from immure.errors import Fault
from immure.model import Secret
from immure.providers import oauth
from immure.providers.sealed_box import opened
from immure.rewrite.assertion import sign, signing_key

ISSUER: Final = "https://chatgpt.com/codex-backend/agent-identity"
AUDIENCE: Final = "codex-app-server"
KEY_SET_HOST: Final = "chatgpt.com"
KEY_SET_PATH: Final = "/backend-api/wham/agent-identities/jwks"

_AUTH: Final = "https://api.openai.com/auth"
_SHORTEST: Final = 8
_SEGMENT: Final = re.compile(r"[\w.~:-]{8,200}", re.ASCII)
"""Of a path (RFC 3986 section 3.3), with nothing in it to be escaped."""
_RSA_BITS: Final = range(2048, 16385)
"""RFC 7518 section 3.3 wants 2048 or more. A key without a limit takes a time without one."""
_TASK_NAMES: Final = ("task_id", "taskId")
_SEALED_NAMES: Final = ("encrypted_task_id", "encryptedTaskId")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """What a JWT says: `expires` in seconds since the epoch, `owner` as the claims of an id_token, without the account."""

    agent_runtime_id: Secret
    private_key: Secret
    account_id: Secret
    expires: int
    owner: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTask:
    """The issuer gave no task: it will not for this identity, or not now."""

    cause: Literal["refused", "unavailable"]
    reason: str


def read(token: str) -> AgentIdentity:
    """What a JWT says, unverified. Raises ValueError."""
    claims = oauth.claims(token)
    if token.count(".") != 2 or not token.isascii():
        raise ValueError("it is not a JWT")
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise ValueError("it is not an agent identity for Codex")
    expires = claims.get("exp")
    if not isinstance(expires, int) or isinstance(expires, bool):
        raise ValueError("it does not say when it expires")
    runtime_id, private_key = _secret(claims, "agent_runtime_id"), _secret(claims, "agent_private_key")
    if not _SEGMENT.fullmatch(runtime_id.reveal()):
        raise ValueError("its agent_runtime_id is not one")
    signing_key(private_key.reveal())
    plan, user = claims.get("plan_type"), claims.get("chatgpt_user_id")
    if not isinstance(plan, str) or not isinstance(user, str):
        raise ValueError("it does not say whose it is")
    fedramp = claims.get("chatgpt_account_is_fedramp") is True
    owner: dict[str, Any] = {_AUTH: {"chatgpt_user_id": user, "chatgpt_plan_type": plan, "chatgpt_account_is_fedramp": fedramp}}
    if isinstance(email := claims.get("email"), str):
        owner["email"] = email
    return AgentIdentity(
        agent_runtime_id=runtime_id,
        private_key=private_key,
        account_id=_secret(claims, "account_id"),
        expires=expires,
        owner=owner,
    )


def verify(token: str, key_set: bytes) -> None:
    """Check the signature with the public keys of the issuer, a JWK set. Raises ValueError if it is not by one of them."""
    signed, _, signature = token.rpartition(".")
    head = _object(_decoded(signed.partition(".")[0]))
    # The algorithm is fixed, and is not for the token to choose (RFC 8725 section 3.1).
    if head.get("alg") != "RS256" or "crit" in head:
        raise ValueError("it is not signed with RS256")
    keys = _object(key_set).get("keys")
    name = head.get("kid")
    found = [key for key in keys if isinstance(key, dict) and key.get("kid") == name] if isinstance(keys, list) and name else []
    for key in found:
        try:
            _public_key(key).verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            continue
        return
    raise ValueError("its signature is not by OpenAI")


def task_path(agent_runtime_id: str) -> str:
    """Where a task is registered, below `oauth.ISSUER`."""
    return f"/api/accounts/v1/agent/{agent_runtime_id}/task/register"


def registration(identity: AgentIdentity, now: str) -> bytes:
    """What asks for a task, `now` being the time as in an assertion."""
    signature = sign(registered_text(identity.agent_runtime_id.reveal(), now), identity.private_key.reveal())
    return json.dumps({"timestamp": now, "signature": signature}, separators=(",", ":")).encode()


def registered_text(agent_runtime_id: str, now: str) -> str:
    """What the signature of a registration is made of."""
    return f"{agent_runtime_id}:{now}"


def task_in(status: int, body: bytes, private_key: Secret) -> Secret | NoTask:
    """The name of the task that an answer brings: as it is, or encrypted to the agent's key."""
    if status in (401, 403):
        return NoTask(cause="refused", reason=f"auth.openai.com refuses the agent identity (status {status})")
    try:
        answer = _object(body) if 200 <= status < 300 else {}
        name = next((answer[name] for name in _TASK_NAMES if name in answer), None)
        sealed = next((answer[name] for name in _SEALED_NAMES if name in answer), None)
        if name is None and isinstance(sealed, str):
            name = opened(b64decode(sealed, validate=True), _exchange_key(private_key)).decode()
        if isinstance(name, str) and len(name) >= _SHORTEST:
            return Secret(name)
    except (ValueError, Fault):
        pass
    return NoTask(cause="unavailable", reason=f"auth.openai.com gave no task (status {status})")


def _exchange_key(private_key: Secret) -> bytes:
    """The X25519 key that goes with an Ed25519 key: half of the digest that Ed25519 makes of it (RFC 8032 section 5.1.5)."""
    return sha512(signing_key(private_key.reveal()).private_bytes_raw()).digest()[:32]


def _secret(claims: Mapping[str, Any], name: str) -> Secret:
    text = claims.get(name)
    try:
        if isinstance(text, str) and len(text) >= _SHORTEST:
            return Secret(text)
    except Fault:
        pass
    raise ValueError(f"its {name} is not one")


def _public_key(key: Mapping[str, Any]) -> RSAPublicKey:
    if key.get("kty") != "RSA" or key.get("use", "sig") != "sig" or key.get("alg", "RS256") != "RS256":
        raise ValueError("the issuer's key is not one for RS256")
    modulus, exponent = (int.from_bytes(_decoded(key.get(name))) for name in ("n", "e"))
    if modulus.bit_length() not in _RSA_BITS or exponent.bit_length() > 32:
        raise ValueError("the issuer's key has no size that a key may have")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _decoded(text: Any) -> bytes:
    """Base64url without padding (RFC 7515 section 2). Raises ValueError."""
    try:
        if isinstance(text, str) and not set(text) & set("+/="):
            return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        pass
    raise ValueError("it is not base64url")


def _object(content: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found
