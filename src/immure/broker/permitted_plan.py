"""The plan of `immure sandbox`: walls as a permission profile of Codex describes them, to try them out.

What is shown comes from the profile instead of from -w, --ro and --rw. The rest is as for any sandbox: with a network, whoever connects
meets the gate and its rules; without one, nothing is connected to at all.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from immure.agents.codex import config_layers
from immure.agents.codex.permissions import Place, resolve
from immure.broker import plan as planning
from immure.broker.attachment import Say, codex_home_of, home
from immure.broker.login import Logins
from immure.broker.plan import Plan, Request
from immure.config.settings import Settings, load_settings
from immure.errors import UsageError
from immure.launcher import seccomp
from immure.model.permissions import Permissions
from immure.paths import Paths
from immure.sandbox import environment, program, system, workspace
from immure.sandbox.permitted import permit
from immure.sandbox.spec import Spec

VERB: Final = "sandbox"
_NOT_OURS: Final = ("workspace", "ro", "rw", "hide", "provider")
"""Options of a launch that say what the profile says."""


def make(request: Request, directory: str, paths: Paths, logins: Callable[[Settings, Say], Logins], say: Say) -> Plan:
    """Plan the sandbox whose own directory on the host is `directory`. Raises ImmureError."""
    options = request.options
    _refuse(options)
    settings = load_settings(paths.settings)
    host = system.inspect()
    caller = request.environment
    where = workspace.real_directory(os.path.join(request.directory, options["cd"] or "."), "the working directory")
    user_home = caller.get("HOME", "")
    permissions = _permissions(options, where, user_home, caller)
    shown = permit(
        permissions,
        host,
        own=[path for path in (user_home, where) if path.startswith("/")],
        secrets=tuple(_secrets(paths, caller)),
        lifted=(*settings.unprotect, *options["unprotect"]),
        sockets=_sockets(options, request.directory, permissions),
    )
    spec = Spec(
        command=request.command,
        environment=environment(
            caller,
            ca_bundle=host.bundles[0],
            extra=[_environment(caller, permissions), planning.variables_of(options["env"], caller)],
        ),
        directory=where,
        terminal=request.terminal is not None,
        is_typed=request.is_typed,
        base=shown.base,
        system=shown.system,
        links=shown.links,
        mounts=shown.mounts,
        protected=shown.protection.mounts,
        hidden=shown.hidden,
        closed=shown.closed,
        emptied=shown.emptied,
        sealed=shown.sealed,
        program=b"" if permissions.network else seccomp.without_network(),
    )
    if spec.host_path(where) is None:
        raise UsageError(
            f"the working directory {where} is not shown by this permission profile",
            code="codex.permissions",
            hint='give it ":workspace_roots" = "read", or choose another directory with -C',
        )
    program.check(spec)
    around = planning.surroundings(request, where, directory, paths, settings, logins, say)
    return Plan(
        spec=spec,
        needed=shown.protection.needed,
        home=home(directory).source,
        limits=planning.limits_of(options).over(settings.limits),
        system=host,
        around=around,
        rules=planning.rules_of(request, around),
        attachments=(),
    )


def _refuse(options: Mapping[str, Any]) -> None:
    for name in _NOT_OURS:
        if options[name]:
            flag = f"--{name}"
            raise UsageError(
                f"{flag} says what the permission profile says", code="usage.sandbox", hint=f"leave out {flag}, or use: immure run"
            )


def _permissions(options: Mapping[str, Any], where: str, user_home: str, caller: Mapping[str, str]) -> Permissions:
    profile = options["permission_profile"]
    layers = config_layers.layers(codex_home_of(caller), options["config"], where)
    must = config_layers.requirements() if profile is None or options["include_managed_config"] else None
    return resolve(layers, profile, Place(directory=where, home=user_home, tmpdir=caller.get("TMPDIR", "")), must)


def _secrets(paths: Paths, caller: Mapping[str, str]) -> Iterable[str]:
    *own, login = planning.outside(paths, caller)
    yield from (path for path in own if os.path.isdir(path))
    yield login


def _sockets(options: Mapping[str, Any], directory: str, permissions: Permissions) -> tuple[str, ...]:
    sockets = tuple(os.path.join(directory, path) for path in options["allow_unix_socket"])
    if sockets and not permissions.network:
        raise UsageError(
            f"--allow-unix-socket {sockets[0]}: this permission profile has no network, and without one nothing can be connected to",
            code="usage.socket",
            hint="-c sandbox_mode=workspace-write -c sandbox_workspace_write.network_access=true, or network.enabled in the profile",
        )
    return sockets


def _environment(caller: Mapping[str, str], permissions: Permissions) -> dict[str, str]:
    """Yours where they say where things are; what is there is for the profile to say."""
    made = {name: caller[name] for name in ("HOME", "PATH") if caller.get(name)}
    tmpdir = caller.get("TMPDIR", "")
    if permissions.access.get(tmpdir) == "write":
        made["TMPDIR"] = tmpdir
    return made if permissions.network else {**made, "CODEX_SANDBOX_NETWORK_DISABLED": "1"}
