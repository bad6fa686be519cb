"""Calls into the kernel that no agent needs, and settings of the kernel."""

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import shutil
import struct
import termios

from immure.attack.attack import IF_THE_HOST_ALLOWS, OUTSIDE, TARGETS, attack, neighbour
from immure.attack.system_calls import (
    CLONE_NEWNS,
    MS_RDONLY,
    in_mount_namespace,
    mount,
    opens_for_writing,
    read,
    syscall,
    with_namespaces,
    with_root,
)

FILTER = "seccomp program"
UNPRIVILEGED = "no rights outside of its user namespace"
TREE = "mount tree of its own"
DENIED = "EACCES EPERM"


@attack(UNPRIVILEGED, DENIED, control=IF_THE_HOST_ALLOWS)
def name_the_program_that_takes_core_dumps() -> object:
    return opens_for_writing("/proc/sys/kernel/core_pattern")


@attack(UNPRIVILEGED, DENIED, control="become_root_of_a_nested_namespace")
def name_the_program_that_takes_core_dumps_as_root_of_a_nested_namespace() -> object:
    return with_root(lambda: opens_for_writing("/proc/sys/kernel/core_pattern"))


@attack(UNPRIVILEGED, DENIED, control=IF_THE_HOST_ALLOWS)
def change_a_setting_of_memory() -> object:
    return opens_for_writing("/proc/sys/vm/overcommit_memory")


@attack(UNPRIVILEGED, "EACCES ENOENT EPERM EROFS", control=IF_THE_HOST_ALLOWS)
def press_the_magic_key() -> object:
    return opens_for_writing("/proc/sysrq-trigger")


@attack(UNPRIVILEGED, "EACCES ENOENT EPERM", control=IF_THE_HOST_ALLOWS)
def read_kernel_memory() -> object:
    return read("/proc/kcore")


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def read_kernel_messages() -> object:
    return syscall(103, 3, ctypes.create_string_buffer(64), 64)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def use_io_uring() -> object:
    return syscall(425, 8, ctypes.create_string_buffer(120))


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def use_a_key_of_the_user() -> object:
    return syscall(250, 0, -4, 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def load_a_bpf_program() -> object:
    return syscall(321, 0, ctypes.create_string_buffer(128), 128)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def count_performance_events() -> object:
    return syscall(298, ctypes.create_string_buffer(struct.pack("II", 1, 128) + bytes(120)), 0, -1, -1, 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def handle_page_faults() -> object:
    return syscall(323, 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def type_into_a_terminal() -> object:
    _, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSTI, b"x")
    return "typed"


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def type_into_a_terminal_by_the_high_bits() -> object:
    _, slave = os.openpty()
    return syscall(16, slave, 1 << 32 | termios.TIOCSTI, ctypes.create_string_buffer(b"x"))


@attack(FILTER, "ENOSYS", control=IF_THE_HOST_ALLOWS)
def call_as_a_32_bit_program() -> object:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # int 0x80 takes the numbers of i386: 20 is getpid there
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    code = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    answer = code()
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


@attack(FILTER, "ENOSYS", control=IF_THE_HOST_ALLOWS)
def call_as_an_x32_program() -> object:
    return syscall(0x40000000 | 39)


@attack(UNPRIVILEGED, DENIED, control=IF_THE_HOST_ALLOWS)
def make_a_device() -> object:
    os.mknod("device", 0o60666, os.makedev(1, 1))
    os.unlink("device")
    return "made"


@attack(UNPRIVILEGED, DENIED, control="become_root_of_a_nested_namespace")
def make_a_device_as_root_of_a_nested_namespace() -> object:
    return with_root(make_a_device)


@attack(FILTER, "ENOSYS", control=IF_THE_HOST_ALLOWS)
def configure_a_file_system_by_the_new_calls() -> object:
    return in_mount_namespace(lambda: syscall(430, b"tmpfs", 0))


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def make_a_16_bit_segment() -> object:
    return syscall(154, 0, ctypes.create_string_buffer(64), 64)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def watch_file_systems() -> object:
    return syscall(300, 0x200, 0)


@attack(FILTER, "EPERM", control=IF_THE_HOST_ALLOWS)
def have_core_dumps_written() -> object:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if resource.getrlimit(resource.RLIMIT_CORE) == before and before in ((1, 1), (0, 0)):
        raise OSError(errno.EPERM, "it stays as it is, and too small")
    return before


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def make_a_program_of_its_owner() -> object:
    shutil.copy("/bin/true", "setuid-program")
    try:
        os.chmod("setuid-program", 0o4755)
        return oct(os.stat("setuid-program").st_mode)
    finally:
        os.unlink("setuid-program")


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def make_a_program_of_its_owner_by_descriptor() -> object:
    descriptor = os.open("setuid-program", os.O_CREAT | os.O_WRONLY, 0o755)
    try:
        os.fchmod(descriptor, 0o4755)
        return oct(os.stat("setuid-program").st_mode)
    finally:
        os.unlink("setuid-program")


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def make_a_program_of_its_owner_at_creation() -> object:
    # What is written after that takes the bit away again, if the kernel is asked.
    descriptor = os.open("setuid-program", os.O_CREAT | os.O_WRONLY, 0o4755)
    try:
        with open("/bin/true", "rb") as program:
            os.write(descriptor, program.read())
        mode = os.fstat(descriptor).st_mode
        if not mode & 0o4000:
            raise OSError(errno.EPERM, "the bit is gone")
        return oct(mode)
    finally:
        os.unlink("setuid-program")


@attack(UNPRIVILEGED, "EACCES ENOENT ENOTBLK EPERM", control="make_a_mount")
def mount_a_disk() -> object:
    return in_mount_namespace(lambda: mount("/dev/vda", "/tmp", "ext4", MS_RDONLY))


@attack(TREE, "ENOENT", control=OUTSIDE)
def leave_the_root_by_chroot() -> object:
    def climb() -> object:
        os.makedirs("/tmp/jail", exist_ok=True)
        descriptor = os.open("/", os.O_RDONLY)
        os.chroot("/tmp/jail")
        os.fchdir(descriptor)
        for _ in range(20):
            os.chdir("..")
        os.chroot(".")
        return read(TARGETS["secret"])

    return with_namespaces(CLONE_NEWNS, climb)


@neighbour
def become_root_of_a_nested_namespace() -> object:
    return with_root(os.getuid)


@neighbour
def make_a_mount() -> object:
    return in_mount_namespace(lambda: mount("none", "/tmp", "tmpfs"))


@attack(FILTER, DENIED, control="become_root_of_a_nested_namespace")
def load_a_module() -> object:
    return syscall(175, b"", 0, b"")


@attack(FILTER, DENIED, control="become_root_of_a_nested_namespace")
def replace_the_kernel() -> object:
    return syscall(246, 0, 1 << 20, 0, 1 << 30)


@attack(FILTER, DENIED, control="become_root_of_a_nested_namespace")
def swap_to_a_file() -> object:
    """Have the kernel swap to a file"""
    return syscall(167, b"/nowhere", 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def set_the_clock() -> object:
    return syscall(164, 0, 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def use_the_ports_of_the_machine() -> object:
    return syscall(172, 0)


@attack(FILTER, DENIED, control=IF_THE_HOST_ALLOWS)
def restart_the_machine() -> object:
    """Restart the machine, with a key that the kernel refuses"""
    return syscall(169, 0, 0, 0, 0)
