"""Outward: a placeholder in a declared slot becomes the real secret, or the request is refused.

Places that servers read a credential from are looked into: Authorization, Cookie, Proxy-Authorization, every field that a credential
declares, the path and the query; and of bodies the declared fields at declared endpoints. In one of them a placeholder of ours is either
exchanged, because everything about it fits, or the reason for refusing the whole request. Everywhere else (other fields, other bodies)
it is inert text and passes byte for byte, so that a prompt or a diff that quotes one blocks nothing.

On an endpoint that a credential of ours is bound to, Authorization and the slots of that endpoint are for placeholders alone: whatever
else stands there the agent brought along, to act as someone else. A credential may allow that.

*Trust:* the agent wrote every byte of the request; host and port are those that the connection was made to, not what a field says.
*Fails:* closed, with `Refused`: a placeholder that is unknown, old, of another sandbox, or one word out of place goes nowhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from immure.model import Caller
from immure.model.path import canonical_path
from immure.rewrite.assertion import Signatory, answered, is_assertion
from immure.rewrite.content import exchange_field, forms_of
from immure.rewrite.credential import Credential
from immure.rewrite.placeholder import holds_placeholder
from immure.rewrite.refused import Refused
from immure.rewrite.slot import AssertionSlot, FieldSlot, HeaderSlot, PathSlot, QuerySlot, Slot, revealed
from immure.rewrite.target import exchange_after, exchange_parameter, mentions_placeholder, unescaped

Headers = Sequence[tuple[bytes, bytes]]
Echoes = tuple[tuple[bytes, bytes], ...]
"""As pairs: secret and placeholder."""
_Candidates = list[tuple[Credential, list[Slot], str]]

_AUTHORIZATION = b"authorization"
_COOKIE = b"cookie"
_OF_CONTENT = frozenset([b"content-digest", b"content-md5", b"digest", b"repr-digest"])
"""Fields about the very bytes of a body (RFC 9530): not true any more when one of them has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Substituted:
    """What to send, and the credentials whose secrets are now in it. Forward this target and these fields and no others.

    `echoes` are what an answer may repeat of this request alone, each with what stands for it inside.
    """

    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    used: tuple[Credential, ...]
    echoes: Echoes = ()


