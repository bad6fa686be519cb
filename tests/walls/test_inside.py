"""What a program inside is and has: no rights, no descriptors, no way to get any; and everything that it needs to work."""

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from near_side import call

from immure.sandbox import system
from immure.testing.household import Household

REPORT = """
import json, os, stat
def everything():
    for directory, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in ("/proc", "/usr")]
        yield from (os.path.join(directory, name) for name in (*names, *files))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mounts = [line.split() for line in open("/proc/self/mounts")]
json.dump({
    "status": {name: value.split() for name, value in status.items()},
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "setuid is honoured on": [target for _, target, _, options, *_ in mounts if "nosuid" not in options.split(",")],
    "devices are honoured on": [target for _, target, _, options, *_ in mounts if "nodev" not in options.split(",")],
    "writable": [target for _, target, kind, options, *_ in mounts if "rw" in options.split(",") and kind not in ("tmpfs", "devtmpfs")],
    "environment": dict(os.environ),
    "interfaces": os.listdir("/sys/class/net") if os.path.exists("/sys/class/net") else [],
    "hostname": os.uname().nodename,
    "top": sorted(os.listdir("/")),
    "below": {top: sorted(os.listdir(top)) for top in "/run /tmp /var /var/tmp /home /home/agent /etc /dev /dev/shm".split()},
    "sockets": [path for path in everything() if stat.S_ISSOCK(os.lstat(path).st_mode)],
    "session": [os.getpid(), os.getpgrp(), os.getsid(0)],
}, open("report.json", "w"))
"""

# The sandboxes that agents bring along, each around `true`.
NESTED = {
    "bubblewrap": "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true",
    "bubblewrap with a network": "bwrap --unshare-all --share-net --ro-bind / / --proc /proc --dev /dev true",
    "unshare": "unshare --user --map-root-user --mount --pid --fork --mount-proc true",
    "a sandbox in a sandbox": (
        "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true"
    ),
}


@pytest.fixture(scope="module")
def report(household: Household) -> dict[str, Any]:
    held = os.open("/", os.O_RDONLY)  # what a careless parent leaves open must not go inside
    os.set_inheritable(held, True)
    try:
        result = call(household, "run", "--", "python3", "-c", REPORT, environment={"LD_PRELOAD": "", "PRIVATE": "value"})
    finally:
        os.close(held)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads((Path(household.workspace) / "report.json").read_text())
    return found


