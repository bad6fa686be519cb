"""Hostile programs, run inside the walls and, as the control, outside of them: `python3 hostile.py ATTEMPT… < targets.json`.

Each function is one attempt and does what its name says. It returns what it got; what stopped it is reported by the name of its
error. The answer is one JSON object: attempt → [true, what it got] or [false, error].

Standard library only: inside, this runs on the python3 of the system.
"""

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import termios

TARGETS = {}
ATTEMPTS = {}
libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 32, 4096, 8192, 0x4000, 1 << 18, 2


def attempt(function):
    ATTEMPTS[function.__name__] = function
    return function


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def syscall(number, *arguments):
    return checked(libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]))


def read(path):
    with open(path, "rb") as file:
        return file.read(4096).decode(errors="replace")


def said(*words):
    """The last line a program says; raises OSError with the end of its complaint if it fails."""
    result = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if result.returncode:
        raise OSError(0, result.stderr.strip().rpartition(": ")[2])
    return (result.stdout.strip().splitlines() or [""])[-1]


def in_child(function):
    """What `function` returns in a forked child, which may change namespaces without changing ours."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = [True, function()]
        except OSError as error:
            answer = [False, error.errno, str(error)]
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        worked, *answer = json.loads(file.read())
    os.waitpid(pid, 0)
    if not worked:
        raise OSError(*answer)
    return answer[0]


def new_namespaces(flags):
    """Be root of a new user namespace with these others."""
    uid, gid = os.getuid(), os.getgid()
    checked(libc.unshare(CLONE_NEWUSER | flags))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source, target, kind=None, flags=0):
    encoded = [None if word is None else word.encode() for word in (source, target, kind)]
    checked(libc.mount(*encoded, ctypes.c_ulong(flags), None))


# ---------------------------------------------------------------- files outside


@attempt
def read_a_file_of_the_home():
    return read(TARGETS["secret"])


@attempt
def read_it_by_a_link():
    link = f"{os.getcwd()}/link"
    os.symlink(TARGETS["secret"], link)
    try:
        return read(link)
    finally:
        os.unlink(link)


@attempt
def read_it_by_the_root_of_another_process():
    for root in glob.glob("/proc/[0-9]*/root"):
        try:
            return read(root + TARGETS["secret"])
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


@attempt
def read_it_by_a_descriptor_of_another_process():
    for path in glob.glob("/proc/[0-9]*/fd/*") + glob.glob("/proc/[0-9]*/cwd"):
        try:
            if TARGETS["secret"] in os.readlink(path) or os.path.isdir(f"{path}/../../root/proc"):
                return path
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


@attempt
def climb_out_of_the_workspace():
    descriptor = os.open(".", os.O_RDONLY)
    for _ in range(20):
        descriptor = os.open("..", os.O_RDONLY, dir_fd=descriptor)
    path = os.path.relpath(TARGETS["secret"], "/")
    with open(os.open(path, os.O_RDONLY, dir_fd=descriptor)) as file:
        return file.read()


@attempt
def open_it_by_handle():
    handle = struct.pack("Ii8s", 8, 1, bytes(8))
    return syscall(304, os.open("/usr", os.O_RDONLY), ctypes.create_string_buffer(handle), os.O_RDONLY)


@attempt
def read_the_password_hashes():
    return read("/etc/shadow")


@attempt
def find_sockets_in_run():
    found = os.listdir("/run")
    if not found:
        raise OSError(errno.ENOENT, "nothing")
    return found[0]


@attempt
def see_a_process_of_the_host():
    return read(f"/proc/{TARGETS['pid']}/environ")


@attempt
def signal_a_process_of_the_host():
    os.kill(TARGETS["pid"], 0)
    return "signalled"


@attempt
def read_the_environment_of_pid_1():
    return read("/proc/1/environ") or "empty"


@attempt
def connect_to_a_socket_by_path():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(TARGETS["path"])
        return "connected"


@attempt
def connect_to_an_abstract_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(TARGETS["abstract"])
        return "connected"


@attempt
def send_to_an_abstract_datagram_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", TARGETS["datagram"])
        return "sent"


@attempt
def connect_to_the_broker():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        os.chdir(os.path.dirname(os.path.dirname(TARGETS["broker"])))
        client.connect("run/broker.sock")
        return "connected"


# ---------------------------------------------------------------- protected paths


@attempt
def make_an_ordinary_file():
    with open("ordinary.txt", "w") as file:
        file.write("made")
    return os.stat("ordinary.txt").st_size


@attempt
def change_an_ordinary_file_of_git():
    with open(".git/description", "w") as file:
        return file.write("made")


def plant(path):
    with open(path, "w") as file:
        return file.write("#!/bin/sh\ntouch /tmp/planted\n")


@attempt
def plant_a_hook():
    return plant(".git/hooks/pre-commit")


@attempt
def change_a_hook():
    return plant(".git/hooks/post-commit")


@attempt
def change_the_configuration():
    return plant(".git/config")


@attempt
def replace_the_configuration():
    plant(".git/config.lock")
    os.rename(".git/config.lock", ".git/config")


@attempt
def configure_with_git():
    return said("git", "config", "core.fsmonitor", "touch /tmp/planted")


@attempt
def remove_the_configuration():
    os.unlink(".git/config")


@attempt
def point_git_to_another_directory():
    return plant(".git/commondir")


@attempt
def replace_the_pointer_to_another_directory():
    plant(".git/other")
    os.rename(".git/other", ".git/commondir")


@attempt
def configure_the_worktree():
    return plant(".git/config.worktree")


@attempt
def move_the_repository_away():
    os.rename(".git", ".moved")


@attempt
def exchange_the_repository():
    os.makedirs("exchange/hooks", exist_ok=True)
    syscall(316, -100, b"exchange", -100, b".git", 2)


@attempt
def move_the_hooks_away():
    os.rename(".git/hooks", ".git/moved")


@attempt
def remove_the_hooks():
    shutil.rmtree(".git/hooks")


@attempt
def write_a_hook_by_a_hard_link():
    os.link(".git/hooks/post-commit", "link-to-hook")
    return plant("link-to-hook")


@attempt
def write_a_hook_by_a_symbolic_link():
    os.symlink(".git/hooks", "hooks")
    return plant("hooks/pre-push")


@attempt
def write_a_hook_by_a_descriptor():
    descriptor = os.open(".git/hooks/post-commit", os.O_RDONLY)
    return plant(f"/proc/self/fd/{descriptor}")


@attempt
def write_a_hook_by_the_root_of_a_process():
    return plant(f"/proc/self/root{os.getcwd()}/.git/hooks/pre-push")


@attempt
def make_a_hook_executable():
    os.chmod(".git/hooks/post-commit", 0o755)


@attempt
def create_the_configuration_of_codex():
    return plant(".codex/config.toml")


@attempt
def replace_the_configuration_of_codex():
    os.rmdir(".codex")


@attempt
def move_the_configuration_of_codex():
    os.rename(".codex", ".codex2")


@attempt
def create_skills():
    os.makedirs(".agents", exist_ok=True)
    return plant(".agents/skill.md")


@attempt
def link_skills_to_elsewhere():
    os.symlink("/tmp", ".agents")


@attempt
def create_what_direnv_runs():
    return plant(".envrc")


@attempt
def remove_its_stand_in():
    os.makedirs(".envrc", exist_ok=True)
    os.rmdir(".envrc")


@attempt
def rename_a_file_to_its_name():
    plant("prepared")
    os.rename("prepared", ".envrc")


@attempt
def rename_a_directory_to_its_name():
    os.makedirs("prepared-directory", exist_ok=True)
    os.rename("prepared-directory", ".mcp.json")


@attempt
def create_what_an_mcp_client_starts():
    return plant(".mcp.json")


def plant_below(directory, name):
    os.makedirs(directory, exist_ok=True)
    return plant(f"{directory}/{name}")


@attempt
def create_what_an_editor_runs():
    return plant_below(".vscode", "tasks.json")


@attempt
def create_what_claude_code_runs():
    return plant_below(".claude", "settings.json")


@attempt
def create_what_cargo_runs():
    return plant_below(".cargo", "config.toml")


@attempt
def create_what_a_container_runs_outside():
    return plant_below(".devcontainer", "devcontainer.json")


@attempt
def plant_a_hook_of_a_submodule():
    return plant(".git/modules/sub/hooks/post-checkout")


@attempt
def change_the_configuration_of_a_submodule():
    return plant(".git/modules/sub/config")


@attempt
def point_a_submodule_elsewhere():
    return plant("vendor/sub/.git")


@attempt
def move_a_submodule_away():
    os.rename("vendor", "moved")


@attempt
def move_all_submodules_repositories_away():
    os.rename(".git/modules", ".git/moved")


@attempt
def move_a_submodules_repository_away():
    os.rename(".git/modules/sub", ".git/modules/moved")


@attempt
def plant_a_hook_of_a_nested_repository():
    return plant("nested/.git/hooks/pre-commit")


@attempt
def move_a_nested_repository_away():
    os.rename("nested", "moved")


@attempt
def exchange_a_nested_repository():
    os.makedirs("exchange/.git/hooks", exist_ok=True)
    syscall(316, -100, b"exchange", -100, b"nested", 2)


@attempt
def point_a_linked_working_tree_elsewhere():
    return plant(".git/worktrees/linked/commondir")


@attempt
def move_a_linked_working_trees_directory_away():
    os.rename(".git/worktrees/linked", ".git/worktrees/moved")


@attempt
def plant_a_hook_where_the_configuration_says():
    return plant("tools/hooks/pre-commit")


@attempt
def move_that_directorys_parent_away():
    os.rename("tools", "moved")


@attempt
def change_an_included_configuration():
    return plant("team.gitconfig")


@attempt
def race_a_link_against_the_hooks():
    """One process swaps a directory and a link to the hooks, the other writes through the name that both have."""
    os.makedirs("swing", exist_ok=True)
    os.symlink(".git/hooks", "other")
    swapper = os.fork()
    if swapper == 0:
        while True:
            libc.syscall(316, -100, b"swing", -100, b"other", 2)
    try:
        for _ in range(20000):
            try:
                plant("swing/pre-rebase")
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
            if os.path.exists(".git/hooks/pre-rebase"):
                return "planted"
    finally:
        os.kill(swapper, 9)
        os.waitpid(swapper, 0)
    raise OSError(errno.EROFS, "20000 times")


# ---------------------------------------------------------------- hidden files


@attempt
def read_a_hidden_file():
    return read("deep/.env")


@attempt
def read_it_by_a_symbolic_link():
    os.symlink("deep/.env", "link-to-hidden")
    try:
        return read("link-to-hidden")
    finally:
        os.unlink("link-to-hidden")


@attempt
def read_it_by_a_hard_link():
    os.link("deep/.env", "hard-link")
    try:
        return read("hard-link")
    finally:
        os.unlink("hard-link")


@attempt
def read_it_by_the_root_of_a_process():
    return read(f"/proc/self/root{os.getcwd()}/deep/.env")


@attempt
def read_it_by_moving_its_directory():
    os.rename("deep", "deeper")
    try:
        return read("deeper/.env")
    finally:
        os.rename("deeper", "deep")


@attempt
def read_it_as_root_of_a_nested_namespace():
    return with_root(lambda: read("deep/.env"))


@attempt
def read_it_in_a_tree_without_its_mounts():
    def change():
        os.makedirs("/tmp/bare", exist_ok=True)
        mount(os.getcwd(), "/tmp/bare", None, MS_BIND)
        return read("/tmp/bare/deep/.env")

    return in_mount_namespace(change)


@attempt
def read_it_where_a_link_leads():
    return read("deep/real-secret")


@attempt
def read_a_hidden_directory():
    return os.listdir("private")[0]


@attempt
def read_it_after_a_change_of_mode():
    os.chmod("private", 0o755)
    return os.listdir("private")[0]


@attempt
def write_a_hidden_file():
    with open("deep/.env", "a") as file:
        return file.write("more")


@attempt
def remove_a_hidden_file():
    os.unlink("deep/removed.key")


@attempt
def replace_a_hidden_file():
    plant("replacement")
    os.rename("replacement", "deep/replaced.key")


# ---------------------------------------------------------------- the mount tree


def in_mount_namespace(change):
    def run():
        new_namespaces(CLONE_NEWNS)
        return change()

    return in_child(run)


@attempt
def remount_the_hooks_writable():
    def change():
        mount("none", f"{os.getcwd()}/.git/hooks", None, MS_REMOUNT | MS_BIND)
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def unmount_the_hooks():
    def change():
        checked(libc.umount2(f"{os.getcwd()}/.git/hooks".encode(), MNT_DETACH))
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def move_the_mount_of_the_hooks():
    def change():
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        os.makedirs("/tmp/aside", exist_ok=True)
        mount(f"{os.getcwd()}/.git/hooks", "/tmp/aside", None, MS_MOVE)
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def bind_the_workspace_without_its_mounts():
    def change():
        os.makedirs("/tmp/bare", exist_ok=True)
        mount(os.getcwd(), "/tmp/bare", None, MS_BIND)
        return plant("/tmp/bare/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def bind_the_workspace_with_its_mounts_and_take_them_off():
    def change():
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        os.makedirs("/tmp/whole", exist_ok=True)
        mount(os.getcwd(), "/tmp/whole", None, MS_BIND | MS_REC)
        for name in (".git/hooks", ".git"):
            checked(libc.umount2(f"/tmp/whole/{name}".encode(), MNT_DETACH))
        return plant("/tmp/whole/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def clone_the_tree_without_its_mounts():
    def change():
        tree = syscall(428, -100, os.getcwd().encode(), 1)
        return plant(f"/proc/self/fd/{tree}/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attempt
def write_to_the_system():
    return plant("/usr/bin/immure-was-here")


@attempt
def remount_the_system_writable():
    def change():
        mount("none", "/usr", None, MS_REMOUNT | MS_BIND)
        return plant("/usr/bin/immure-was-here")

    return in_mount_namespace(change)


# ---------------------------------------------------------------- the network


def tcp(host, port, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(5)
        client.connect((host, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return "connected"


def udp(host, port, family=socket.AF_INET, protocol=0):
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
        client.connect((host, port))
        client.send(b"hello")
        client.settimeout(0.2)
        try:
            client.recv(1)
        except TimeoutError:
            return "sent"


@attempt
def connect_to_the_hosts_loopback():
    return tcp("127.0.0.1", TARGETS["tcp"])


@attempt
def connect_to_the_hosts_loopback_by_ipv6():
    return tcp("::1", TARGETS["tcp6"], socket.AF_INET6)


@attempt
def send_udp_to_the_host():
    return udp("127.0.0.1", TARGETS["udp"])


@attempt
def send_udp_to_an_address_of_the_host():
    return udp(TARGETS["address"], TARGETS["udp"])


@attempt
def send_udp_by_ipv6():
    return udp("::1", TARGETS["udp6"], socket.AF_INET6)


@attempt
def send_udp_lite():
    return udp("127.0.0.1", TARGETS["udp"], protocol=136)


@attempt
def speak_quic():
    return udp("203.0.113.1", 443)


@attempt
def open_a_ping_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
        client.sendto(b"\x08\0\0\0\0\0\0\0", ("127.0.0.1", 0))
        return "sent"


@attempt
def open_a_raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()
    return "opened"


@attempt
def open_a_packet_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return "opened"


@attempt
def reach_the_hypervisor():
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "opened"


@attempt
def open_the_kernels_cryptography():
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    return "opened"


@attempt
def open_a_bluetooth_socket():
    socket.socket(31, socket.SOCK_RAW, 0).close()
    return "opened"


@attempt
def use_sctp():
    return tcp("127.0.0.1", TARGETS["tcp"], protocol=132)


@attempt
def use_multipath_tcp():
    return tcp("127.0.0.1", TARGETS["tcp"], protocol=262)


@attempt
def connect_without_connect():
    with socket.socket() as client:
        client.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, ("203.0.113.1", 80))
        return "connected"


def with_root(function):
    def run():
        new_namespaces(0)
        return function()

    return in_child(run)


def netlink(kind, body, flags=0x5):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.bind((0, 0))
        channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = channel.recv(65536)
        number = -struct.unpack_from("=i", answer, 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
        return "changed"


def add_an_address():
    return netlink(20, struct.pack("=BBBBi", 2, 32, 0x80, 0, 1) + struct.pack("=HH4B", 8, 2, 192, 0, 2, 77), 0x605)


def add_a_route():
    return netlink(24, struct.pack("=BBBBBBBBI", 2, 8, 0, 0, 254, 3, 253, 1, 0) + struct.pack("=HH4B", 8, 1, 192, 0, 2, 0), 0x605)


def take_the_device_down():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(any_socket, 0x8913, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", flags & ~1))
        return "down"


def delete_the_firewall():
    def message(kind, subsystem, body=b"", flags=5):
        return struct.pack("=IHHIIBBH", 20 + len(body), subsystem << 8 | kind, flags, 1, 0, 0, 0, 0) + body

    begin = struct.pack("=IHHIIBB", 20, 0x10, 1, 0, 0, 0, 0) + struct.pack("!H", 10)
    end = struct.pack("=IHHIIBB", 20, 0x11, 1, 0, 0, 0, 0) + struct.pack("!H", 10)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as channel:
        channel.bind((0, 0))
        channel.settimeout(1)
        channel.send(begin + message(2, 10) + end)
        number = -struct.unpack_from("=i", channel.recv(65536), 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
        return "deleted"


@attempt
def add_an_address_to_the_device():
    return add_an_address()


@attempt
def add_an_address_as_root_of_a_nested_namespace():
    return with_root(add_an_address)


@attempt
def add_a_route_as_root_of_a_nested_namespace():
    return with_root(add_a_route)


@attempt
def take_the_device_down_as_root_of_a_nested_namespace():
    return with_root(take_the_device_down)


@attempt
def delete_the_firewall_as_root_of_a_nested_namespace():
    return with_root(delete_the_firewall)


@attempt
def reach_nf_tables_in_a_network_of_its_own():
    def run():
        new_namespaces(CLONE_NEWNET)
        return delete_the_firewall()

    return in_child(run)


@attempt
def reach_the_firewalls_older_door():
    def run():
        new_namespaces(CLONE_NEWNET)
        with socket.socket() as any_socket:
            any_socket.setsockopt(socket.IPPROTO_IP, 64, bytes(200))
        return "replaced"

    return in_child(run)


@attempt
def open_a_raw_socket_as_root_of_a_nested_namespace():
    return with_root(open_a_raw_socket)


@attempt
def leave_by_a_network_of_its_own():
    def run():
        new_namespaces(CLONE_NEWNET)
        return tcp(TARGETS["address"], TARGETS["tcp"])

    return in_child(run)


@attempt
def enter_the_network_of_another_process():
    ours = os.readlink("/proc/self/ns/net")
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            if os.readlink(path) == ours:
                continue
            with open(path) as namespace:
                checked(libc.setns(namespace.fileno(), 0))
            return path
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


# ---------------------------------------------------------------- the kernel


def opens_for_writing(path):
    os.close(os.open(path, os.O_WRONLY))
    return "opened"


@attempt
def name_the_program_that_takes_core_dumps():
    return opens_for_writing("/proc/sys/kernel/core_pattern")


@attempt
def name_it_as_root_of_a_nested_namespace():
    return with_root(lambda: opens_for_writing("/proc/sys/kernel/core_pattern"))


@attempt
def change_a_setting_of_memory():
    return opens_for_writing("/proc/sys/vm/overcommit_memory")


@attempt
def press_the_magic_key():
    return opens_for_writing("/proc/sysrq-trigger")


@attempt
def read_kernel_memory():
    return read("/proc/kcore")


@attempt
def read_kernel_messages():
    return syscall(103, 3, ctypes.create_string_buffer(64), 64)


@attempt
def use_io_uring():
    return syscall(425, 8, ctypes.create_string_buffer(120))


@attempt
def use_a_key_of_the_user():
    return syscall(250, 0, -4, 0)


@attempt
def load_a_bpf_program():
    return syscall(321, 0, ctypes.create_string_buffer(128), 128)


@attempt
def count_performance_events():
    return syscall(298, ctypes.create_string_buffer(struct.pack("II", 1, 128) + bytes(120)), 0, -1, -1, 0)


@attempt
def handle_page_faults():
    return syscall(323, 0)


@attempt
def type_into_a_terminal():
    _, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSTI, b"x")
    return "typed"


@attempt
def type_into_a_terminal_by_the_high_bits():
    _, slave = os.openpty()
    return syscall(16, slave, 1 << 32 | termios.TIOCSTI, ctypes.create_string_buffer(b"x"))


@attempt
def call_as_a_32_bit_program():
    """int 0x80 takes the numbers of i386: 20 is getpid there."""
    import mmap

    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    code = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    answer = code()
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


@attempt
def call_as_an_x32_program():
    return syscall(0x40000000 | 39)


@attempt
def make_a_device():
    os.mknod("device", 0o60666, os.makedev(1, 1))
    return "made"


@attempt
def make_a_device_as_root_of_a_nested_namespace():
    return with_root(make_a_device)


@attempt
def configure_a_file_system_by_the_new_calls():
    return in_mount_namespace(lambda: syscall(430, b"tmpfs", 0))


@attempt
def make_a_16_bit_segment():
    return syscall(154, 0, ctypes.create_string_buffer(64), 64)


@attempt
def watch_file_systems():
    return syscall(300, 0x200, 0)


@attempt
def have_core_dumps_written():
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if resource.getrlimit(resource.RLIMIT_CORE) == before and before in ((1, 1), (0, 0)):
        raise OSError(errno.EPERM, "it stays as it is, and too small")
    return before


@attempt
def make_a_program_of_its_owner():
    shutil.copy("/bin/true", "setuid-program")
    try:
        os.chmod("setuid-program", 0o4755)
        return oct(os.stat("setuid-program").st_mode)
    finally:
        os.unlink("setuid-program")


@attempt
def make_it_by_descriptor():
    descriptor = os.open("setuid-program", os.O_CREAT | os.O_WRONLY, 0o755)
    try:
        os.fchmod(descriptor, 0o4755)
        return oct(os.stat("setuid-program").st_mode)
    finally:
        os.unlink("setuid-program")


@attempt
def make_it_at_creation():
    """The mode of open(2); what is written after that takes the bit away again, if the kernel is asked."""
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


@attempt
def mount_a_disk():
    return in_mount_namespace(lambda: mount("/dev/vda", "/tmp", "ext4"))


@attempt
def leave_the_root_by_chroot():
    def run():
        new_namespaces(CLONE_NEWNS)
        os.makedirs("/tmp/jail", exist_ok=True)
        descriptor = os.open("/", os.O_RDONLY)
        os.chroot("/tmp/jail")
        os.fchdir(descriptor)
        for _ in range(20):
            os.chdir("..")
        os.chroot(".")
        return read(TARGETS["secret"])

    return in_child(run)


def main():
    TARGETS.update(json.loads(sys.stdin.read()))
    found = {}
    for name in sys.argv[1:]:
        try:
            found[name] = [True, ATTEMPTS[name]()]
        except OSError as error:
            found[name] = [False, errno.errorcode.get(error.errno, error.strerror)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
