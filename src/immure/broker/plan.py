"""From a command line to a sandbox: what will be shown, run, reached and exchanged, before anything is made.

Everything that can be wrong with a request is found here, so that a refused launch leaves nothing behind. Making a plan may take a
while (a login that is due is renewed first), so it runs in a thread.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from immure import channel
from immure.agents.codex.command import LoginCommand, login_command
from immure.broker import programs
from immure.broker.attachment import Attachment, Say, Surroundings, attach, codex_home_of, home
from immure.broker.login import Logins
from immure.broker.trust import Trust
from immure.config.policy_file import load_policy
from immure.config.settings import Settings, load_settings
from immure.errors import UsageError
from immure.model import Binary, Endpoint, Limits
from immure.model.limits import NAMES, read_limit
from immure.paths import Paths
from immure.policy import Rule
from immure.sandbox import Mount, environment, hidden, program, protected, system, workspace
from immure.sandbox.spec import Spec
from immure.sandbox.system import System
from immure.sandbox.workspace import Protection, StandIn

LAUNCHES = ("run", "codex", "sandbox")
"""The verbs of a launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the client sends. `options` as in cli/options.py; `terminal` is (rows, columns) if any stream is a terminal.

    `is_typed`: whether stdin is. `given` is the secret that a sign-in took from it.
    """

    verb: str
    options: Mapping[str, Any]
    command: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    terminal: tuple[int, int] | None
    is_typed: bool
    umask: int
    given: str | None = field(default=None, repr=False)

    @property
    def doing(self) -> LoginCommand | None:
        """What this does to the login of Codex, if that is what it is for."""
        return login_command(self.command) if self.verb == "codex" else None

    @classmethod
    def read(cls, message: channel.Message) -> "Request":
        return cls(
            verb=message["do"],
            options=message["options"],
            command=tuple(message["command"]),
            directory=message["directory"],
            environment=message["environment"],
            terminal=tuple(message["terminal"]) if message["terminal"] else None,
            is_typed=not message["streams"][0],
            umask=message["umask"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`spec` lacks only the files that hold the gate's certificate, which `system` makes. `needed` are mount points that must exist.

    `home` is the agent's home on the host. `rules` are the user's own; each attachment has its rules beside them.
    """

    spec: Spec
    needed: tuple[StandIn, ...]
    home: str
    limits: Limits
    system: System
    around: Surroundings
    rules: tuple[Rule, ...]
    attachments: tuple[Attachment, ...]


def make(request: Request, directory: str, paths: Paths, logins: Callable[[Settings, Say], Logins], say: Say) -> Plan:
    """Plan the sandbox whose own directory on the host is `directory`. Raises ImmureError."""
    settings = load_settings(paths.settings)
    host = system.inspect()
    options = request.options
    root = workspace.real_directory(os.path.join(request.directory, options["workspace"] or "."), "the workspace")
    shown = _shown(options, request.directory, root)
    for mount in shown:
        workspace.check_mount(mount.source, outside(paths, request.environment))
    protection = _protection(root, shown, (*settings.unprotect, *options["unprotect"]))
    secret = hidden.find([mount.source for mount in shown], (*settings.hide, *options["hide"]))
    limits = limits_of(options).over(settings.limits)
    variables = variables_of(options["env"], request.environment)
    around = surroundings(request, root, directory, paths, settings, logins, say)
    rules = rules_of(request, around)
    agent_home = home(directory)
    providers = dict.fromkeys([*options["provider"], *(["codex"] if request.verb == "codex" else [])])
    attachments = tuple(attach(name, around) for name in providers)
    command = request.command
    if request.verb == "codex":
        command = (attachments[-1].program.executable, *command)
    spec = Spec(
        command=command,
        environment=environment(
            request.environment,
            ca_bundle=host.bundles[0],
            path=[attachment.program.directory for attachment in attachments],
            extra=[*(attachment.variables for attachment in attachments), variables],
        ),
        directory=_directory(request.directory, root, shown),
        terminal=request.terminal is not None,
        is_typed=request.is_typed,
        system=host.mounts,
        links=host.links,
        mounts=(*shown, agent_home, *(mount for attachment in attachments for mount in attachment.mounts)),
        protected=protection.mounts,
        hidden=secret.files,
        closed=secret.directories,
    )
    program.check(spec)
    return Plan(
        spec=spec,
        needed=protection.needed,
        limits=limits,
        home=agent_home.source,
        system=host,
        around=around,
        rules=rules,
        attachments=attachments,
    )


