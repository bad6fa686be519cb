"""A provider attached to one sandbox: whose login it is, the placeholders that stand for it, and what the agent's home holds.

The only provider so far is Codex. Another agent means another function beside `_codex` and a line in `_PROVIDERS`.
"""

import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from immure.agents import codex
from immure.agents.codex.agent_token import own_identity
from immure.agents.codex.command import LoginCommand, Way
from immure.agents.codex.config_file import FILE as CONFIG
from immure.broker.agent_endpoint import AgentEndpoint
from immure.broker.desk import Desk
from immure.broker.issuer import Issuer
from immure.broker.login import Logins
from immure.broker.programs import trusted
from immure.broker.token_endpoint import Held
from immure.broker.trust import Trust
from immure.config.settings import Settings
from immure.errors import UsageError
from immure.gate.grants import VirtualEndpoint
from immure.model import Binary
from immure.paths import Paths
from immure.policy import Rule
from immure.providers import Login, Profile, agent_identity, load_profile
from immure.rewrite import Credential, mint
from immure.rewrite.placeholder import MINIMUM_ENTROPY
from immure.sandbox import AGENT_HOME, Mount, Spec

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """`program` is the agent's; `variables` go into the environment.

    `login` is None, and there are no placeholders, as long as nobody has signed in.

    `files` are for the agent's home, and of these `settings` are the agent's own once they are there; `kept` are directories that must
    exist and stay. `agent` serves the login if it is an agent identity.
    """

    profile: Profile
    login: Login | None
    agent: AgentEndpoint | None = None
    placeholders: Mapping[str, str]
    binaries: tuple[Binary, ...]
    program: codex.Program
    variables: Mapping[str, str]
    mounts: tuple[Mount, ...]
    files: Mapping[str, bytes]
    settings: tuple[str, ...]
    kept: tuple[str, ...]
    switches: tuple[str, ...]

    def running_on(self, login: Login) -> "Attachment":
        """With another login to the same account behind the same placeholders."""
        return replace(self, login=login)

    @property
    def held(self) -> Held:
        return Held(login=self.login, placeholders=self.placeholders)

    def holding(self, held: Held) -> "Attachment":
        """With another login, or none, behind other placeholders."""
        return replace(self, login=held.login, placeholders=held.placeholders, agent=None)

    @property
    def shown_secret(self) -> str:
        """What Codex gets to read in place of a secret that was given on standard input."""
        assert self.login is not None
        return self.placeholders[self.login.kind] if self.agent is None else self.agent.token

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.profile.rules(self.login, self.binaries, self.switches)

    @property
    def credentials(self) -> tuple[Credential, ...]:
        if self.login is None:
            return ()
        login = self.login if self.agent is None else self.agent.signing(self.login)
        return self.profile.credentials(login, self.placeholders, self.binaries)

    @property
    def virtual(self) -> tuple[VirtualEndpoint, ...]:
        return tuple(
            VirtualEndpoint(rule=self.profile.virtual_rule(v, self.binaries), method=v.method, path=v.path, credential=self.profile.name)
            for v in self.profile.virtual_for(self.login, self.placeholders)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a provider is attached: to which sandbox, the caller's environment, the real path of the workspace.

    `logins(say)` opens the vault, which a sandbox without a provider does not need. For a sandbox that runs, `shown` is what it shows,
    and `program` the agent's program as it was found before, if it was. For one that is being made, `doing` is what the command line does
    to the login of the agent, if that is what it is for, and `given` the secret that it brought on its standard input.
    """

    environment: Mapping[str, str]
    workspace: str
    paths: Paths
    settings: Settings
    trust: Trust
    logins: Callable[[Say], Logins]
    say: Say
    sandbox: str
    shown: Spec | None = None
    program: codex.Program | None = None
    doing: LoginCommand | None = None
    given: str | None = field(default=None, repr=False)


def home(directory: str) -> Mount:
    """The agent's home of the sandbox with this `directory` on the host. Each has one, or no provider could be attached later."""
    return Mount(source=f"{directory}/agent-home", target=codex.environment(AGENT_HOME)["CODEX_HOME"], writable=True)


def attach(name: str, around: Surroundings) -> Attachment:
    """Attach a provider. Raises ImmureError: no such provider, no agent, no login, or one that cannot be renewed."""
    if name not in _PROVIDERS:
        raise UsageError(f"there is no provider {name!r}", code="provider.unknown", hint=f"providers: {', '.join(_PROVIDERS)}")
    return _PROVIDERS[name](around)


def _codex(around: Surroundings) -> Attachment:
    profile = load_profile("codex")
    program = around.program or codex.find_program(around.environment.get("PATH", ""), platform.machine())
    if around.shown is not None and around.shown.host_path(program.executable) != program.executable:
        raise UsageError(
            f"{program.executable} is not visible in that sandbox",
            code="provider.invisible",
            hint="start the sandbox with it: immure run --provider codex -- COMMAND",
        )
    binaries = trusted(program.binaries(profile.binaries), around.trust, time.time(), around.say)
    codex_home = codex_home_of(around.environment)
    login = _codex_login(around, codex_home)
    placeholders = profile.placeholders(login, secrets.token_bytes) if login is not None else {}
    agent = _agent(login, placeholders) if login is not None and login.kind == "agent_identity" else None
    if login is not None and agent is not None:
        agent.register(around.logins(around.say), login, sandbox=around.sandbox)
    signed_in = around.given is None  # else Codex writes its file itself, from what it is given
    staged = codex.stage(
        codex_home,
        secrets=login.secrets if login is not None else {},
        claims=login.claims if login is not None else {},
        placeholders=placeholders if signed_in else {},
        now=time.time(),
        agent_token=agent.token if agent is not None else None,
        telemetry=around.settings.telemetry,
    )
    if staged.left_out:
        around.say(f"immure: these settings of your config.toml hold secrets and stay outside: {', '.join(staged.left_out)}\n")
    inside = codex.environment(AGENT_HOME)
    # Transcripts stay for `codex resume`, and each workspace has its own: what was said in one project is not for the agent of another.
    project = sha256(os.fsencode(around.workspace)).hexdigest()[:32]
    sessions = f"{around.paths.state}/codex/sessions/{project}"
    return Attachment(
        profile=profile,
        login=login,
        agent=agent,
        placeholders=placeholders,
        binaries=tuple(binaries.values()),
        program=program,
        variables={**inside, **profile.environment(placeholders)},
        mounts=(
            *map(Mount.same, program.mounts),
            Mount(source=sessions, target=inside["CODEX_HOME"] + "/sessions", writable=True),
        ),
        files=staged.files,
        settings=(CONFIG,),
        kept=(sessions,),
        switches=("telemetry",) if around.settings.telemetry else (),
    )


def _codex_login(around: Surroundings, codex_home: str) -> Login | None:
    """The login to begin with; none for a command that is about to make one, and where none is needed."""

    def say(sentence: str) -> None:
        around.say(f"immure: {sentence}\n")

    logins = around.logins(around.say)
    verb = around.doing.verb if around.doing is not None else ""
    if around.doing is not None and around.given is not None:
        return _given_login(around, logins, around.doing.way, around.given, say)
    if verb == "login":
        return None
    if verb == "logout":
        say("`codex logout` ends the login in this sandbox; `immure logout` ends yours.")
    try:
        return logins.open(codex_home, say)
    except UsageError as error:
        if error.code not in ("login.missing", "login.ended") or not (verb or around.settings.sign_in_inside == "always"):
            raise
        if not verb:
            say(f"{error.what}. Codex starts signed out.")
        return None


def _given_login(around: Surroundings, logins: Logins, way: Way | None, text: str, say: Say) -> Login:
    desk = Desk(Issuer(around.settings.upstreams), say)
    lineage = desk.by_api_key(text) if way == "api_key" else desk.by_access_token(text)
    name = logins.sign_in(lineage, sandbox=around.sandbox)
    for sentence in logins.announcement(name, codex_home_of(around.environment)):
        say(sentence)
    return lineage.login(name)


def _agent(login: Login, placeholders: Mapping[str, str]) -> AgentEndpoint:
    """What serves an agent identity in one sandbox."""
    real = agent_identity.read(login.secrets["agent_identity"].reveal())
    runtime_id = placeholders["agent_identity"]
    own = own_identity(real, runtime_id=runtime_id, account_id=placeholders["account_id"], now=time.time())
    return AgentEndpoint(own, runtime_id=runtime_id, task_id=mint("agent_task", secrets.token_bytes(MINIMUM_ENTROPY)))


def codex_home_of(environment: Mapping[str, str]) -> str:
    """Where the user's own Codex keeps its login."""
    return environment.get("CODEX_HOME") or environment.get("HOME", "/") + "/.codex"


_PROVIDERS = {"codex": _codex}
