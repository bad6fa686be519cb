"""The command line. `immure run` and `immure codex` go straight to the client; everything else is one lazily loaded module per verb.

Rule: this module and what it imports at the top cost no more than a bare interpreter (`tests/cli/test_startup.py` holds it to that):
a click application takes longer to import than a sandbox takes to build.
"""

from immure.cli import options


def main(argv: "list[str]") -> int:
    """Run one command line; returns the exit status."""
    request = options.read(argv)
    if request is None:
        from immure.cli.application import main as run

        return run(argv)
    from immure import client

    return client.launch(*request)