class Slots:
    """What may be exchanged in the requests of one connection, and what may not be in them."""

    __slots__ = ("_by_path", "_clock", "_credentials", "_fields", "_in_bodies", "_in_target", "_reserved")

    def __init__(
        self,
        credentials: Sequence[Credential],
        *,
        host: str,
        port: int,
        encrypted: bool,
        caller: Caller | None,
        clock: Callable[[], str] = lambda: "",
    ) -> None:
        """`host` is canonical. `clock` gives the time as it stands in an assertion; without, none is good."""
        self._clock = clock
        self._credentials = tuple(
            (credential, credential.binding.connection_objection(host, port, encrypted=encrypted, caller=caller))
            for credential in credentials
        )
        bound = [credential for credential in credentials if credential.binding.is_for(host, port)]
        self._by_path = any(credential.binding.paths is not None for credential in bound)
        self._in_target = {slot: c.name for c in bound for slot in c.slots if isinstance(slot, QuerySlot | PathSlot)}
        self._in_bodies = tuple((slot, c) for c in bound for slot in c.slots if isinstance(slot, FieldSlot))
        declared = {slot.header.encode() for c in credentials for slot in c.slots if isinstance(slot, HeaderSlot)}
        self._fields = {name: self._candidates(name.decode()) for name in {_AUTHORIZATION, _COOKIE, *declared}}
        # Places in which nothing but a placeholder may stand here, each with the name of the credential that it is for.
        strict = [credential for credential in bound if credential.foreign == "refuse"]
        own = [(slot.position, credential.name) for credential in strict for slot in credential.slots]
        anyway = [(_AUTHORIZATION.decode(), credential.name) for credential in strict]
        self._reserved = dict(reversed([*own, *anyway]))

    def _candidates(self, position: str) -> _Candidates:
        """All credentials for a place, each with its slots there, which may be none, and what speaks against it on this connection."""
        return [(c, [slot for slot in c.slots if slot.position == position], objection) for c, objection in self._credentials]

    def substitute(self, method: str, target: bytes, headers: Headers, *, proxy_authorization: bytes = b"") -> Substituted:
        """Exchange what stands in the target and fields of one request. Values come without outer white space. Raises Refused."""
        request = _Request(method, self._path(target), self._clock)
        if holds_placeholder(shown := _legible(proxy_authorization.decode("latin-1"))):
            request.exchange(shown, shown, "proxy-authorization", self._candidates("proxy-authorization"))
        fields = self._exchange_fields(request, headers)
        if self._in_target or mentions_placeholder(target):
            target = self._exchange_target(request, target)
        elif request.used and request.path is not None:
            target = b"".join((request.path.encode(), *target.partition(b"?")[1:]))
        return Substituted(target=target, headers=fields, used=tuple(request.used.values()), echoes=request.echoes)

    def may_repeat(self, used: Sequence[Credential], method: str, target: bytes) -> bool:
        """Whether a request with the fields of one that these were used for is sure to get them again, and its target to stay."""
        if self._in_target or mentions_placeholder(target):
            return False
        if not used:
            return True
        if any(credential.is_signed for credential in used):
            return False
        path = self._path(target)
        if path is not None and path != target.partition(b"?")[0].decode("latin-1"):
            return False
        return not any(credential.binding.request_objection(method, path) for credential in used)

    def _path(self, target: bytes) -> str | None:
        """The canonical path, if there is one and anything here asks for it."""
        if self._by_path or self._in_target:
            try:
                return canonical_path(target.partition(b"?")[0].decode("latin-1"))
            except ValueError:
                pass  # it fits nothing that asks for a path
        return None

    def _exchange_fields(self, request: "_Request", headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
        fields = list(headers)
        names = [name.lower() for name, _ in fields]
        for index, name in enumerate(names):
            candidates = self._fields.get(name)
            if candidates is None:
                continue
            position = name.decode()
            value = fields[index][1].decode("latin-1")
            if not holds_placeholder(shown := _legible(value)):
                self._refuse_foreign(position, value)
                continue
            if names.count(name) > 1:
                held = next((credential.name for credential, _ in self._credentials if credential.placeholder in shown), None)
                raise Refused(held, f"it came with more than one {position}")
            filled = request.exchange(value, shown, position, candidates)
            fields[index] = fields[index][0], filled.encode("latin-1")
        return tuple(fields)

    def _exchange_target(self, request: "_Request", target: bytes) -> bytes:
        path, mark, query = target.decode("latin-1").partition("?")
        path = request.path or path
        rest_of_path, rest_of_query = self._exchange_places(path, query, lambda _slot, _value: "")
        for part, rest in (("path", rest_of_path), ("query", rest_of_query)):
            if mentions_placeholder(rest.encode("latin-1")):
                shown = unescaped(rest)
                request.exchange(shown, shown, f"the {part}", self._candidates(f"the {part}"))
        path, query = self._exchange_places(path, query, partial(self._exchange_place, request))
        if request.used or mentions_placeholder(target):  # in a segment that the canonical path has lost, with nothing left to refuse
            return f"{path}{mark}{query}".encode("latin-1")
        return target

    def _exchange_places(self, path: str, query: str, exchange: Callable[[Slot, str], str]) -> tuple[str, str]:
        for slot, owner in self._in_target.items():
            if isinstance(slot, PathSlot):
                path = exchange_after(path, slot.before, partial(exchange, slot))
            else:
                try:
                    query = exchange_parameter(query, slot.parameter, partial(exchange, slot))
                except ValueError as error:
                    raise Refused(owner, f"in the query {error}", "unreadable slot") from None
        return path, query

    def _exchange_place(self, request: "_Request", slot: Slot, value: str) -> str:
        if holds_placeholder(shown := _legible(value)):
            return request.exchange(value, shown, slot.position, self._candidates(slot.position))
        self._refuse_foreign(slot.position, value)
        return value

    def _refuse_foreign(self, position: str, value: str) -> None:
        if value and (owner := self._reserved.get(position)):
            raise Refused(owner, f"{position} is there for credential {owner!r} alone", "foreign credential")

    # Bodies

    def in_body(self, method: str, target: bytes, headers: Headers) -> tuple[tuple[FieldSlot, Credential], ...]:
        """The slots in the body of such a request. If there are any, it must be taken whole, for `substitute_body`. Raises Refused."""
        if not self._in_bodies:
            return ()
        path = self._path(target)
        forms = forms_of(headers)
        found = {slot: c for slot, c in self._in_bodies if slot.form in forms and not c.binding.request_objection(method, path)}
        for slot, owner in found.items():
            if coding := next((v for n, v in headers if n.lower() == b"content-encoding" and v.lower() not in (b"", b"identity")), b""):
                raise _unreadable(slot, owner, f"the body is encoded as {coding.decode('latin-1')}")
        return tuple(found.items())

    def substitute_body(
        self, head: Substituted, slots: Sequence[tuple[FieldSlot, Credential]], method: str, target: bytes, body: bytes
    ) -> tuple[Substituted, bytes]:
        """Exchange what stands in these slots of a whole body. `target` is that of the client. Raises Refused."""
        request = _Request(method, self._path(target), self._clock)
        sent = body
        for slot, owner in slots:
            try:
                sent = exchange_field(sent, slot.form, slot.field, partial(self._exchange_place, request, slot))
            except ValueError as error:
                raise _unreadable(slot, owner, str(error)) from None
        if not request.used:
            return head, body
        headers = tuple(field for field in head.headers if field[0].lower() not in _OF_CONTENT)
        return replace(head, headers=headers, used=tuple(({c.name: c for c in head.used} | request.used).values())), sent


class _Request:
    """One request: what credentials are judged by, and which of them have gone into it."""

    __slots__ = ("_clock", "_method", "echoes", "path", "used")

    def __init__(self, method: str, path: str | None, clock: Callable[[], str]) -> None:
        """`path` is canonical, or None."""
        self._clock = clock
        self._method = method
        self.path = path
        self.used: dict[str, Credential] = {}
        self.echoes: Echoes = ()

    def exchange(self, value: str, shown: str, position: str, candidates: _Candidates) -> str:
        """The value with its placeholders exchanged. Raises Refused unless all can be. `shown` is all that can be read in it."""
        refused = None
        for credential, slots, objection in candidates:
            placeholder = credential.placeholder
            if placeholder not in shown:
                continue
            filled = None
            for slot in slots:
                filled = filled or self._filled(slot, value, credential)
            if not slots:
                why = f"it belongs in {credential.places}, not in {position}"
            elif filled is None:
                why = f"it does not stand alone in {position}"
            else:
                why = objection or credential.binding.request_objection(self._method, self.path)
            if why or filled is None:
                refused = refused or Refused(credential.name, why)
            else:
                value = filled
                shown = "" if credential.is_signed else shown.replace(placeholder, " ")
                self.used[credential.name] = credential
        if holds_placeholder(shown):
            raise refused or Refused(None, "it is not of this sandbox, or no longer", shown=shown)
        return value

    def _filled(self, slot: Slot, value: str, credential: Credential) -> str | None:
        if not isinstance(slot, AssertionSlot):
            return slot.filled(value, credential.placeholder, credential.secret.reveal())
        if not is_assertion(value):
            return None
        try:
            signed = answered(value, credential.placeholder, Signatory.of(credential.secret), self._clock())
        except ValueError as error:
            raise Refused(credential.name, str(error)) from None
        self.echoes = signed.echoes
        return signed.value


def _legible(value: str) -> str:
    """A value with all that can be read in it: what Basic hides in base64, and what percent escapes stand for."""
    shown = revealed(value)
    return f"{shown} {unescaped(shown)}" if "%" in shown else shown


def _unreadable(slot: FieldSlot, owner: Credential, why: str) -> Refused:
    return Refused(owner.name, f"{slot.position} is a slot and cannot be read: {why}", "unreadable slot")
