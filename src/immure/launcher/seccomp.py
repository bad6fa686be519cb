"""The seccomp program of a sandbox: connect(2) is reported to the gate, and what no agent needs of the kernel is refused.

It is put on before bubblewrap runs, so bubblewrap and Codex's own inner sandbox must work under it: namespaces, mounts and
pivot_root stay allowed (they are confined by the user namespace), and so do seccomp filters of their own.

Reference: seccomp(2), linux/filter.h (classic BPF), linux/audit.h.
"""

import ctypes
import errno
import socket
import struct

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

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_SYS_CONNECT, _SYS_SOCKET, _SYS_IOCTL = 42, 41, 16

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
}
"""System calls answered with EPERM, as name: (x86-64 number, reason)."""

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
"""The socket families an agent may use. AF_VSOCK, for one, is not confined by a network namespace: it would reach the hypervisor."""

MODE_SETTERS = {"chmod": (90, 1), "fchmod": (91, 1), "fchmodat": (268, 2), "fchmodat2": (452, 2)}
"""System calls that can make a program run as its owner, as name: (number, index of the mode). In the workspace the owner is you, or root,
and anybody on the host could run it. (A file created with such a mode loses it when it is written to; a directory keeps its setgid bit,
which git's shared repositories need.)"""
_SET_USER_ID = 0o4000

TERMINAL_COMMANDS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""ioctl requests that type into a terminal. The kernel looks at the low 32 bits only, and so do we (CVE-2019-10063)."""


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int) -> bytes:
    return _statement(_RETURN, _ERRNO | number)


def program() -> bytes:
    """The filter as an array of `struct sock_filter` (8 bytes each)."""
    code = [
        _statement(_LOAD, _ARCH),
        _jump(_JUMP_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
        _refuse(errno.ENOSYS),
        _statement(_LOAD, _NUMBER),
        _jump(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
        _refuse(errno.ENOSYS),
        _jump(_JUMP_EQUAL, _SYS_CONNECT, 0, 1),
        _statement(_RETURN, _NOTIFY),
    ]
    for number, _ in DENIED.values():
        code += [_jump(_JUMP_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    families = [_jump(_JUMP_EQUAL, family, len(FAMILIES) - index, 0) for index, family in enumerate(FAMILIES)]
    families = [_statement(_LOAD, _ARGUMENT_LOW[0]), *families, _refuse(errno.EAFNOSUPPORT), _statement(_RETURN, _ALLOW)]
    code += [_jump(_JUMP_EQUAL, _SYS_SOCKET, 0, len(families)), *families]
    for number, index in MODE_SETTERS.values():
        mode = [
            _statement(_LOAD, _ARGUMENT_LOW[index]),
            _jump(_JUMP_ANY_BIT, _SET_USER_ID, 0, 1),
            _refuse(errno.EPERM),
            _statement(_RETURN, _ALLOW),
        ]
        code += [_jump(_JUMP_EQUAL, number, 0, len(mode)), *mode]
    requests = [_statement(_LOAD, _ARGUMENT_LOW[1])]
    for request in TERMINAL_COMMANDS.values():
        requests += [_jump(_JUMP_EQUAL, request, 0, 1), _refuse(errno.EPERM)]
    code += [_jump(_JUMP_EQUAL, _SYS_IOCTL, 0, len(requests)), *requests]
    code.append(_statement(_RETURN, _ALLOW))
    return b"".join(code)


def install() -> int:
    """Put the program on the calling thread, for good and for all its descendants; returns the notification descriptor.

    Sets no_new_privs, without which an unprivileged process may not filter itself. Raises OSError.
    """
    kernel.no_new_privileges()
    instructions = program()
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    filter_program = struct.pack("=HxxxxxxQ", len(instructions) // 8, ctypes.addressof(buffer))
    return kernel.syscall("seccomp", _SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER, filter_program)
