"""Outward: a placeholder in a declared slot becomes the real secret, or the request is refused.

A slot is a header field: Authorization always, and the field that a credential declares. In a slot a placeholder of ours is either
exchanged, because everything about it fits, or the reason for refusing the whole request. Outside a slot (other fields, path, body)
it is inert text and passes byte for byte, so that a prompt or a diff that quotes one blocks nothing.

*Trust:* the agent wrote every byte of the fields; host and port are those that the connection will be made to, not what a field
says. *Fails:* closed: a placeholder that is unknown, old, of another sandbox, or one word out of place goes nowhere.
"""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from immure.model import Caller
from immure.rewrite.credential import Credential
from immure.rewrite.placeholder import holds_placeholder

Headers = Sequence[tuple[bytes, bytes]]

_AUTHORIZATION = b"authorization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Substituted:
    """The fields to send, and the credentials whose secrets are now in them. Forward these fields and no others."""

    headers: tuple[tuple[bytes, bytes], ...]
    used: tuple[Credential, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing may be sent. `reason` is a clause about the placeholder ("it is not for …").

    `credential_name` is None for a placeholder that this sandbox does not hold.
    """

    credential_name: str | None
    reason: str


def substitute(
    headers: Headers, *, host: str, port: int, encrypted: bool, caller: Caller | None, credentials: Sequence[Credential]
) -> Substituted | Refused:
    """Exchange the placeholders in the slots of one request to a canonical host and a port. Values come without outer white space."""
    slots = {_AUTHORIZATION}.union([credential.header.encode() for credential in credentials])
    fields = list(headers)
    names = [name.lower() for name, _ in fields]
    used = []
    for index, name in enumerate(names):
        if name not in slots:
            continue
        value = fields[index][1].decode("latin-1")
        readable = _readable(value)
        if not holds_placeholder(readable):
            continue
        held = [credential for credential in credentials if credential.placeholder in readable]
        if not held:
            return Refused(credential_name=None, reason="it is not of this sandbox, or no longer")
        slot = name.decode()
        if names.count(name) > 1:
            return Refused(credential_name=held[0].name, reason=f"it came with more than one {slot}")
        objections = [_objection(credential, slot, value, host, port, encrypted, caller) for credential in held]
        if all(objections):
            return Refused(credential_name=held[0].name, reason=objections[0])
        chosen = held[objections.index("")]
        fields[index] = fields[index][0], _filled(chosen)
        used.append(chosen)
    return Substituted(headers=tuple(fields), used=tuple(used))


def _readable(value: str) -> str:
    """A slot's value as the far end would read it: Basic hides user and password in base64 (RFC 7617), so they are shown beside it."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "basic":
        return value
    try:
        decoded = binascii.a2b_base64(rest.rstrip("=") + "==")  # servers accept it without the padding too
    except ValueError:
        return value
    return f"{value} {decoded.decode('latin-1')}"


def _objection(credential: Credential, slot: str, value: str, host: str, port: int, encrypted: bool, caller: Caller | None) -> str:
    """Why this credential may not fill this slot of this request; empty if nothing speaks against it."""
    if slot != credential.header:
        return f"it belongs in {credential.header}, not in {slot}"
    if not _is_bare(credential, value):
        return f"it does not stand alone in {slot}"
    if not any(endpoint.matches(host, port) for endpoint in credential.endpoints):
        return f"it is not for {host}, port {port}"
    if not encrypted:
        return "it is never sent unencrypted"
    if caller is None:
        return "the program that sent it could not be identified"
    if credential.binaries is not None and not any(caller.binary.same_file(binary) for binary in credential.binaries):
        return f"it is not for {caller.binary.path}"
    return ""


def _is_bare(credential: Credential, value: str) -> bool:
    """Whether the value is the placeholder and nothing else, after the scheme's word (case-insensitive, RFC 9110 section 11.1)."""
    if credential.scheme == "raw":
        return value == credential.placeholder
    word, _, token = value.partition(" ")
    return word.lower() == "bearer" and token.lstrip(" ") == credential.placeholder


def _filled(credential: Credential) -> bytes:
    secret = credential.secret.reveal().encode()
    return secret if credential.scheme == "raw" else b"Bearer " + secret
