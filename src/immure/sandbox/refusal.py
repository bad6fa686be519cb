"""Why this host cannot make a sandbox, in words that name what to change.

Evidence comes from the error of the step that failed and from the switches that distributions use to forbid it.
"""

from immure.errors import HostError
from immure.launcher import ownership, wall

_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "give bwrap and python3 AppArmor profiles with `userns,`, or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/user/max_net_namespaces", "0", "sysctl -w user.max_net_namespaces=15000"),
)
"""(file, value that forbids, command that allows)."""


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _namespace_hint(error: str) -> str:
    """ENOSPC is what a limit on the number of namespaces is told as (namespaces(7))."""
    for path, forbidding, command in _SWITCHES:
        if _read(path) == forbidding:
            return f"as root: {command}"
    if "No space left" in error:
        return "as root: sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000"
    return "inside a container, allow it to create user namespaces (docker run --security-opt seccomp=unconfined …)"


def _limit_hint(error: str) -> str:
    if "hard limit" in error:
        return "raise it (ulimit -H, /etc/security/limits.conf), or ask for less; a new broker takes it over: immure stop"
    if "no controller" in error or "no cgroup v2" in error:
        return "boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out: --memory unlimited --cpus unlimited"
    return "immure stop; then start it as: systemd-run --user --scope -p Delegate=yes immure …; or: --memory unlimited --cpus unlimited"


def refusal(step: str, error: str) -> HostError:
    """The error for a failed step of the launcher (launcher/wall.py names them)."""
    if step == wall.USERS:
        return HostError(f"this host forbids user namespaces ({error})", code="host.no-user-namespaces", hint=_namespace_hint(error))
    if step == wall.NETWORK:
        hint = _namespace_hint(error) if "unshare" in error else "as root: modprobe nft_tproxy nf_tables"
        return HostError(f"the sandbox's network cannot be made ({error})", code="host.no-network", hint=hint)
    if step == ownership.STEP:
        return HostError(
            f"a directory cannot be shown to the sandbox's own user id ({error})",
            code="host.no-idmap",
            hint="its file system must support id-mapped mounts (ext4, xfs, btrfs; Linux 5.12 or newer); or run immure as an ordinary user",
        )
    if step == wall.SECCOMP:
        return HostError(
            f"the kernel refuses the seccomp program ({error})",
            code="host.no-seccomp",
            hint="immure needs Linux 5.6 or newer, and no outer sandbox that listens to seccomp notifications itself",
        )
    if step == wall.LIMITS:
        return HostError(f"a limit that was asked for cannot be held here: {error}", code="host.no-limit", hint=_limit_hint(error))
    return HostError(f"the sandbox cannot be made: {step}: {error}", code="host.launch", hint="immure doctor")
