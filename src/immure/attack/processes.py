"""Other processes: those of the host, the first of the sandbox, and what a sandbox leaves behind."""

import ctypes
import errno
import fcntl
import os
import resource
import signal

from immure.attack.attack import TARGETS, Stopped, attack, neighbour
from immure.attack.system_calls import checked, libc, opens_for_writing

ENVIRONMENT = "environment made afresh"
EQUALS = "a first process without rights"
PIDS = "pid namespace"
TREE = "mount tree of its own"
LIMIT = "resource limits"
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SERVICES = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/libvirt/libvirt-sock",
    "/tmp/.X11-unix",
    "/tmp/ssh-agent",
)
VARIABLES = "SSH_AUTH_SOCK GPG_AGENT_INFO DBUS_SESSION_BUS_ADDRESS DISPLAY WAYLAND_DISPLAY TMUX DOCKER_HOST XDG_RUNTIME_DIR".split()


@attack(ENVIRONMENT, "EMPTY", control="see_its_own_environment")
def read_the_environment_of_the_first_process() -> object:
    with open("/proc/1/environ", "rb") as file:
        if not file.read():
            raise Stopped("EMPTY")
    return "read"


@attack(ENVIRONMENT, "EMPTY", control="see_its_own_environment")
def find_an_agent_of_the_user_in_the_environment() -> object:
    found = [name for name in VARIABLES if os.environ.get(name)]
    if not found:
        raise Stopped("EMPTY")
    return " ".join(found)


@attack(TREE, "ENOENT", control="see_its_own_processes")
def find_the_socket_of_a_service_of_the_host() -> object:
    for path in SERVICES:
        if os.path.exists(path):
            return path
    raise OSError(errno.ENOENT, "none")


@attack(TREE, "EMPTY ENOENT")
def list_the_home_of_the_user() -> object:
    """List what lies in the home of the user"""
    found = [name for name in os.listdir(TARGETS["home"]) if name != TARGETS["own"]]
    if not found:
        raise Stopped("EMPTY")
    return f"{len(found)} names"


@attack(EQUALS, "NOTHING", control="trace_another_process_of_the_sandbox")
def find_more_rights_in_the_first_process() -> object:
    """Take over the first process for what it may do, or has open, beyond any other"""
    found = [f"/proc/1/ns/{name}" for name in os.listdir("/proc/self/ns") if _link(f"1/ns/{name}") != _link(f"self/ns/{name}")]
    found += [] if os.path.samefile("/proc/1/root", "/proc/self/root") else ["/proc/1/root"]
    with open("/proc/1/status") as status:
        found += [line.strip() for line in status if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb")) and int(line.split()[1], 16)]
    opened = [_link(f"1/fd/{name}") for name in os.listdir("/proc/1/fd") if int(name) > 2]
    found += [what for what in opened if what != "anon_inode:[eventfd]"]  # by which bubblewrap tells the exit status
    if not found:
        raise Stopped("NOTHING")
    return " ".join(found)


def _link(name: str) -> str:
    return os.readlink(f"/proc/{name}")


@attack(LIMIT, "EPERM", control="lower_a_limit")
def raise_the_limit_of_processes() -> object:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY:
        return "unlimited"
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard + 1))
    except ValueError:
        raise OSError(errno.EPERM, "not allowed to raise maximum limit") from None
    return hard + 1


@attack(TREE, "ENOENT EROFS EACCES", control="see_its_own_processes")
def change_a_control_group() -> object:
    return opens_for_writing("/sys/fs/cgroup/cgroup.procs")


@attack(TREE, "ENOENT EROFS EACCES", control="see_its_own_processes")
def register_an_interpreter_of_programs() -> object:
    return opens_for_writing("/proc/sys/fs/binfmt_misc/register")


@attack(PIDS, "LEFT", control="see_its_own_processes")
def leave_a_daemon_behind() -> object:
    """Leave a daemon behind, which keeps a lock for as long as it lives; the lock is looked at when the sandbox has ended"""
    lock = os.open(TARGETS["lock"], os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3):
                os.close(fd)
            signal.alarm(TARGETS["patience"])  # should nothing stop it, it still ends
            signal.pause()
        os._exit(0)
    raise Stopped("LEFT")


@neighbour
def see_its_own_environment() -> object:
    with open("/proc/self/environ", "rb") as file:
        if not file.read():
            raise OSError(errno.ENODATA, "empty")
    return "read"


@neighbour
def see_its_own_processes() -> object:
    return os.readlink("/proc/self/ns/pid")


@neighbour
def lower_a_limit() -> object:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    return soft - 1


@neighbour
def trace_another_process_of_the_sandbox() -> object:
    victim = os.fork()
    if victim == 0:
        signal.pause()
        os._exit(0)
    try:
        return checked(libc.ptrace(ctypes.c_long(PTRACE_ATTACH), ctypes.c_long(victim), None, None))
    finally:
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
