"""Files and services of the host that a sandbox is not shown."""

import ctypes
import errno
import glob
import os
import socket
import struct

from immure.attack.attack import IF_THE_HOST_ALLOWS, TARGETS, attack
from immure.attack.system_calls import read, syscall

TREE = "mount tree of its own"
PIDS = "pid namespace"
NETWORK = "network namespace"
FILTER = "seccomp program"


@attack(TREE, "ENOENT")
def read_a_file_of_the_home() -> object:
    return read(TARGETS["secret"])


@attack(TREE, "ENOENT")
def read_a_file_of_the_home_by_a_symbolic_link() -> object:
    link = f"{os.getcwd()}/link"
    os.symlink(TARGETS["secret"], link)
    try:
        return read(link)
    finally:
        os.unlink(link)


@attack(TREE, "ENOENT")
def read_a_file_of_the_home_by_the_root_of_another_process() -> object:
    for root in glob.glob("/proc/[0-9]*/root"):
        try:
            return read(root + TARGETS["secret"])
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


@attack(PIDS, "ENOENT", control="see_its_own_processes")
def find_a_directory_of_the_host_by_a_descriptor_of_another_process() -> object:
    for path in glob.glob("/proc/[0-9]*/fd/*") + glob.glob("/proc/[0-9]*/cwd"):
        try:
            if TARGETS["secret"] in os.readlink(path) or os.path.isdir(f"{path}/../../root/proc"):
                return path
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


@attack(TREE, "ENOENT")
def climb_out_of_the_workspace_by_descriptors() -> object:
    descriptor = os.open(".", os.O_RDONLY)
    for _ in range(20):
        descriptor = os.open("..", os.O_RDONLY, dir_fd=descriptor)
    path = os.path.relpath(TARGETS["secret"], "/")
    with open(os.open(path, os.O_RDONLY, dir_fd=descriptor)) as file:
        return len(file.read())


@attack(FILTER, "EPERM", control=IF_THE_HOST_ALLOWS)
def open_a_file_by_its_handle() -> object:
    handle = struct.pack("Ii8s", 8, 1, bytes(8))
    return syscall(304, os.open("/usr", os.O_RDONLY), ctypes.create_string_buffer(handle), os.O_RDONLY)


@attack(TREE, "ENOENT", control=IF_THE_HOST_ALLOWS)
def read_the_password_hashes() -> object:
    return read("/etc/shadow")


@attack(TREE, "ENOENT")
def find_sockets_in_run() -> object:
    found = os.listdir("/run")
    if not found:
        raise OSError(errno.ENOENT, "nothing")
    return found[0]


@attack(PIDS, "ENOENT")
def see_a_process_of_the_host() -> object:
    return read(f"/proc/{TARGETS['pid']}/environ")


@attack(PIDS, "ESRCH")
def signal_a_process_of_the_host() -> object:
    os.kill(TARGETS["pid"], 0)
    return "signalled"


@attack(TREE, "ENOENT")
def connect_to_a_unix_socket_of_the_host_by_path() -> object:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(TARGETS["path"])
        return "connected"


@attack(NETWORK, "ECONNREFUSED")
def connect_to_an_abstract_unix_socket_of_the_host() -> object:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(TARGETS["abstract"])
        return "connected"


@attack(NETWORK, "ECONNREFUSED")
def send_to_an_abstract_datagram_socket_of_the_host() -> object:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", TARGETS["datagram"])
        return "sent"


@attack(TREE, "ENOENT")
def connect_to_the_broker() -> object:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        os.chdir(os.path.dirname(os.path.dirname(TARGETS["broker"])))
        client.connect("run/broker.sock")
        return "connected"
