"""The protected paths: what an agent must not write in a workspace, because something on the host obeys it without being asked. [pure]

A path belongs here if a tool runs programs from it when you merely enter the directory, open it in an editor, look at `git status`,
commit, or start an agent. What runs because you ask for it, by name, does not: a Makefile, the scripts of package.json, build.rs,
conftest.py, .npmrc and .yarnrc (a package manager runs the project's scripts anyway) are the work that an agent is there to do. Nor do
.gitattributes (a filter runs only if the configuration names a program for it), .gitmodules (git takes no command from it since
CVE-2019-19604), files that an own CI runs, and prose for agents (AGENTS.md).

Rules: this is the one list. What is missing is covered by a stand-in for as long as a sandbox runs, since a mount needs a place. In the
working tree that is always an empty directory, whatever it stands for: git commits none, direnv and MCP clients read none, and an empty
`.mcp.json` would be an error to them.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedPath:
    """`name` lifts it (`--unprotect NAME`); paths that only make sense together share one.

    `path` is below the workspace, or below a git directory. `stand_in` is what is made where it is missing: a directory (None), or a
    file that says to git what its absence says. `obeyed_when_made` is false for what nobody reads unless it was there before.
    """

    name: str
    path: str
    reason: str
    stand_in: bytes | None = None
    obeyed_when_made: bool = True


WORKING_TREE = (
    ProtectedPath(name="codex", path=".codex", reason="Codex outside takes MCP servers, hooks and rules from it"),
    ProtectedPath(name="agents", path=".agents", reason="agents outside follow its skills and instructions"),
    ProtectedPath(name="claude", path=".claude", reason="Claude Code outside runs the hooks of its settings (CVE-2026-25725)"),
    ProtectedPath(name="cursor", path=".cursor", reason="Cursor starts the MCP servers and hooks that it names"),
    ProtectedPath(name="gemini", path=".gemini", reason="Gemini CLI starts the MCP servers that its settings name"),
    ProtectedPath(name="mcp", path=".mcp.json", reason="agents outside start the servers that it names"),
    ProtectedPath(name="vscode", path=".vscode", reason="tasks run when the folder is opened; settings name programs that are started"),
    ProtectedPath(name="idea", path=".idea", reason="JetBrains editors run its start-up tasks and file watchers"),
    ProtectedPath(name="zed", path=".zed", reason="its settings name the language servers that Zed starts"),
    ProtectedPath(name="devcontainer", path=".devcontainer", reason="initializeCommand runs on the host"),
    ProtectedPath(name="devcontainer", path=".devcontainer.json", reason="initializeCommand runs on the host"),
    ProtectedPath(name="envrc", path=".envrc", reason="direnv runs it when you enter the directory"),
    ProtectedPath(name="mise", path="mise.toml", reason="once trusted, mise runs its hooks in your shell", obeyed_when_made=False),
    ProtectedPath(name="mise", path=".mise.toml", reason="once trusted, mise runs its hooks in your shell", obeyed_when_made=False),
    ProtectedPath(name="husky", path=".husky", reason="git runs the hooks that lie in it"),
    ProtectedPath(
        name="pre-commit",
        path=".pre-commit-config.yaml",
        reason="the hook of pre-commit runs what it names",
        obeyed_when_made=False,
    ),
    ProtectedPath(name="lefthook", path="lefthook.yml", reason="the hooks of lefthook run what it names", obeyed_when_made=False),
    ProtectedPath(name="lefthook", path=".lefthook.yml", reason="the hooks of lefthook run what it names", obeyed_when_made=False),
    ProtectedPath(name="cargo", path=".cargo", reason="names programs in place of compiler and linker, for your editor's cargo too"),
)
"""Below the workspace."""

GIT_DIRECTORY = (
    ProtectedPath(name="git-hooks", path="hooks", reason="git runs them at your next commit, checkout or push"),
    ProtectedPath(name="git-config", path="config", reason="core.fsmonitor, core.sshCommand, filters, aliases", stand_in=b""),
    ProtectedPath(name="git-config", path="config.worktree", reason="the same, where extensions.worktreeConfig is on", stand_in=b""),
    ProtectedPath(
        name="git-config",
        path="commondir",
        reason="names the directory whose config and hooks git takes instead (gitrepository-layout(5))",
        stand_in=b".\n",
    ),
)
"""Below each git directory of the workspace: `.git`, those of submodules in `.git/modules`, of linked working trees in `.git/worktrees`,
and of repositories further down."""

REPOSITORY = ProtectedPath(
    name="git-init", path=".git", reason="a repository made, or pointed to, in its place brings hooks and settings of its own"
)
"""Where it is missing, or is the pointer of a linked working tree or of a submodule."""
BARE_REPOSITORY = ProtectedPath(
    name="git-init", path="HEAD", reason="beside objects and refs it makes the workspace itself a repository, if there is no .git"
)

HOOKS_PATH = "git-hooks"
"""What lifts the directory that core.hooksPath names."""
INCLUDED = "git-config"
"""What lifts files of the workspace that the repository's config includes."""
NESTED = "git-nested"
"""What lifts the protection of repositories below the top of the workspace."""

NAMES = frozenset({HOOKS_PATH, INCLUDED, NESTED, REPOSITORY.name, *(one.name for one in (*WORKING_TREE, *GIT_DIRECTORY))})


def unknown(names: Iterable[str]) -> tuple[str, ...]:
    """Those that lift nothing."""
    return tuple(name for name in names if name not in NAMES)