def test_it_has_no_capability_and_cannot_get_any(report: dict[str, Any]) -> None:
    status = report["status"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind
    assert status["NoNewPrivs"] == ["1"]
    assert status["Seccomp"] == ["2"]
    assert report["setuid is honoured on"] == []


def test_it_is_nobody_special(report: dict[str, Any]) -> None:
    assert report["status"]["Uid"] == ["1000"] * 4
    assert report["status"]["Gid"] == ["1000"] * 4


def test_it_inherits_no_descriptor(report: dict[str, Any]) -> None:
    assert report["descriptors"] == [0, 1, 2, 3], "the fourth is the listing itself"


def test_it_sees_no_process_but_its_own(report: dict[str, Any]) -> None:
    assert report["pids"] == [1, report["session"][0]]


def test_nothing_of_the_host_is_writable_but_the_workspace(report: dict[str, Any], household: Household) -> None:
    own = "/home/agent/.codex"  # made for this sandbox; the fixture `home` sees that nothing of it is left
    assert [path for path in report["writable"] if path not in ("/proc", "/dev/pts", own)] == [household.workspace]
    assert own in report["writable"]


def test_devices_are_honoured_only_where_bubblewrap_put_them(report: dict[str, Any]) -> None:
    assert {os.path.dirname(path) for path in report["devices are honoured on"]} == {"/dev"}


def test_the_environment_is_made_afresh(report: dict[str, Any]) -> None:
    environment = report["environment"]
    assert not {"PRIVATE", "LD_PRELOAD", "IMMURE_HOME", "CODEX_HOME"} & set(environment)
    assert environment["IMMURE_SANDBOX"] == "1"


def test_the_root_holds_the_system_and_the_workspace(report: dict[str, Any], household: Household) -> None:
    top = {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", "var"}
    assert set(report["top"]) <= top | {household.workspace.split("/")[1]}


# directory → what may be in it; what a host has more, such as sockets of its services, spools, homes and secrets, is not shown
INVENTORY = {
    "/run": set(),
    "/tmp": set(),
    "/var": {"tmp"},
    "/var/tmp": set(),
    "/home": {"agent"},
    "/home/agent": {".codex"},
    "/dev": set("console core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero".split()),
    "/dev/shm": set(),
}


def test_of_the_host_nothing_is_visible_but_what_is_listed(report: dict[str, Any], household: Household) -> None:
    way = household.workspace.split("/")
    extra = {top: set(report["below"][top]) - names for top, names in INVENTORY.items()}
    for top in [top for top in extra if household.workspace.startswith(top + "/")]:
        extra[top].discard(way[top.count("/") + 1])
    assert extra == {top: set() for top in INVENTORY}
    listed = {*system._ETC, *(path.split("/")[2] for path in (*system._MADE, *system._BUNDLES))}
    assert set(report["below"]["/etc"]) <= listed
    assert report["sockets"] == []
    assert set(os.listdir("/etc")) - listed, "the control: the host has more"
    assert set(os.listdir("/dev")) - INVENTORY["/dev"], "the control: the host has more"


def test_its_session_has_nobody_from_outside(report: dict[str, Any]) -> None:
    _, group, session = report["session"]
    assert group in report["pids"]
    assert session in report["pids"], "0 would be a process that it cannot see"


@pytest.mark.parametrize("command", NESTED.values(), ids=NESTED)
def test_an_agents_own_sandbox_works(command: str, home: Household) -> None:
    result = home.run("run", "--", *command.split())
    assert (result.returncode, result.stderr) == (0, "")


def test_its_own_servers_work_on_any_port(home: Household) -> None:
    script = """
import socket
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")):
    for port in (443, 8080):
        with socket.create_server((address, port), family=family) as server:
            host = {"0.0.0.0": "localhost"}.get(address, address)
            with socket.create_connection((host, port), timeout=5) as client:
                accepted, _ = server.accept()
                client.sendall(b"hello")
                assert accepted.recv(5) == b"hello"
                accepted.close()
print("served")
"""
    result = home.run("run", "--", "python3", "-c", script)
    assert (result.stdout, result.stderr) == ("served\n", "")


def test_a_crash_leaves_no_core_file(home: Household) -> None:
    script = "ulimit -c unlimited; kill -SEGV $$"
    assert home.run("run", "--", "bash", "-c", script).returncode == 128 + signal.SIGSEGV
    assert os.listdir(home.workspace) == []


def test_what_is_planted_for_host_tools_does_us_no_harm(home: Household) -> None:
    """A FIFO where a file is expected keeps whoever opens it waiting; we do not wait."""
    planted = "mkfifo .gitmodules; mkdir -p nested/.git; cd nested/.git; mkdir objects refs; touch HEAD; mkfifo config"
    assert home.run("run", "--", "sh", "-c", planted).returncode == 0
    result = home.run("run", "--hide", "*.pem", "--", "ls", "-A", "nested/.git")
    assert (result.returncode, result.stderr) == (0, "")


if os.getuid() == 0:  # nobody else can make one

    def test_a_device_that_lies_in_the_workspace_is_none(home: Household) -> None:
        path = f"{home.workspace}/device"
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 9))
        os.chmod(path, 0o666)
        result = home.run("run", "--", "head", "-c", "1", "device")
        assert (result.returncode, "Permission denied" in result.stderr) == (1, True)
        with open(path, "rb", buffering=0) as device:
            assert len(device.read(1)) == 1, "the control: outside it is random"


def test_its_files_are_yours(home: Household) -> None:
    assert home.run("run", "--", "sh", "-c", "mkdir made; echo made > made/file; mkfifo made/fifo").returncode == 0
    for path in [Path(home.workspace) / "made", *(Path(home.workspace) / "made").iterdir()]:
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


def test_its_files_have_the_modes_that_your_umask_says(home: Household) -> None:
    before = os.umask(0o027)
    try:
        assert home.run("run", "--", "sh", "-c", "umask; touch file; mkdir directory").stdout == "0027\n"
    finally:
        os.umask(before)
    modes = [(Path(home.workspace) / name).stat().st_mode & 0o777 for name in ("file", "directory")]
    assert modes == [0o640, 0o750]
