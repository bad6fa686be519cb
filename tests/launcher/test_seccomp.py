"""The seccomp program, run by an interpreter of classic BPF written for this test, and once by the kernel."""

import errno
import os
import re
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.launcher import seccomp

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000


def refused(number: int) -> int:
    return 0x00050000 | number


def verdict(number: int, *arguments: int, arch: int = X86_64, program: bytes | None = None) -> int:
    """What a program returns for a system call (linux/filter.h; only the five instructions that it uses)."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    code = list(struct.iter_unpack("=HBBI", program or seccomp.program()))
    accumulator, position = 0, 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == 0x15:
            position += if_true if accumulator == value else if_false
        elif operation == 0x35:
            position += if_true if accumulator >= value else if_false
        elif operation == 0x45:
            position += if_true if accumulator & value else if_false
        else:
            assert operation == 0x06
            return int(value)


TABLE = [
    ("read", 0, (), ALLOW),
    ("clone", 56, (), ALLOW),
    ("unshare, for the agent's own sandbox", 272, (0x10000000,), ALLOW),
    ("mount, for the agent's own sandbox", 165, (), ALLOW),
    ("seccomp, for the agent's own sandbox", 317, (), ALLOW),
    ("connect", 42, (), NOTIFY),
    ("io_uring_setup", 425, (), refused(errno.EPERM)),
    ("bpf", 321, (), refused(errno.EPERM)),
    ("keyctl", 250, (), refused(errno.EPERM)),
    ("socket unix", 41, (socket.AF_UNIX,), ALLOW),
    ("socket inet", 41, (socket.AF_INET,), ALLOW),
    ("socket inet6", 41, (socket.AF_INET6,), ALLOW),
    ("socket netlink", 41, (socket.AF_NETLINK,), ALLOW),
    ("socket netlink route", 41, (socket.AF_NETLINK, 3, 0), ALLOW),
    ("socket netlink sock_diag", 41, (socket.AF_NETLINK, 3, 4), ALLOW),
    ("socket netlink netfilter", 41, (socket.AF_NETLINK, 3, 12), refused(errno.EPROTONOSUPPORT)),
    ("socket netlink xfrm", 41, (socket.AF_NETLINK, 3, 6), refused(errno.EPROTONOSUPPORT)),
    ("socket netlink generic", 41, (socket.AF_NETLINK, 3, 16), refused(errno.EPROTONOSUPPORT)),
    ("socket inet whose protocol is no netlink's", 41, (socket.AF_INET, 3, 12), ALLOW),
    ("setsockopt of a firewall", 54, (3, 0, 64), refused(errno.EPERM)),
    ("setsockopt of an IPv6 firewall", 54, (3, 41, 64), refused(errno.EPERM)),
    ("setsockopt of TCP, of the same number", 54, (3, 6, 64), ALLOW),
    ("setsockopt of IP", 54, (3, 0, 1), ALLOW),
    ("setrlimit of core files, which does nothing", 160, (4,), refused(0)),
    ("setrlimit of another", 160, (7,), ALLOW),
    ("prlimit64 that sets the size of core files", 302, (0, 4, 0x7F0012345678), refused(0)),
    ("prlimit64 that sets it from far above", 302, (0, 4, 1 << 40), refused(0)),
    ("prlimit64 that asks for it", 302, (0, 4, 0, 0x7F0012345678), ALLOW),
    ("prlimit64 of another", 302, (0, 7, 0x7F0012345678), ALLOW),
    ("fsopen, upon which mount(8) takes mount(2)", 430, (), refused(errno.ENOSYS)),
    ("open_by_handle_at", 304, (), refused(errno.EPERM)),
    ("sethostname, for the agent's own sandbox", 170, (), ALLOW),
    ("pivot_root, for the agent's own sandbox", 155, (), ALLOW),
    ("ptrace, for debuggers", 101, (), ALLOW),
    ("socket vsock", 41, (40,), refused(errno.EAFNOSUPPORT)),
    ("socket alg", 41, (38,), refused(errno.EAFNOSUPPORT)),
    ("socket packet", 41, (17,), refused(errno.EAFNOSUPPORT)),
    ("socket bluetooth", 41, (31,), refused(errno.EAFNOSUPPORT)),
    ("ioctl TCGETS", 16, (0, 0x5401), ALLOW),
    ("ioctl TIOCSTI", 16, (0, 0x5412), refused(errno.EPERM)),
    ("ioctl TIOCSTI with high bits set, which the kernel ignores", 16, (0, 0x5412 | 1 << 40), refused(errno.EPERM)),
    ("ioctl TIOCLINUX", 16, (0, 0x541C), refused(errno.EPERM)),
    ("prctl PR_SET_NAME", 157, (15,), ALLOW),
    ("prctl PR_SET_MM, which could name another program", 157, (35, 13), refused(errno.EPERM)),
    ("prctl PR_SET_MM with high bits set, which the kernel ignores", 157, (35 | 1 << 32,), refused(errno.EPERM)),
    ("ioctl whose request is the number of prctl", 16, (35, 157), ALLOW),
    ("chmod", 90, (0, 0o755), ALLOW),
    ("chmod of a directory whose files keep its group", 90, (0, 0o2775), ALLOW),
    ("chmod to a program that runs as its owner", 90, (0, 0o4755), refused(errno.EPERM)),
    ("fchmod to a program that runs as its owner", 91, (0, 0o6755), refused(errno.EPERM)),
    ("fchmodat to a program that runs as its owner", 268, (0, 0, 0o4000), refused(errno.EPERM)),
    ("fchmodat2 to a program that runs as its owner", 452, (0, 0, 0o4755), refused(errno.EPERM)),
    ("fchmodat, whose first arguments are no mode", 268, (0o4000, 0o4000, 0o644), ALLOW),
    ("x32 connect", 42 | 0x40000000, (), refused(errno.ENOSYS)),
]


@pytest.mark.parametrize(("number", "arguments", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_verdict(number: int, arguments: tuple[int, ...], expected: int) -> None:
    assert expected == verdict(number, *arguments)


def test_every_denied_call_is_refused_and_has_a_reason() -> None:
    for table, answer in ((seccomp.DENIED, errno.EPERM), (seccomp.ABSENT, errno.ENOSYS)):
        for number, reason in table.values():
            assert refused(answer) == verdict(number)
            assert reason


def numbers_of_the_kernel() -> dict[str, int]:
    """What the C library's headers call each number."""
    found = {}
    for path in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"):
        if os.path.exists(path):
            with open(path) as file:
                found.update({name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", file.read())})
    return found


if numbers := numbers_of_the_kernel():

    def test_the_numbers_are_those_of_the_headers() -> None:
        calls = {**seccomp.DENIED, **seccomp.ABSENT, **seccomp.MODE_SETTERS}
        known = {name: number for name, (number, _) in calls.items() if name in numbers}
        assert len(known) > 40
        assert known == {name: numbers[name] for name in known}


@given(st.integers(0, 500), st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_every_call_comes_to_one_of_the_verdicts(number: int, arguments: list[int]) -> None:
    answers = {refused(one) for one in (0, errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)}
    assert verdict(number, *arguments) in {ALLOW, NOTIFY, *answers}


def test_a_foreign_architecture_is_refused_whatever_it_calls() -> None:
    assert all(verdict(number, arch=I386) == refused(errno.ENOSYS) for number in range(450))


def test_the_kernel_accepts_the_program_and_reports_a_connect() -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            notify = seccomp.install()
            socket.send_fds(theirs, [b"x"], [notify])
            os.close(notify)
            try:
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            except OSError as error:
                os._exit(error.errno)
        finally:
            os._exit(255)
    _, (notify,), _, _ = socket.recv_fds(ours, 1, 1)
    _, status = os.waitpid(pid, 0)
    os.close(notify)
    ours.close()
    theirs.close()
    assert os.waitstatus_to_exitcode(status) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("call", seccomp.WITHOUT_NETWORK)
def test_without_a_network_nothing_is_connected_to(call: str) -> None:
    assert verdict(seccomp.WITHOUT_NETWORK[call], program=seccomp.without_network()) == refused(errno.EPERM)


@pytest.mark.parametrize("call", [41, 53])
def test_without_a_network_there_are_pairs_of_sockets_and_no_others(call: int) -> None:
    program = seccomp.without_network()
    assert verdict(call, socket.AF_UNIX, program=program) == ALLOW
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
        assert verdict(call, family, program=program) == refused(errno.EPERM)
    assert verdict(0, program=program) == ALLOW
    assert verdict(42, arch=I386, program=program) == refused(errno.ENOSYS)


@pytest.mark.parametrize(
    ("number", "arguments", "reported"),
    [
        *((number, (), True) for number in seccomp.CHANGES.values()),
        (2, (0, os.O_WRONLY), True),
        (257, (0, 0, os.O_RDWR | os.O_CLOEXEC), True),
        (257, (0, 0, os.O_RDONLY | os.O_CREAT), True),
        (257, (0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY), False),
        (2, (0, os.O_RDONLY), False),
        (0, (), False),
        (42, (), True),
    ],
)
def test_a_watched_sandbox_reports_what_would_change_files(number: int, arguments: tuple[int, ...], reported: bool) -> None:
    assert (verdict(number, *arguments, program=seccomp.program(watched=True)) == NOTIFY) == reported
    assert (verdict(number, *arguments) == NOTIFY) == (number == 42)


@given(st.sampled_from([row[1] for row in TABLE]), st.tuples(*[st.integers(0, 2**64 - 1)] * 3))
def test_a_watched_sandbox_is_refused_what_any_other_is(number: int, arguments: tuple[int, ...]) -> None:
    plain, watched = verdict(number, *arguments), verdict(number, *arguments, program=seccomp.program(watched=True))
    assert plain in (watched, ALLOW)
