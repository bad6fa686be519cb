"""What a launch imports: nothing that costs more than the launch itself."""

import subprocess
import sys

HEAVY = {"click", "json", "re", "socket", "subprocess", "typing", "enum", "dataclasses", "asyncio", "ssl", "cryptography", "yaml", "site"}


def test_the_client_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.path.extend(sys.argv[1].split(':'));"
        "from immure.cli import main, options; from immure import client; print(*sys.modules)"
    )
    path = ":".join(entry for entry in sys.path if entry)
    result = subprocess.run([sys.executable, "-S", "-I", "-c", program, path], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "immure.client" in loaded
    assert set() == loaded & HEAVY
