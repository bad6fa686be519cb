"""The OpenAI Codex CLI: its login on the host, its home inside the sandbox, its program."""

from immure.agents.codex.home import Home, environment, stage
from immure.agents.codex.host_file import give_tokens
from immure.agents.codex.id_token import synthetic_id_token
from immure.agents.codex.login_file import ImportedLogin, read_login
from immure.agents.codex.program import Program, find_program

__all__ = ["Home", "ImportedLogin", "Program", "environment", "find_program", "give_tokens", "read_login", "stage", "synthetic_id_token"]
