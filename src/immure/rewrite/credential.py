"""A credential of one sandbox: the placeholder inside, the secret outside, and the one place where the one becomes the other.

*Fails:* what is not declared here is not sent: no endpoints, or an empty tuple of binaries, means nowhere and nobody.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from immure.errors import Fault
from immure.model import Binary, Endpoint, Secret
from immure.rewrite.pairs import MINIMUM_SECRET
from immure.rewrite.placeholder import is_placeholder

Scheme = Literal["bearer", "raw"]

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
"""A field name (RFC 9110 section 5.6.2), in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """`header` is the lower-case field that carries it, `scheme` whether the value is `Bearer x` or the bare `x`.

    `binaries` None is any program that could be identified; an empty tuple is none.
    """

    name: str
    placeholder: str
    secret: Secret
    endpoints: tuple[Endpoint, ...]
    header: str
    scheme: Scheme
    binaries: tuple[Binary, ...] | None = None

    def __post_init__(self) -> None:
        wrong = ""
        if not is_placeholder(self.placeholder):
            wrong = "its placeholder is not one of ours"
        elif not _HEADER.fullmatch(self.header):
            wrong = f"{self.header!r} is not a field name in lower case"
        elif self.scheme not in get_args(Scheme):
            wrong = f"{self.scheme!r} is not a scheme"
        elif len(self.secret.reveal()) < MINIMUM_SECRET:
            wrong = f"its secret is shorter than {MINIMUM_SECRET} characters"
        if wrong:
            raise Fault(f"credential {self.name!r} cannot be used: {wrong}", code="credential.shape")

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Secret and placeholder, as restoration wants them."""
        return self.secret.reveal().encode(), self.placeholder.encode()
