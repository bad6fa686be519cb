"""Whether the program that a command names exists inside, before anything is started: the conventions of env(1) and docker run."""

import os

from immure.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, UsageError
from immure.sandbox.spec import Spec


def check(spec: Spec) -> str:
    """The path inside of the program of `spec.command`. Raises UsageError with exit status 127 or 126."""
    name = spec.command[0]
    if "/" in name:
        candidates = [os.path.normpath(os.path.join(spec.directory, name))]
    else:
        candidates = [f"{directory}/{name}" for directory in spec.environment["PATH"].split(":")]
    denied = None
    for inside in candidates:
        host = spec.host_path(inside)
        if host is None or not os.path.exists(host):
            continue
        if os.path.isfile(host) and os.access(host, os.X_OK):
            return inside
        denied = inside
    if denied:
        raise UsageError(
            f"{denied} cannot be executed",
            code="program.not-executable",
            hint=f"if it is a program: chmod +x {denied}",
            exit_status=EXIT_NOT_EXECUTABLE,
        )
    raise UsageError(
        f"{name} is not found inside the sandbox",
        code="program.not-found",
        hint="only /usr and your workspace are shown; --ro DIR shows another directory",
        exit_status=EXIT_NOT_FOUND,
    )
