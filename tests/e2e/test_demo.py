"""The demonstration that README and `make demo` promise: every check in it holds."""

import subprocess
import sys

from real_codex import CODEX


def test_every_check_of_the_demonstration_holds() -> None:
    command = [sys.executable, "-m", "immure.testing.demo", "--codex", str(CODEX)]
    shown = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=90)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("✓") > 20
    assert "✗" not in shown.stdout
    assert "\x1b" not in shown.stdout
