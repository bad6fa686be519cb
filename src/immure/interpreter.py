"""How one of our processes starts another: the same interpreter and the same packages, without `site`.

`python -S -I` skips what a start-up otherwise spends most of its time on, and listens to no PYTHON* variable and no user directory.

Rule: imports nothing but sys, because the client that starts in 13 ms reads it.
"""

import sys

_START = "import sys; sys.path[:] = sys.argv.pop(1).split(':'); from {0} import main; main(int(sys.argv[1]))"


def command(module: str, descriptor: int) -> "list[str]":
    """The argument list that runs `module.main(descriptor)` in a new interpreter that inherits that descriptor."""
    path = [entry for entry in sys.path if entry]
    return [sys.executable, "-S", "-I", "-c", _START.format(module), ":".join(path), str(descriptor)]
