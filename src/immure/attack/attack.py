"""What an attack is: a small hostile program, and what is claimed of it.

An attack is a function that does what its name says and returns what it got. What stopped it, it raises: an OSError of the kernel, or
`Stopped` with the word for what happened instead. It is stopped only if that is one of the words that were foreseen: a program that failed
for another reason has proved nothing.

The modules of attacks are imported on both sides of the wall: outside for the list, inside to be run.

Rules: standard library only, since inside this runs on the system's interpreter. An attack proves that it has reach and does no more: it
reads what was laid out to be found, opens what it could write to, and leaves the machine as it was when nothing stops it.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Targets = dict[str, Any]
Program = Callable[[], object]

OUTSIDE = "outside"
"""The control: the same program, run outside of the walls, must get what it wants."""
IF_THE_HOST_ALLOWS = "outside, if the host allows it"
"""The same, but there are hosts (or users) for whom the kernel refuses it outside too; then nothing is left to be stopped."""

ABSENT = "ABSENT"
"""The word for a target that could not be laid out on this host, such as a listener where there is no IPv6."""

TARGETS: Targets = {}
"""Where the things are that were laid out to be attacked; filled before the first attack is run."""
ATTACKS: dict[str, "Attack"] = {}
NEIGHBOURS: dict[str, Program] = {}
"""Programs that must work inside: what an attack comes close to, and is the control where to run it outside would do harm."""


class Stopped(Exception):
    """What happened to an attack where no system call failed, in one word."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`stopped_by` names the wall; `words` are the ways in which it may say so. None: it is known that nothing stops it."""

    id: str
    group: str
    title: str
    stopped_by: str | None
    words: frozenset[str]
    control: str
    program: Program


def attack(stopped_by: str | None, words: str = "", *, control: str = OUTSIDE) -> Callable[[Program], Program]:
    """Put a function on the list. `control` is OUTSIDE, IF_THE_HOST_ALLOWS or the name of a neighbour."""

    def enter(program: Program) -> Program:
        group = program.__module__.rpartition(".")[2]
        name = program.__name__.replace("_", "-")
        title = (program.__doc__ or "").partition("\n")[0].rstrip(".") or program.__name__.replace("_", " ").capitalize()
        made = Attack(
            id=f"{group}/{name}",
            group=group,
            title=title,
            stopped_by=stopped_by,
            words=frozenset(words.split()),
            control=control,
            program=program,
        )
        ATTACKS[made.id] = made
        return program

    return enter


def neighbour(program: Program) -> Program:
    NEIGHBOURS[program.__name__] = program
    return program


def outcome(program: Program) -> tuple[bool, str]:
    """Run it here and now: did it get something, and what, or the word for what stopped it."""
    try:
        return True, str(program())
    except Stopped as stopped:
        return False, str(stopped)
    except KeyError:
        return False, ABSENT
    except OSError as error:
        return False, errno.errorcode.get(error.errno or 0, str(error.strerror))
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
