"""What is known not to be stopped, each with its program, so that the documents cannot claim more than is true."""

import ctypes
import os

from immure.attack.attack import attack
from immure.attack.processes import PTRACE_ATTACH, PTRACE_DETACH, trace_another_process_of_the_sandbox
from immure.attack.system_calls import checked, libc
from immure.attack.workspace import plant, plant_below


@attack(None)
def trace_a_process_of_the_same_sandbox() -> object:
    """Trace another process of the same sandbox: identity is attribution inside one, and not a wall"""
    return trace_another_process_of_the_sandbox()


@attack(None)
def take_over_the_first_process_of_the_sandbox() -> object:
    """Trace the first process of the sandbox: it has no more rights than any other"""
    traced = checked(libc.ptrace(ctypes.c_long(PTRACE_ATTACH), ctypes.c_long(1), None, None))
    os.waitpid(1, 0x40000000)  # __WALL
    libc.ptrace(ctypes.c_long(PTRACE_DETACH), ctypes.c_long(1), None, None)
    return traced


@attack(None)
def write_what_a_build_runs() -> object:
    """Write a Makefile: what you run because you ask for it is the agent's work"""
    return plant("Makefile")


@attack(None)
def create_what_an_editor_runs_further_down() -> object:
    """Make the settings of an editor in a directory further down: protected are those at the top"""
    return plant_below("further/.vscode", "tasks.json")


@attack(None)
def make_a_repository_further_down() -> object:
    """Make a repository further down, with hooks: protected are those that were there when the sandbox started"""
    os.makedirs("further/.git/hooks", exist_ok=True)
    return plant("further/.git/hooks/pre-commit")
