"""The providers of one sandbox, what of them holds now, and what is granted by it.

A provider that was detached, or whose login is gone, is remembered: what the agent still holds of it is refused with the reason, and
a login that comes back serves the same placeholders.

Rules: values only; whoever changes something here tells the gate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from immure.broker import login_name
from immure.broker.attachment import Attachment
from immure.broker.login_failure import LoginEnded
from immure.broker.programs import trusted_again
from immure.broker.token_endpoint import Held
from immure.errors import UsageError
from immure.gate.grants import Grants, Withdrawal
from immure.model import Binary
from immure.policy import Rule
from immure.providers import Login


class Attachments:
    """Those of the sandbox with this id; by the name of the provider, of which there is one attachment at a time."""

    def __init__(self, sandbox: str) -> None:
        self._sandbox = sandbox
        self._attached: dict[str, Attachment] = {}
        self._lost: dict[str, LoginEnded] = {}
        self._former: dict[str, Attachment] = {}

    def __iter__(self) -> Iterator[Attachment]:
        return iter(tuple(self._attached.values()))

    @property
    def states(self) -> dict[str, str]:
        """By provider: `ready`, or what became of its login (`removed`, `replaced`, or `signed out` inside)."""
        return {provider: self._state(attachment) for provider, attachment in self._attached.items()}

    def get(self, provider: str) -> Attachment | None:
        return self._attached.get(provider)

    def last(self, provider: str) -> Attachment | None:
        """The attachment of a provider, or the one that it had before."""
        return self._attached.get(provider) or self._former.get(provider)

    def may_add(self, provider: str) -> None:
        """Raises UsageError if there is an attachment that works."""
        if self.states.get(provider) == "ready":
            raise UsageError(
                f"{provider} is attached to {self._sandbox} already",
                code="provider.attached",
                hint=f"for new placeholders, detach it first: immure detach {provider} {self._sandbox}",
            )

    def add(self, attachment: Attachment) -> None:
        """In the place of one whose login is gone, if there is one."""
        provider = attachment.profile.name
        if provider in self._attached:
            self._former[provider] = self._attached[provider]
        self._lost.pop(provider, None)
        self._attached[provider] = attachment

    def remove(self, provider: str) -> Attachment:
        """Raises UsageError if it is not attached."""
        if provider not in self._attached:
            attached = ", ".join(self._attached) or "nothing"
            raise UsageError(f"{provider} is not attached to {self._sandbox}", code="provider.detached", hint=f"attached there: {attached}")
        self._lost.pop(provider, None)
        removed = self._former[provider] = self._attached.pop(provider)
        return removed

    def update(self, attachment: Attachment, now: Login | LoginEnded) -> bool:
        """What has become of the login of an attachment; whether that changes anything. One that was detached meanwhile stays so."""
        provider = attachment.profile.name
        if self._attached.get(provider) is not attachment:
            return False
        lost = self._lost.pop(provider, None)
        if isinstance(now, LoginEnded):
            self._lost[provider] = now
            return lost is None or lost.cause != now.cause
        self._attached[provider] = attachment.running_on(now)
        return lost is not None or attachment.login is None or now.secrets != attachment.login.secrets

    def hold(self, attachment: Attachment, now: Held) -> bool:
        """The agent has signed in or out; whether that changes anything. One that was detached or attached anew meanwhile stays so."""
        provider = attachment.profile.name
        present = self._attached.get(provider)
        if present is None or present.placeholders is not attachment.placeholders or now.placeholders is attachment.placeholders:
            return False
        if present.placeholders:
            self._former[provider] = present
        self._lost.pop(provider, None)
        self._attached[provider] = present.holding(now)
        return True

    @property
    def programs(self) -> set[str]:
        """The paths of the programs that they are for."""
        return {binary.path for attachment in self for binary in attachment.binaries}

    def trust_again(self, current: Mapping[str, Binary]) -> bool:
        """Take programs as they are trusted now, by their paths; whether that changes anything."""
        changed = False
        for attachment in self:
            binaries = trusted_again(attachment.binaries, current)
            if binaries != attachment.binaries:
                self._attached[attachment.profile.name] = replace(attachment, binaries=binaries)
                changed = True
        return changed

    def grants(self, rules: tuple[Rule, ...]) -> Grants:
        """What the gate is to go by: the user's own `rules`, and what is attached."""
        attached = self._attached.items()
        return Grants(
            rules=(*rules, *(rule for _, attachment in attached for rule in attachment.rules)),
            credentials=tuple(c for provider, attachment in attached if provider not in self._lost for c in attachment.credentials),
            virtual=tuple(virtual for _, attachment in attached for virtual in attachment.virtual),
            withdrawn=(*map(self._former_withdrawal, self._former), *map(self._lost_withdrawal, self._lost)),
        )

    def _former_withdrawal(self, provider: str) -> Withdrawal:
        former = self._former[provider]
        present = self._attached.get(provider)
        if present is not None and present.login is None:
            return Withdrawal(
                placeholders=tuple(former.placeholders.values()),
                rules=former.rules,
                reason="the agent has signed out in this sandbox",
                hint=f"sign in inside, or on the host: {self._attach(provider)}",
            )
        if present is not None:
            return Withdrawal(
                placeholders=tuple(former.placeholders.values()),
                rules=(),
                reason=f"the provider {provider!r} has been attached to this sandbox, or signed in to, anew, with other placeholders",
                hint="start the agent again, so that it reads them",
            )
        return Withdrawal(
            placeholders=tuple(former.placeholders.values()),
            rules=(*former.rules, *(virtual.rule for virtual in former.virtual)),
            reason=f"the provider {provider!r} was detached from this sandbox",
            hint=self._attach(provider),
        )

    def _lost_withdrawal(self, provider: str) -> Withdrawal:
        attachment, failure = self._attached[provider], self._lost[provider]
        login = attachment.login
        mend = self._attach(provider) if failure.cause == "replaced" or login is None else login_name.command(login.kind)
        return Withdrawal(placeholders=tuple(attachment.placeholders.values()), rules=(), reason=failure.what, hint=f"on the host: {mend}")

    def _state(self, attachment: Attachment) -> str:
        lost = self._lost.get(attachment.profile.name)
        if lost is not None:
            return lost.cause
        return "ready" if attachment.login is not None else "signed out"

    def _attach(self, provider: str) -> str:
        return f"immure attach {provider} {self._sandbox}"
