"""The Codex under test, and how the tests call it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

CODEX = Path(__file__).parents[2] / "tools" / "codex" / "node_modules" / ".bin" / "codex"
EAR = "attacker.example.com"
# Codex lets its tools have no network by default; here they may try, so that it is immure that refuses.
EXEC = ("codex", "exec", "--skip-git-repo-check", "--sandbox", "workspace-write", "-c", "sandbox_workspace_write.network_access=true")

Immure = Callable[..., subprocess.CompletedProcess[str]]
