"""The seccomp program of a sandbox: connect(2) is reported to the gate, and what no agent needs of the kernel is refused.

It is put on before bubblewrap runs, so bubblewrap and Codex's own inner sandbox must work under it: namespaces, mounts and
pivot_root stay allowed (they are confined by the user namespace), and so do seccomp filters of their own.

Reference: seccomp(2), linux/filter.h (classic BPF), linux/audit.h.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from immure.launcher import kernel

_SYS_SECCOMP = 317
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 8

_ALLOW, _NOTIFY, _ERRNO = 0x7FFF0000, 0x7FC00000, 0x00050000
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000

# struct seccomp_data: nr, arch, instruction pointer, six 64-bit arguments; the low halves of the arguments on a little-endian machine.
_NUMBER, _ARCH = 0, 4
_ARGUMENT_LOW = (16, 24, 32, 40, 48, 56)

_INSTRUCTION = 8
"""Bytes of a struct sock_filter."""
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_SYS_CONNECT, _SYS_SOCKET, _SYS_IOCTL, _SYS_SETSOCKOPT, _SYS_SETRLIMIT, _SYS_PRLIMIT64 = 42, 41, 16, 54, 160, 302
_SYS_PRCTL = 157

DENIED = {
    "add_key": (248, "kernel keyrings are shared with the user's other processes"),
    "request_key": (249, "kernel keyrings are shared with the user's other processes"),
    "keyctl": (250, "kernel keyrings are shared with the user's other processes"),
    "bpf": (321, "kernel attack surface that no agent needs"),
    "perf_event_open": (298, "kernel attack surface that no agent needs"),
    "userfaultfd": (323, "makes races in the kernel winnable"),
    "io_uring_setup": (425, "its connect operation passes no seccomp filter, so nobody would know who is calling"),
    "io_uring_enter": (426, "see io_uring_setup"),
    "io_uring_register": (427, "see io_uring_setup"),
    "kexec_load": (246, "replaces the kernel"),
    "kexec_file_load": (320, "replaces the kernel"),
    "init_module": (175, "loads kernel code"),
    "finit_module": (313, "loads kernel code"),
    "delete_module": (176, "unloads kernel code"),
    "syslog": (103, "the kernel's messages tell of the host"),
    "open_by_handle_at": (304, "opens files past the mount tree, with rights that a user namespace gives since Linux 6.11"),
    "fanotify_init": (300, "tells of files by handle, across mounts"),
    "modify_ldt": (154, "makes 16-bit segments, for programs of another century (CVE-2014-9090)"),
    "uselib": (134, "loads libraries the way of a.out (CVE-2004-1235)"),
    "ustat": (136, "obsolete; tells of file systems by device number"),
    "sysfs": (139, "obsolete; tells of the kernel's file systems"),
    "acct": (163, "the host's accounting"),
    "swapon": (167, "the host's memory"),
    "swapoff": (168, "the host's memory"),
    "reboot": (169, "the host's power"),
    "iopl": (172, "the machine's input and output ports"),
    "ioperm": (173, "see iopl"),
    "quotactl": (179, "the host's disks"),
    "quotactl_fd": (443, "see quotactl"),
    "lookup_dcookie": (212, "a profiler's; tells of paths"),
    "vhangup": (153, "ends the terminal of others"),
    "settimeofday": (164, "the host's clock"),
    "clock_settime": (227, "see settimeofday"),
    "adjtimex": (159, "see settimeofday"),
    "clock_adjtime": (305, "see settimeofday"),
    "move_pages": (279, "moves memory between nodes, also that of others"),
    "migrate_pages": (256, "see move_pages"),
}
"""System calls answered with EPERM, as name: (x86-64 number, reason)."""

ABSENT = {
    "fsopen": (430, "no sandbox that agents bring along makes mounts this way yet, and it was a way out (fsconfig, CVE-2022-0185)"),
    "fsconfig": (431, "see fsopen"),
    "fsmount": (432, "see fsopen"),
    "fspick": (433, "see fsopen"),
}
"""System calls answered with ENOSYS, upon which programs take the older call that does the same."""

NETLINK = {
    "NETLINK_ROUTE": (0, "an agent's own sandbox raises its loopback device; getifaddrs(3)"),
    "NETLINK_SOCK_DIAG": (4, "ss(8)"),
    "NETLINK_KOBJECT_UEVENT": (15, "libudev; nothing is told in a namespace"),
}
"""The protocols of AF_NETLINK that are left. Others are refused with EPROTONOSUPPORT: the root of a nested namespace would reach the
code of nf_tables (CVE-2024-1086), xfrm and the rest, which is where the kernel has been broken most."""

FIREWALL_OPTION = 64
"""IPT_SO_SET_REPLACE and IP6T_SO_SET_REPLACE of setsockopt(2): the firewall by its older door (CVE-2021-22555)."""
_INTERNET_LEVELS = (socket.IPPROTO_IP, socket.IPPROTO_IPV6)

CORE_SIZE = 4
"""RLIMIT_CORE stays as it was set before (wall.py): to set it succeeds and does nothing. Codex sets it to 0 at start and ends if it
cannot; but with 0 a crash would still run what core_pattern names, outside and as root (core(5))."""

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
"""The socket families an agent may use. AF_VSOCK, for one, is not confined by a network namespace: it would reach the hypervisor."""

MODE_SETTERS = {"chmod": (90, 1), "fchmod": (91, 1), "fchmodat": (268, 2), "fchmodat2": (452, 2)}
"""System calls that can make a program run as its owner, as name: (number, index of the mode). In the workspace the owner is you, or root,
and anybody on the host could run it. (A file created with such a mode loses it when it is written to; a directory keeps its setgid bit,
which git's shared repositories need.)"""
_SET_USER_ID = 0o4000

TERMINAL_COMMANDS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""ioctl requests that type into a terminal. The kernel looks at the low 32 bits only, and so do we (CVE-2019-10063)."""

PR_SET_MM = 35
"""The prctl by which root of a namespace of its own, as any process inside may be, can name another file as its program
(PR_SET_MM_EXE_FILE). Checkpoint and restore needs it and nobody else; /proc/PID/exe is what a rule goes by. `int`: the low 32 bits."""

_OPENING = 0o3 | 0o100 | 0o1000
"""O_WRONLY, O_RDWR, O_CREAT and O_TRUNC."""
OPENS = {"open": (2, 1), "openat": (257, 2)}
"""As name: (number, index of the flags)."""
CHANGES = {
    "truncate": 76,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "mknod": 133,
    "mkdirat": 258,
    "mknodat": 259,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "renameat2": 316,
    "openat2": 437,
}
"""System calls that a watched sandbox reports, by number, beside opens that ask to write. The flags of openat2(2) lie in memory."""

WITHOUT_NETWORK = {
    "connect": 42,
    "accept": 43,
    "sendto": 44,
    "shutdown": 48,
    "bind": 49,
    "listen": 50,
    "getsockname": 51,
    "getpeername": 52,
    "setsockopt": 54,
    "getsockopt": 55,
    "ptrace": 101,
    "accept4": 288,
    "recvmmsg": 299,
    "sendmmsg": 307,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
}
"""System calls that a command without a network is refused with EPERM, by number: those that Codex refuses it. What is left are socket
pairs, which lead nowhere else; a socket of a path cannot be connected to, wherever it lies."""
_SYS_SOCKETPAIR = 53


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _statement(_RETURN, _ERRNO | number)


def _when(index: int, values: Iterable[int], answer: bytes) -> bytes:
    """Return `answer` if the low half of an argument is one of the values."""
    tests = [_jump(_JUMP_EQUAL, value, 0, 1) + answer for value in values]
    return _statement(_LOAD, _ARGUMENT_LOW[index]) + b"".join(tests)


def _unless(index: int, values: Sequence[int], answer: bytes) -> bytes:
    """Return `answer` if it is none of them."""
    tests = [_jump(_JUMP_EQUAL, value, len(values) - position, 0) for position, value in enumerate(values)]
    return _statement(_LOAD, _ARGUMENT_LOW[index]) + b"".join(tests) + answer


def _on_call(number: int, *steps: bytes) -> bytes:
    """What is done at one system call, which is allowed if no step returns."""
    done = b"".join(steps) + _statement(_RETURN, _ALLOW)
    return _jump(_JUMP_EQUAL, number, 0, len(done) // _INSTRUCTION) + done


_ON_OUR_CALLS = (
    _statement(_LOAD, _ARCH),
    _jump(_JUMP_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
    _refuse(errno.ENOSYS),
    _statement(_LOAD, _NUMBER),
    _jump(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
    _refuse(errno.ENOSYS),
)
"""How every filter begins: other numberings of the system calls are none of ours."""


def program(*, watched: bool = False) -> bytes:
    """The filter as an array of `struct sock_filter` (8 bytes each). If `watched`, it reports calls that would change files too."""
    notify = _statement(_RETURN, _NOTIFY)
    code = [*_ON_OUR_CALLS, _jump(_JUMP_EQUAL, _SYS_CONNECT, 0, 1) + notify]
    if watched:
        for number, index in OPENS.values():
            code.append(_on_call(number, _statement(_LOAD, _ARGUMENT_LOW[index]), _jump(_JUMP_ANY_BIT, _OPENING, 0, 1), notify))
        code += [_jump(_JUMP_EQUAL, number, 0, 1) + notify for number in CHANGES.values()]
    for table, number in ((DENIED, errno.EPERM), (ABSENT, errno.ENOSYS)):
        code += [_jump(_JUMP_EQUAL, call, 0, 1) + _refuse(number) for call, _ in table.values()]
    protocols = _unless(2, [protocol for protocol, _ in NETLINK.values()], _refuse(errno.EPROTONOSUPPORT))
    code.append(
        _on_call(
            _SYS_SOCKET,
            _unless(0, FAMILIES, _refuse(errno.EAFNOSUPPORT)),
            _jump(_JUMP_EQUAL, socket.AF_NETLINK, 0, len(protocols) // _INSTRUCTION) + protocols,
        )
    )
    firewall = _when(2, [FIREWALL_OPTION], _refuse(errno.EPERM))
    code.append(_on_call(_SYS_SETSOCKOPT, _unless(1, _INTERNET_LEVELS, _statement(_RETURN, _ALLOW)), firewall))
    for number, index in MODE_SETTERS.values():
        is_set = _jump(_JUMP_ANY_BIT, _SET_USER_ID, 0, 1)
        code.append(_on_call(number, _statement(_LOAD, _ARGUMENT_LOW[index]), is_set, _refuse(errno.EPERM)))
    code.append(_on_call(_SYS_IOCTL, _when(1, TERMINAL_COMMANDS.values(), _refuse(errno.EPERM))))
    code.append(_on_call(_SYS_SETRLIMIT, _when(0, [CORE_SIZE], _refuse(0))))
    new_limit = [_statement(_LOAD, _ARGUMENT_LOW[2] + half) + _jump(_JUMP_EQUAL, 0, 1, 0) + _refuse(0) for half in (0, 4)]
    code.append(_on_call(_SYS_PRLIMIT64, _unless(1, [CORE_SIZE], _statement(_RETURN, _ALLOW)), *new_limit))
    code.append(_on_call(_SYS_PRCTL, _when(0, [PR_SET_MM], _refuse(errno.EPERM))))
    code.append(_statement(_RETURN, _ALLOW))
    return b"".join(code)


def without_network() -> bytes:
    """The filter that a command without a network wears above it."""
    code = [*_ON_OUR_CALLS, *(_jump(_JUMP_EQUAL, number, 0, 1) + _refuse(errno.EPERM) for number in WITHOUT_NETWORK.values())]
    code += [_on_call(number, _unless(0, [socket.AF_UNIX], _refuse(errno.EPERM))) for number in (_SYS_SOCKET, _SYS_SOCKETPAIR)]
    return b"".join([*code, _statement(_RETURN, _ALLOW)])


def install(*, watched: bool = False) -> int:
    """Put the program on the calling thread, for good and for all its descendants; returns the notification descriptor.

    Sets no_new_privs, without which an unprivileged process may not filter itself. Raises OSError.
    """
    kernel.no_new_privileges()
    instructions = program(watched=watched)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    filter_program = struct.pack("=HxxxxxxQ", len(instructions) // 8, ctypes.addressof(buffer))
    return kernel.syscall("seccomp", _SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER, filter_program)
