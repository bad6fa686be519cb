"""A provider attached to one sandbox: whose login it is, the placeholders that stand for it, and what the agent's home holds.

The only provider so far is Codex. Another agent means another function beside `_codex` and a line in `_PROVIDERS`.
"""

import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from immure.agents import codex
from immure.broker.login import Logins
from immure.config.settings import Settings
from immure.errors import UsageError
from immure.gate.grants import VirtualEndpoint
from immure.model import Binary
from immure.paths import Paths
from immure.policy import Rule
from immure.providers import Login, Profile, load_profile
from immure.rewrite import Credential
from immure.sandbox import AGENT_HOME, Mount

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """`executable` is the agent's program, `path` its directory on the PATH inside; `variables` go into the environment.

    `home` is a directory to be made for this sandbox with `files` in it (mode 0600) and removed with it; `kept` are directories that
    must exist and stay.
    """

    profile: Profile
    login: Login
    placeholders: Mapping[str, str]
    binaries: tuple[Binary, ...]
    executable: str
    path: str
    variables: Mapping[str, str]
    mounts: tuple[Mount, ...]
    home: str
    files: Mapping[str, bytes]
    kept: tuple[str, ...]
    switches: tuple[str, ...]

    def runs_on(self, login: Login) -> bool:
        """Whether this is a later state of the attached login, rather than another account that has taken its place on the host."""
        mine = self.login
        return (mine.name, mine.kind, mine.account_id) == (login.name, login.kind, login.account_id)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self.profile.rules(self.login, self.binaries, self.switches)

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return self.profile.credentials(self.login, self.placeholders, self.binaries)

    @property
    def virtual(self) -> tuple[VirtualEndpoint, ...]:
        return tuple(
            VirtualEndpoint(rule=self.profile.virtual_rule(v, self.binaries), method=v.method, path=v.path, credential=self.profile.name)
            for v in self.profile.virtual
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a provider is attached: the caller's environment, the real path of the workspace, the sandbox's own directory on the host.

    `logins(say)` opens the vault, which a sandbox without a provider does not need.
    """

    environment: Mapping[str, str]
    workspace: str
    directory: str
    paths: Paths
    settings: Settings
    logins: Callable[[Say], Logins]
    say: Say


def attach(name: str, around: Surroundings) -> Attachment:
    """Attach a provider. Raises ImmureError: no such provider, no agent, no login, or one that cannot be renewed."""
    if name not in _PROVIDERS:
        raise UsageError(f"there is no provider {name!r}", code="provider.unknown", hint=f"providers: {', '.join(_PROVIDERS)}")
    return _PROVIDERS[name](around)


def _codex(around: Surroundings) -> Attachment:
    profile = load_profile("codex")
    program = codex.find_program(around.environment.get("PATH", ""), platform.machine())
    codex_home = codex_home_of(around.environment)
    login = around.logins(around.say).open(codex_home, lambda sentence: around.say(f"immure: {sentence}\n"))
    placeholders = profile.placeholders(login, secrets.token_bytes)
    staged = codex.stage(
        codex_home,
        secrets=login.secrets,
        claims=login.claims,
        placeholders=placeholders,
        now=time.time(),
        telemetry=around.settings.telemetry,
    )
    if staged.left_out:
        around.say(f"immure: these settings of your config.toml hold secrets and stay outside: {', '.join(staged.left_out)}\n")
    inside = codex.environment(AGENT_HOME)
    # Transcripts stay for `codex resume`, and each workspace has its own: what was said in one project is not for the agent of another.
    project = sha256(os.fsencode(around.workspace)).hexdigest()[:32]
    home, sessions = f"{around.directory}/codex-home", f"{around.paths.state}/codex/sessions/{project}"
    return Attachment(
        profile=profile,
        login=login,
        placeholders=placeholders,
        binaries=program.binaries(profile.binaries),
        executable=program.executable,
        path=program.directory,
        variables={**inside, **profile.environment(placeholders)},
        mounts=(
            *map(Mount.same, program.mounts),
            Mount(source=home, target=inside["CODEX_HOME"], writable=True),
            Mount(source=sessions, target=inside["CODEX_HOME"] + "/sessions", writable=True),
        ),
        home=home,
        files=staged.files,
        kept=(sessions,),
        switches=("telemetry",) if around.settings.telemetry else (),
    )


def codex_home_of(environment: Mapping[str, str]) -> str:
    """Where the user's own Codex keeps its login."""
    return environment.get("CODEX_HOME") or environment.get("HOME", "/") + "/.codex"


_PROVIDERS = {"codex": _codex}
