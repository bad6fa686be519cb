"""What a program in a sandbox can do, tried out: `python3 -c "$(cat probes.py)" HOME OUTSIDE-PORT` writes one JSON object of verdicts.

Standard library only. A verdict is "yes" or "no"; of the environment it is the value.
"""

import json
import os
import socket
import subprocess
import sys

HOME, PORT = sys.argv[1], int(sys.argv[2])


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def write(path):
    with open(path, "a"):
        pass


def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)


def connect(family, address):
    with socket.socket(family) as probe:
        probe.settimeout(5)
        probe.connect(address)


def run(path):
    subprocess.run([path], check=True)


PROBES = {
    "read a file of the workspace": lambda: read("file"),
    "write a file of the workspace": lambda: write("file"),
    "create a file in the workspace": lambda: create("new"),
    "create a directory in the workspace": lambda: (os.mkdir("new"), os.rmdir("new")),
    "rename a file of the workspace": lambda: (os.rename("file", "other"), os.rename("other", "file")),
    "remove .git": lambda: (os.rename(".git", "git"), os.rename("git", ".git")),
    "create a file in .git": lambda: create(".git/new"),
    "write .git/config": lambda: write(".git/config"),
    "create a file in .git/hooks": lambda: create(".git/hooks/new"),
    "create .codex": lambda: (os.makedirs(".codex/new"), os.rmdir(".codex/new")),
    "create .agents": lambda: (os.makedirs(".agents/new"), os.rmdir(".agents/new")),
    "create .aws": lambda: (os.makedirs(".aws/new"), os.rmdir(".aws/new")),
    "create .envrc": lambda: create(".envrc"),
    "read sub/file": lambda: read("sub/file"),
    "write sub/file": lambda: write("sub/file"),
    "create a file in sub": lambda: create("sub/new"),
    "create missing": lambda: create("missing"),
    "read secret/file": lambda: read("secret/file"),
    "list secret": lambda: os.listdir("secret"),
    "create a file in secret": lambda: create("secret/new"),
    "read .env": lambda: read(".env"),
    "read sub/deep/.env": lambda: read("sub/deep/.env"),
    "read a file of the home": lambda: read(f"{HOME}/file"),
    "create a file in the home": lambda: create(f"{HOME}/new"),
    "read a private file of the home": lambda: read(f"{HOME}/.ssh/id"),
    "read the login": lambda: read(f"{HOME}/.codex/auth.json"),
    "read elsewhere": lambda: read(f"{HOME}/elsewhere/file"),
    "write elsewhere": lambda: write(f"{HOME}/elsewhere/file"),
    "create elsewhere": lambda: create(f"{HOME}/elsewhere/new"),
    "read elsewhere/inner": lambda: read(f"{HOME}/elsewhere/inner/file"),
    "create elsewhere/inner": lambda: create(f"{HOME}/elsewhere/inner/new"),
    "create elsewhere/.git": lambda: (os.mkdir(f"{HOME}/elsewhere/.git"), os.rmdir(f"{HOME}/elsewhere/.git")),
    "read a program of the system": lambda: read("/usr/bin/env"),
    "list /var/lib": lambda: os.listdir("/var/lib"),
    "read os-release": lambda: read("/etc/os-release"),
    "read /etc/shadow": lambda: read("/etc/shadow"),
    "list /run": lambda: os.listdir("/run")[0],
    "list /sys": lambda: os.listdir("/sys")[0],
    "create in /tmp": lambda: create("/tmp/immure-probe-new"),
    "read the host's /tmp": lambda: read("/tmp/immure-probe-of-the-host"),
    "create in /var/tmp": lambda: create("/var/tmp/immure-probe-new"),
    "create in /usr": lambda: create("/usr/immure-probe-new"),
    "create in /etc": lambda: create("/etc/immure-probe-new"),
    "create in /run": lambda: create("/run/immure-probe-new"),
    "create in /dev/shm": lambda: create("/dev/shm/immure-probe-new"),
    "run a program of the system": lambda: run("/usr/bin/true"),
    "run a program of the workspace": lambda: run("./program"),
    "make a socket of the internet": lambda: socket.socket(socket.AF_INET).close(),
    "make a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "make a pair of sockets": lambda: [one.close() for one in socket.socketpair()],
    "connect to a server of the host": lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)),
    "connect to a socket in the workspace": lambda: connect(socket.AF_UNIX, "socket"),
}


def verdict(probe):
    try:
        probe()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "no"
    return "yes"


if __name__ == "__main__":
    verdicts = {name: verdict(probe) for name, probe in PROBES.items()}
    verdicts["CODEX_SANDBOX_NETWORK_DISABLED"] = os.environ.get("CODEX_SANDBOX_NETWORK_DISABLED", "")
    json.dump(verdicts, sys.stdout)
