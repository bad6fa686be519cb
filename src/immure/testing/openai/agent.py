"""One made-up agent identity: a JWT that holds a key, and the requests that are signed with that key.

    the JWT        RS256, by an issuer whose public keys are at `/backend-api/wham/agent-identities/jwks`
    a task         registered once by whoever runs, with a signature of `runtime:time`
    each request   `Authorization: AgentAssertion` and base64url of a JSON object, with a signature of `runtime:task:time`

The signatures are truly verified, as is their time: unlike a token, an assertion that is merely repeated later is worth nothing. Names
begin with `fake`. Both keys are made at first use, which takes a moment, and die with the process.
"""

import json
import secrets
import threading
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b, sha512
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.poly1305 import Poly1305

from immure.providers.sealed_box import key_stream

ISSUER: Final = "https://chatgpt.com/codex-backend/agent-identity"
AUDIENCE: Final = "codex-app-server"
MOMENT: Final = timedelta(seconds=60)
"""How far the time of a signature may be from now."""
_LIFE: Final = timedelta(days=30)
_KEY_ID: Final = "fake-key"


class Agent:
    """An agent identity of an account; `entropy(n)` gives n random bytes."""

    def __init__(
        self, *, account_id: str, user_id: str, email: str, plan: str, entropy: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self.seals = False
        """Whether the names of tasks are given encrypted, as Codex takes them too."""
        self.runtime_id = "fake-agent-" + entropy(16).hex()
        self._entropy = entropy
        self._lock = threading.RLock()
        self._tasks: list[str] = []
        self._revoked = False
        self._owner = {"account_id": account_id, "chatgpt_user_id": user_id, "email": email, "plan_type": plan}

    @cached_property
    def _issuer(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def _seed(self) -> bytes:
        """One whose forms are letters and digits, as the other secrets here: the fewer kinds of characters, the faster the search."""
        while True:
            seed = self._entropy(32)
            if all(form.isalnum() for form in _forms(seed).values()):
                return seed

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._seed)

    @cached_property
    def _private_key(self) -> str:
        pkcs8 = self._key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return b64encode(pkcs8).decode()

    @cached_property
    def token(self) -> str:
        """The JWT that signs in."""
        return self.issue()

    def issue(self, **changes: Any) -> str:
        """A JWT with other claims than usual."""
        now = datetime.now(UTC)
        times = {"iat": int(now.timestamp()), "exp": int((now + _LIFE).timestamp())}
        key = {"agent_runtime_id": self.runtime_id, "agent_private_key": self._private_key}
        claims = {"iss": ISSUER, "aud": AUDIENCE, **times, **key, **self._owner, "chatgpt_account_is_fedramp": False} | changes
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{_text(self._issuer.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def key_set(self) -> dict[str, Any]:
        """The public key of the issuer (RFC 7517)."""
        numbers = self._issuer.public_key().public_numbers()
        modulus, exponent = (_text(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, "n": modulus, "e": exponent}]}

    def register(self, runtime_id: str, body: bytes) -> str | None:
        """The name of a new task, if the body is signed for that agent now."""
        try:
            request = json.loads(body)
            known = not self._revoked and runtime_id == self.runtime_id and self._signed(f"{runtime_id}:{request['timestamp']}", request)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known:
            return None
        with self._lock:
            self._tasks.append("fake-task-" + self._entropy(16).hex())
            return self._tasks[-1]

    def accepts(self, authorization: str) -> bool:
        """Whether the value of an Authorization field is an assertion of this agent about a task of its own, made just now."""
        scheme, _, text = authorization.partition(" ")
        if scheme != "AgentAssertion":
            return False
        try:
            envelope = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            runtime, task, time = envelope["agent_runtime_id"], envelope["task_id"], envelope["timestamp"]
            with self._lock:
                known = not self._revoked and runtime == self.runtime_id and task in self._tasks
            return known and self._signed(f"{runtime}:{task}:{time}", envelope)
        except (ValueError, TypeError, KeyError):
            return False

    def revoke(self) -> None:
        """From now on it is refused, and its tasks with it."""
        self._revoked = True

    @property
    def tasks(self) -> list[str]:
        """Those that were registered, oldest first."""
        with self._lock:
            return list(self._tasks)

    def secrets(self) -> dict[str, str]:
        """Everything that must never be seen inside a sandbox, by a name for each: the key in each form in which it could be."""
        if "_seed" not in self.__dict__:
            return {}
        tasks = {f"agent task {at}": task for at, task in enumerate(self.tasks, 1)}
        return {"agent identity": self.token, "agent runtime id": self.runtime_id, **_forms(self._seed), **tasks}

    def sealed(self, task: str) -> str:
        """The name of a task, encrypted to the key of the agent (libsodium's `crypto_box_seal`), in base64."""
        ours = X25519PrivateKey.generate()
        theirs = X25519PrivateKey.from_private_bytes(sha512(self._seed).digest()[:32]).public_key()
        own = ours.public_key().public_bytes_raw()
        nonce = blake2b(own + theirs.public_bytes_raw(), digest_size=24).digest()
        stream = key_stream(ours.exchange(theirs), nonce, 32 + len(task))
        box = bytes(a ^ b for a, b in zip(task.encode(), stream[32:], strict=True))
        return b64encode(own + Poly1305.generate_tag(stream[:32], box) + box).decode()

    def login_file(self) -> bytes:
        """The `auth.json` that `codex login --with-access-token` would leave behind."""
        return json.dumps({"auth_mode": "agentIdentity", "OPENAI_API_KEY": None, "agent_identity": self.token}, indent=2).encode()

    def _signed(self, text: str, fields: dict[str, str]) -> bool:
        time = datetime.strptime(fields["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        try:
            self._key.public_key().verify(b64decode(fields["signature"], validate=True), text.encode())
        except InvalidSignature:
            return False
        return abs(datetime.now(UTC) - time) <= MOMENT


def _forms(seed: bytes) -> dict[str, str]:
    """A private key as it can stand in a text: in hexadecimal, in base64 at any offset, as in the DER form, and that again as in a JWT.

    What surrounds it (RFC 8410 section 7) is the same for every key, so the ends are left out.
    """
    forms = {"agent key in hexadecimal": seed.hex()}
    for at in range(3):
        once = b64encode(bytes(at) + seed).decode()[2:-4]
        forms[f"agent key in base64, {at}"] = once
        forms |= {f"agent key in base64 twice, {at}, {again}": _text(bytes(again) + once.encode())[2:-2] for again in range(3)}
    return forms


def _text(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
