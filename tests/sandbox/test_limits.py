"""Limits in the kernel's words."""

from typing import Any

import pytest

from immure.model import Limits
from immure.model.limits import UNLIMITED
from immure.sandbox.limits import DEFAULTS, ResourceLimit, control_group, resource_limits

PIDS: ResourceLimit = ("NPROC", 4096, 4096, False)
FILES: ResourceLimit = ("NOFILE", None, 65536, False)

# asked → resource limits, control group
TABLE: list[tuple[Limits, list[ResourceLimit], dict[str, Any]]] = [
    (Limits(), [PIDS, FILES], {}),
    (Limits(pids=4096), [("NPROC", 4096, 4096, True), FILES], {}),
    (Limits(open_files=100), [PIDS, ("NOFILE", 100, 100, True)], {}),
    (Limits(pids=UNLIMITED, open_files=UNLIMITED), [], {}),
    (Limits(file_size=5), [PIDS, FILES, ("FSIZE", 5, 5, True)], {}),
    (Limits(memory=1 << 30), [PIDS, FILES], {"memory.max": "1073741824", "memory.swap.max": "0"}),
    (Limits(cpus=1.5), [PIDS, FILES], {"cpu.max": "150000 100000"}),
    (Limits(cpus=0.01, memory=UNLIMITED), [PIDS, FILES], {"cpu.max": "1000 100000"}),
]


@pytest.mark.parametrize(("asked", "limits", "group"), TABLE)
def test_translation(asked: Limits, limits: list[ResourceLimit], group: dict[str, Any]) -> None:
    assert resource_limits(asked) == limits
    assert control_group(asked) == group


def test_what_is_said_is_stronger_than_what_it_is_laid_over() -> None:
    assert Limits(pids=5).over(DEFAULTS) == Limits(pids=5, open_files=65536)
    assert Limits(pids=UNLIMITED).over(Limits(pids=5, cpus=2)) == Limits(pids=UNLIMITED, cpus=2)
