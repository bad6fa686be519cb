"""The limits of a sandbox in the kernel's words: resource limits of its processes, and files of a control group. [pure]

What a resource limit can hold is held by one, because that works on every host: processes and threads of the whole sandbox (the kernel
counts RLIMIT_NPROC for each user namespace, and a nested one counts in all above it), open files and file size of each process.
Memory and processors of a whole sandbox are the business of a control group, version 2; where there is none, a launch that asks for
them is refused: a limit on each of four thousand processes would be no limit on them all.
"""

from typing import Final

from immure.model.limits import Limits

DEFAULTS: Final = Limits(pids=4096, open_files=65536)
"""Enough for a parallel build of a large project or a browser, and too little for a fork bomb to take the machine with it."""

_PERIOD: Final = 100_000
"""Microseconds in which the share of processors is measured: the kernel's default for cpu.max."""

ResourceLimit = tuple[str, int | None, int, bool]
"""Name (of RLIMIT_…), soft limit (None: as it was, as far as the hard one allows), hard limit, whether less will not do."""


def resource_limits(asked: Limits) -> list[ResourceLimit]:
    """What each process is started under. A default gives way to a host that allows less; what was asked for does not."""
    chosen = asked.over(DEFAULTS)
    made: list[ResourceLimit] = []
    for name, kernel_name in (("pids", "NPROC"), ("open_files", "NOFILE"), ("file_size", "FSIZE")):
        amount = chosen.number(name)
        if amount is not None:
            is_asked = getattr(asked, name) is not None
            # Programs that use select(2) cannot take more than 1024, so by default the soft limit stays where it was.
            keep_soft = name == "open_files" and not is_asked
            made.append((kernel_name, None if keep_soft else int(amount), int(amount), is_asked))
    return made


def control_group(asked: Limits) -> dict[str, str]:
    """Files of the control group and what is written to them (Documentation/admin-guide/cgroup-v2.rst); none if it is not needed."""
    made: dict[str, str] = {}
    memory, cpus = asked.number("memory"), asked.number("cpus")
    if memory is not None:
        made |= {"memory.max": str(int(memory)), "memory.swap.max": "0"}
    if cpus is not None:
        made["cpu.max"] = f"{int(cpus * _PERIOD)} {_PERIOD}"
    return made
