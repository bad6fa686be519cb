"""What is in the programs that rules and credentials name: the digest of each, read anew only when its file has changed.

The broker has read each of them before the sandbox began and tells digest and stamp, so as long as a file stays as it was, nothing is
read here. One that was touched (a hard link, a package manager, the agent itself where it may write) is read aside from the loop, once
for all who ask meanwhile, while they wait. Of programs that nothing names nothing is read.

*Fails:* no digest, and a program without the digest that is trusted is not the program.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from immure.digest import measured
from immure.gate.aside import Aside
from immure.gate.loop import Loop
from immure.model import Binary
from immure.model.caller import Stamp

_THREADS: Final = 1
"""Reading is bound by the processor, of which the gate leaves some to others."""

_File = tuple[int, int]
Told = Callable[[Binary], None]


class Contents:
    """The digests of the named programs of one sandbox."""

    def __init__(self, loop: Loop) -> None:
        self._aside = Aside(loop, "contents", _THREADS)
        self._named: dict[_File, list[Binary]] = {}
        self._known: dict[_File, tuple[Stamp, str]] = {}
        self._reading: dict[tuple[_File, Stamp], list[Told]] = {}

    def name(self, binaries: Iterable[Binary]) -> None:
        """These are the programs that are named from now on, each with the digest and the stamp under which it is trusted."""
        self._named.clear()
        for binary in binaries:
            file = binary.device, binary.inode
            self._named.setdefault(file, []).append(binary)
            if binary.digest and binary.stamp:
                self._known[file] = binary.stamp, binary.digest
        self._known = {file: known for file, known in self._known.items() if file in self._named}

    def settled(self, found: Binary) -> Binary | None:
        """A binary as it was found, with its digest if one is needed and known; None if it must be read."""
        file = found.device, found.inode
        named = self._named.get(file)
        if named is None:
            return found
        stamp, digest = self._known.get(file, ((), ""))
        if stamp == found.stamp:
            return Binary(found.path, found.device, found.inode, digest, stamp)
        if all(trusted.stamp and trusted.stamp[0] != found.stamp[0] for trusted in named):
            return found  # of another size, so it is not what is trusted: however large it is, nobody need read it
        return None

    def read(self, found: Binary, descriptor: int, told: Told) -> None:
        """Call `told` in a later turn with the binary and its digest. The descriptor is taken over."""
        file = found.device, found.inode
        waiting = self._reading.setdefault((file, found.stamp), [])
        waiting.append(told)
        if len(waiting) > 1:
            os.close(descriptor)
            return

        def done(read: Binary | None) -> None:
            os.close(descriptor)
            if read is not None and not read.is_at(found):
                read = None  # an ancestor that runs another program since
            if read is not None and read.stamp:
                self._known[file] = read.stamp, read.digest
            binary = replace(found, digest=read.digest if read is not None else "")
            for tell in self._reading.pop((file, found.stamp)):
                tell(binary)

        self._aside.do(lambda: _read(found.path, descriptor), done)


def _read(path: str, descriptor: int) -> Binary:
    opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return measured(path, opened)
    finally:
        os.close(opened)
