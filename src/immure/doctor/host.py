"""What lies around the walls: limits, certificates, settings, Codex, keyring, vault, disk, the port of a sign-in.

Rules: nothing is made and nothing is asked of the network. No record, token or account is named: their number says enough.
"""

import os
import platform
import resource
from collections.abc import Iterator, Mapping
from typing import Final

from immure.agents import codex
from immure.broker.callback import listening
from immure.config.settings import load_settings
from immure.doctor import walls
from immure.doctor.check import Check
from immure.errors import HostError, ImmureError
from immure.launcher import cgroup, ownership, wall
from immure.paths import Paths
from immure.providers.sign_in import CALLBACK_PORT
from immure.sandbox import system
from immure.sandbox.limits import DEFAULTS
from immure.sandbox.refusal import refusal
from immure.vault import Vault, open_vault
from immure.vault.key import find_keyring, is_in_keyring

_LITTLE: Final = 512 << 20
_TOO_LITTLE: Final = 16 << 20
"""Bytes of free space: sessions and the audit trail grow, and a sandbox whose events cannot be kept ends."""


def examine(environment: Mapping[str, str], directory: str) -> Iterator[Check]:
    """Every check, for a user with this environment in this directory."""
    paths = Paths(dict(environment))
    yield from walls.checks()
    if os.geteuid() == 0:
        yield _id_map(directory)
    yield _resource_limits()
    yield _control_group()
    yield _certificates()
    yield _settings(paths)
    yield _codex(environment)
    yield _keyring(environment)
    yield _vault(paths, environment)
    yield _disk(paths)
    yield _port()


def _id_map(directory: str) -> Check:
    try:
        mounts = ownership.Mapper(ownership.SPARE_ID).mounts([directory])
    except OSError as error:
        return Check.of("id-map", refusal(ownership.STEP, str(error)))
    for mount in mounts:
        os.close(mount)
    return Check(id="id-map", status="ok", detail="this directory can be shown under the user id that root's sandboxes have")


def _resource_limits() -> Check:
    found = []
    for what, number, amount in (
        ("processes and threads", resource.RLIMIT_NPROC, DEFAULTS.pids),
        ("open files", resource.RLIMIT_NOFILE, DEFAULTS.open_files),
    ):
        _, most = resource.getrlimit(number)
        assert isinstance(amount, int)
        found.append(f"{amount if most == resource.RLIM_INFINITY else min(amount, most)} {what}")
    return Check(id="resource-limits", status="ok", detail=f"in force by default: {', '.join(found)}; file size can be limited")


def _control_group() -> Check:
    try:
        where = cgroup.place(("memory", "cpu"))
    except OSError as error:
        fix = refusal(wall.LIMITS, str(error)).hint
        return Check(id="control-groups", status="warning", detail=f"--memory and --cpus cannot be held: {error}", fix=fix)
    return Check(id="control-groups", status="ok", detail=f"--memory and --cpus are held by control groups below {where}")


def _certificates() -> Check:
    if not system.inspect().roots:
        return Check(
            id="certificates",
            status="failed",
            detail="there is no bundle of certificate authorities in /etc",
            fix="apt install ca-certificates, or the package of that name of your distribution",
        )
    return Check(id="certificates", status="ok", detail="the host has a bundle of certificate authorities")


def _settings(paths: Paths) -> Check:
    try:
        load_settings(paths.settings)
    except ImmureError as error:
        return Check.of("settings", error)
    exists = os.path.exists(paths.settings)
    return Check(id="settings", status="ok", detail=paths.settings if exists else f"the defaults: there is no {paths.settings}")


def _codex(environment: Mapping[str, str]) -> Check:
    try:
        program = codex.find_program(environment.get("PATH", ""), platform.machine())
    except ImmureError as error:
        return Check.of("codex", error, "warning")
    return Check(id="codex", status="ok", detail=program.executable)


def _keyring(environment: Mapping[str, str]) -> Check:
    try:
        keyring = find_keyring(environment)
    except Exception as error:  # a backend may raise anything
        return Check(
            id="keyring",
            status="warning",
            detail=f"the desktop's keyring fails: {type(error).__name__}",
            fix="unlock it, or run immure from the desktop session",
        )
    place = "goes into the desktop's keyring" if keyring else "is a file, since there is no desktop keyring here"
    return Check(id="keyring", status="ok", detail=f"the key of a new vault {place}")


def _vault(paths: Paths, environment: Mapping[str, str]) -> Check:
    if not os.path.exists(paths.vault):
        return Check(id="vault", status="ok", detail=f"there is none yet; it will be {paths.vault}")
    try:
        vault = open_vault(paths.vault, environment, lambda _: None)
        names = vault.names()
        damaged = sum(_is_damaged(vault, name) for name in names)
    except ImmureError as error:
        return Check.of("vault", error)
    if damaged:
        fix = "immure vault status says which; sign in again: immure login codex"
        return Check(id="vault", status="failed", detail=f"{damaged} of {len(names)} records do not open", fix=fix)
    key = "in the desktop's keyring" if is_in_keyring(paths.vault) else "in a file"
    return Check(id="vault", status="ok", detail=f"records that open: {len(names)}; its key is {key}")


def _is_damaged(vault: Vault, name: str) -> bool:
    try:
        vault.get(name)
    except HostError:
        return True
    return False


def _disk(paths: Paths) -> Check:
    place = paths.state
    while not os.path.exists(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    detail = f"{free >> 20} MB are free for {paths.state}"
    if free >= _LITTLE:
        return Check(id="disk", status="ok", detail=detail)
    return Check(id="disk", status="failed" if free < _TOO_LITTLE else "warning", detail=detail, fix=f"make room: df -h {place}")


def _port() -> Check:
    try:
        with listening():
            pass
    except ImmureError as error:
        return Check.of("sign-in-port", error, "warning")
    return Check(id="sign-in-port", status="ok", detail=f"a browser can come back to port {CALLBACK_PORT} after a sign-in")