def surroundings(
    request: Request,
    root: str,
    directory: str,
    paths: Paths,
    settings: Settings,
    logins: Callable[[Settings, Say], Logins],
    say: Say,
) -> Surroundings:
    """Where providers are attached to a sandbox that works in `root` and has `directory` on the host."""
    return Surroundings(
        environment=request.environment,
        workspace=root,
        paths=paths,
        settings=settings,
        trust=Trust(paths.trust),
        logins=lambda say: logins(settings, say),
        say=say,
        sandbox=os.path.basename(directory),
        doing=request.doing,
        given=request.given,
    )


def rules_of(request: Request, around: Surroundings) -> tuple[Rule, ...]:
    """The user's own rules: of the command line and of a policy file. Raises ImmureError."""
    rules = tuple(_allowed(request.options["allow"]))
    if request.options["policy"]:
        rules += load_policy(os.path.join(request.directory, request.options["policy"]), identify)
    return programs.trusted_rules(rules, around.trust, time.time(), around.say)


def identify(path: str) -> Binary:
    """The program file that a path of a rule names. Raises OSError."""
    real = os.path.realpath(path)
    status = os.stat(real)
    return Binary(real, status.st_dev, status.st_ino)


def _allowed(endpoints: Iterable[str]) -> Iterable[Rule]:
    for text in endpoints:
        try:
            endpoint = Endpoint.parse(text)
        except ValueError as error:
            raise UsageError(
                f"--allow {text}: {error}", code="usage.endpoint", hint="write HOST, HOST:PORT, *.HOST or [IPV6]:PORT"
            ) from None
        yield Rule(name=f"--allow {endpoint}", layer="command line", effect="allow", endpoint=endpoint, binaries=None)


def _protection(root: str, shown: Iterable[Mount], lifted: tuple[str, ...]) -> Protection:
    """That of the workspace, and of other directories that are shown writable."""
    for name in protected.unknown(lifted):
        known = ", ".join(sorted(protected.NAMES))
        raise UsageError(f"--unprotect {name} is the name of no protected path", code="usage.unprotect", hint=f"names: {known}")
    read_only = [mount.target for mount in shown if not mount.writable]
    writable = dict.fromkeys(mount.target for mount in shown if mount.writable and os.path.isdir(mount.target))
    each = [workspace.protection(path, lifted=lifted, read_only=read_only, complete=path == root) for path in writable]
    return Protection(
        mounts=tuple({mount.target: mount for one in each for mount in one.mounts}.values()),
        needed=tuple({stand_in.path: stand_in for one in each for stand_in in one.needed}.values()),
    )


def limits_of(options: Mapping[str, Any]) -> Limits:
    given = {}
    for name in NAMES:
        if options[name] is not None:
            try:
                given[name] = read_limit(name, options[name])
            except ValueError as error:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} {options[name]} is no limit", code="usage.limit", hint=f"{flag}: {error}") from None
    return Limits(**given)


def variables_of(settings: Iterable[str], caller: Mapping[str, str]) -> dict[str, str]:
    made = {}
    for text in settings:
        name, given, value = text.partition("=")
        if not name or (not given and name not in caller):
            raise UsageError(
                f"--env {text}: {name or 'the variable'} is not set in your environment", code="usage.env", hint=f"--env {name}=VALUE"
            )
        made[name] = value if given else caller[name]
    return made


def _shown(options: Mapping[str, Any], directory: str, root: str) -> tuple[Mount, ...]:
    """The workspace and what --rw and --ro name, each at its real path."""
    mounts = [Mount.same(root, writable=True)]
    for name, writable in (("rw", True), ("ro", False)):
        for path in options[name]:
            real = os.path.realpath(os.path.join(directory, path))
            if not os.path.exists(real):
                raise UsageError(f"--{name} {path} does not exist", code="workspace.missing", hint="name an existing path")
            mounts.append(Mount.same(real, writable=writable))
    return tuple(mounts)


def outside(paths: Paths, caller: Mapping[str, str]) -> tuple[str, ...]:
    """What no sandbox may be shown: our own directories, and the login of the user's own Codex."""
    return paths.config, paths.state, paths.runtime, codex_home_of(caller) + "/auth.json"


def _directory(caller: str, root: str, shown: Iterable[Mount]) -> str:
    """Where the program starts: where you are, if that is shown; else in the workspace."""
    here = os.path.realpath(caller)
    return here if any(here == mount.target or here.startswith(mount.target + "/") for mount in shown) else root
