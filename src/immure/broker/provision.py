"""What one sandbox is provided with from its start to its end: providers, their logins as they are now, and the gate that goes by both.

Rule: a change is made when the gate has said that it goes by it, and no sooner reported.

*Fails:* closed: a gate that does not answer must not go on with what was taken back, so its sandbox is ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from immure import channel
from immure.broker import agent_home, login_name, programs, renewal, token_endpoint
from immure.broker.attachment import Attachment, Say, attach
from immure.broker.attachments import Attachments
from immure.broker.gate_line import Answer, GateLine
from immure.broker.login import Logins
from immure.broker.login_failure import LoginEnded
from immure.broker.plan import Plan, Request
from immure.broker.sign_ins import SignIns
from immure.broker.token_endpoint import Held
from immure.errors import Fault, ImmureError
from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.providers import Login

if TYPE_CHECKING:
    from immure.broker.house import House

_PATIENCE: Final = 15.0
"""For what takes milliseconds."""


class Provision:
    """Of the sandbox with this id. `say` is for its user, `end` ends it; `patience` is what a gate may take, in seconds."""

    def __init__(self, house: "House", sandbox: str, say: Say, end: Callable[[ImmureError], None], *, patience: float = _PATIENCE) -> None:
        self.attachments = Attachments(sandbox)
        self._house = house
        self._sandbox = sandbox
        self._say = say
        self._end = end
        self._patience = patience
        self._plan: Plan | None = None
        self._sign_ins: SignIns | None = None
        self._gate: GateLine | None = None
        self._revising = asyncio.Lock()

    def prepare(self, plan: Plan, request: Request) -> None:
        """Get ready for a sign-in, typed or to come. Raises UsageError: the port that a browser should come back to is taken."""
        launcher = self._house.launcher
        self._sign_ins = SignIns(self._sandbox, plan.around.settings, self._logins, self._tell, lambda: launcher.open_socket(self._sandbox))
        self._sign_ins.begin(request, plan.attachments)

    def begin(self, plan: Plan) -> None:
        """Fill the agent's home, as planned."""
        self._plan = plan
        agent_home.make(plan.home)
        for attachment in plan.attachments:
            self.attachments.add(attachment)
            agent_home.fill(plan.home, attachment.files)

    def input(self, stdin: int | None) -> int | None:
        """What the program gets for standard input."""
        return stdin if self._sign_ins is None else self._sign_ins.input(stdin)

    def serve(self, gate: GateLine, trail: int, sockets: Sequence[int]) -> None:
        """Have the gate serve by what there is."""
        brief = Brief(sandbox=self._sandbox, grants=self._grants(), upstreams=self._planned.around.settings.upstreams)
        gate.serve(brief, trail, sockets)
        self._gate = gate

    async def attach(self, provider: str, environment: Mapping[str, str], say: Say) -> None:
        """Attach a provider to the sandbox that runs, with new placeholders. Raises ImmureError."""
        self.attachments.may_add(provider)
        plan, last = self._planned, self.attachments.last(provider)
        program = None if last is None else last.program
        around = replace(plan.around, environment=environment, say=say, shown=plan.spec, program=program, doing=None, given=None)
        attachment = await asyncio.to_thread(attach, provider, around)
        self.attachments.may_add(provider)
        agent_home.fill(plan.home, attachment.files, keep=attachment.settings)
        self.attachments.add(attachment)
        await self._grant()
        self._logins().report(attachment.held.name, "attached", sandbox=self._sandbox)
        await self.revise()  # its login may have changed meanwhile

    async def detach(self, provider: str) -> None:
        """Raises UsageError if it is not attached."""
        attachment = self.attachments.remove(provider)
        await self._grant()
        self._logins().report(attachment.held.name, "detached", sandbox=self._sandbox)

    def approve(self, *, browser: bool) -> None:
        """The user lets something inside sign in, once. Raises UsageError."""
        if self._sign_ins is not None:
            self._sign_ins.approve(self.attachments, browser=browser)

    def deny(self) -> None:
        """The user lets nothing inside sign in."""
        if self._sign_ins is not None:
            self._sign_ins.deny()

    async def revise(self) -> None:
        """Take the logins as the vault has them now. Raises HostError (vault)."""
        async with self._revising:  # or what was read first could be put in force last
            changed = False
            for attachment in self.attachments:
                if attachment.login is not None:
                    changed |= self.attachments.update(attachment, await asyncio.to_thread(self._present, attachment.login))
            if changed:
                await self._grant()

    async def trust_again(self) -> None:
        """Take the programs that are named as the user trusts them now. Raises HostError (trust)."""
        if self._plan is None:
            return  # the plan will ask for itself
        async with self._revising:
            named = programs.named(self._plan.rules) | self.attachments.programs
            current = await asyncio.to_thread(self._plan.around.trust.current, named) if named else {}
            rules = programs.trusted_rules_again(self._plan.rules, current)
            if self.attachments.trust_again(current) or rules != self._plan.rules:
                self._plan = replace(self._plan, rules=rules)
                await self._grant()

    async def keep_fresh(self) -> None:
        """Renew what is due of its logins, and see what is trusted now, should nobody have told."""
        for attachment in self.attachments:
            if attachment.login is None:
                continue
            login = await asyncio.to_thread(renewal.kept, self._logins(), attachment.login, self._sandbox)
            if login.secrets != attachment.login.secrets:
                await self._house.revise()
        await self.trust_again()

    async def answer(self, call: channel.Message) -> Answer:
        """A virtual endpoint was asked. The gate has the new secrets before the agent learns that there are any."""
        attachment = self.attachments.get(call["credential"])
        if attachment is None or self._sign_ins is None:
            return token_endpoint.GONE
        request = {"method": call["method"], "path": call["path"], "body": call["body"].encode()}
        answer = await self._sign_ins.answer(attachment, **request)
        if answer is None:
            agent = attachment.agent
            serve = agent.answer if agent is not None and agent.serves(call["path"]) else token_endpoint.answer
            answer = await asyncio.to_thread(serve, self._logins(), attachment.held, **request, sandbox=self._sandbox)
        if answer.granted:
            await self._grant()
        await self._hold(attachment, answer.held)
        return answer.status, answer.headers, answer.body

    async def _hold(self, before: Attachment, now: Held) -> None:
        """Put into force what the sandbox has of a login from now on."""
        if self.attachments.hold(before, now):
            await self._grant()
            if now.login is not None:
                self._tell(f"{self._sandbox} has signed in: {login_name.described(now.login.name)}.")
        if now.login is not None and now.login is not before.login:
            await self._house.revise()

    def close(self) -> None:
        if self._sign_ins is not None:
            self._sign_ins.close()

    @property
    def _planned(self) -> Plan:
        assert self._plan is not None
        return self._plan

    def _tell(self, sentence: str) -> None:
        self._say(f"immure: {sentence}\n")

    def _logins(self) -> Logins:
        return self._planned.around.logins(self._say)

    def _present(self, login: Login) -> Login | LoginEnded:
        try:
            return self._logins().present(login)
        except LoginEnded as failure:
            return failure

    def _grants(self) -> Grants:
        return self.attachments.grants(self._planned.rules)

    async def _grant(self) -> None:
        """Have the gate, if it serves already, go by what there is now."""
        if self._gate is None:
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._gate.grant(self._grants())
        except TimeoutError:
            hint = "run the command again; if it happens twice, please report it"
            self._end(Fault("the gate of this sandbox does not answer, and the sandbox was ended", code="gate.late", hint=hint))
        except Fault:
            pass  # it has died, which ends the sandbox
