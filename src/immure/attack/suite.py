"""The suite: all attacks, in the order in which they are made and shown.

A sandbox is made once for all of them. What could disturb others comes last.
"""

from immure.attack import files, gate, hidden, identity, kernel, mounts, network, processes, unstopped, workspace
from immure.attack.attack import ATTACKS, Attack

ROOMS = (files, processes, network, gate, identity, kernel, workspace, hidden, mounts, unstopped)
"""The modules of attacks; each is a group."""
GROUPS = tuple(room.__name__.rpartition(".")[2] for room in ROOMS)


def attacks() -> tuple[Attack, ...]:
    return tuple(sorted(ATTACKS.values(), key=lambda one: GROUPS.index(one.group)))
