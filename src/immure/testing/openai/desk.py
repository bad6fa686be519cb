"""Where the stand-in signs people in: codes for browsers and for devices, each good for one exchange with the right verifier.

The person is played by the test: opening the address of a browser's sign-in agrees at once, a device code waits for `approve`.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Mapping
from urllib.parse import urlencode

from immure.testing.openai.account import CLIENT_ID, Account

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE_REDIRECT = "https://auth.openai.com/deviceauth/callback"


class Desk:
    """Makes logins for one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._codes: dict[str, tuple[str, str]] = {}
        self._devices: dict[str, tuple[str, str | None]] = {}
        self.gives_keys = True
        """Whether the account may have an API key."""
        self.user_codes: list[str] = []
        """Those that were given out, oldest first."""

    def authorize(self, query: Mapping[str, str]) -> str | None:
        """Where the browser is sent back to, with a code; None for a request that no client of ours makes."""
        if query.get("client_id") != CLIENT_ID or query.get("code_challenge_method") != "S256" or query.get("response_type") != "code":
            return None
        redirect = query["redirect_uri"]
        code = self._code(query["code_challenge"], redirect)
        return f"{redirect}?{urlencode({'code': code, 'state': query['state']})}"

    def begin_device(self) -> dict[str, object]:
        with self._lock:
            user_code = f"FAKE-{secrets.token_hex(2).upper()}"
            device = "fake-device-" + secrets.token_hex(16)
            self._devices[device] = user_code, None
            self.user_codes.append(user_code)
            return {"device_auth_id": device, "user_code": user_code, "interval": "1"}

    def approve(self, user_code: str) -> None:
        """The person has entered the code."""
        verifier = secrets.token_urlsafe(48)
        with self._lock:
            device = next(device for device, (code, _) in self._devices.items() if code == user_code)
            self._devices[device] = user_code, verifier

    def poll_device(self, device: str, user_code: str) -> dict[str, str] | None:
        """What the device exchanges, once; None while the code was not entered, or for a device that is not known."""
        with self._lock:
            known, verifier = self._devices.get(device, ("", None))
            if known != user_code or verifier is None:
                return None
            del self._devices[device]
        challenge = _challenge(verifier)
        return {
            "authorization_code": self._code(challenge, DEVICE_REDIRECT),
            "code_challenge": challenge,
            "code_verifier": verifier,
        }

    def exchange(self, form: Mapping[str, str]) -> dict[str, str] | None:
        """The tokens for a code, or None if code, verifier and address do not belong together. The code is spent either way."""
        with self._lock:
            expected = self._codes.pop(form.get("code", ""), None)
        if expected != (_challenge(form.get("code_verifier", "")), form.get("redirect_uri")) or form.get("client_id") != CLIENT_ID:
            return None
        return self._account.sign_in()

    def api_key(self, form: Mapping[str, str]) -> str | None:
        """The API key for an id_token of the account (RFC 8693), unless the account gets none."""
        asked = form.get("client_id"), form.get("requested_token"), form.get("subject_token")
        return self._account.api_key if self.gives_keys and asked == (CLIENT_ID, "openai-api-key", self._account.id_token) else None

    def _code(self, challenge: str, redirect: str) -> str:
        code = "fake-code-" + secrets.token_urlsafe(32)
        with self._lock:
            self._codes[code] = challenge, redirect
        return code


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
