"""A login, as the broker hands it on: its secrets by name, and what its id_token says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from immure.model import Secret

LoginKind = Literal["chatgpt", "personal_access_token", "agent_identity", "api_key"]
"""A subscription with rotating tokens, a lasting token of a ChatGPT workspace, a JWT with a key that signs, or a key that is billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`name` is that of its vault record. `claims` are those of the id_token, unverified; an API key has none.

    Secrets of a subscription: `access_token`, and where the provider gave them `refresh_token`, `id_token` and `account_id`; an API
    key that came with it is `api_key` too, though a subscription does not use it. A personal access token and the JWT of an agent
    identity are named as their kinds are, and come with an `account_id`.
    """

    name: str
    kind: LoginKind
    secrets: Mapping[str, Secret] = field(repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", MappingProxyType(dict(self.secrets)))
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def account_id(self) -> Secret | None:
        return self.secrets.get("account_id")
