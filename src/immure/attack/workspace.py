"""Protected paths of the workspace: what git, editors, shells and agents on the host obey."""

import errno
import os
import shutil

from immure.attack.attack import attack
from immure.attack.system_calls import AT_FDCWD, RENAME_EXCHANGE, RENAMEAT2, libc, said, syscall

_ROUNDS = 5000
"""Of a race: each is another chance to write while the name stands for the other."""
COVER = "cover over the protected path"


def plant(path: str) -> int:
    with open(path, "w") as file:
        return file.write("#!/bin/sh\ntrue\n")


def plant_below(directory: str, name: str) -> int:
    os.makedirs(directory, exist_ok=True)
    return plant(f"{directory}/{name}")


@attack(COVER, "EROFS")
def plant_a_hook() -> object:
    return plant(".git/hooks/pre-commit")


@attack(COVER, "EROFS")
def change_a_hook() -> object:
    return plant(".git/hooks/post-commit")


@attack(COVER, "EROFS")
def change_the_configuration() -> object:
    return plant(".git/config")


@attack(COVER, "EBUSY")
def replace_the_configuration() -> None:
    plant(".git/next")
    os.rename(".git/next", ".git/config")


@attack(COVER, "EBUSY")
def configure_with_git() -> object:
    return said("git", "config", "core.fsmonitor", "touch /tmp/planted")


@attack(COVER, "EBUSY")
def remove_the_configuration() -> None:
    os.unlink(".git/config")


@attack(COVER, "EROFS")
def point_git_to_another_directory() -> object:
    return plant(".git/commondir")


@attack(COVER, "EBUSY")
def replace_the_pointer_to_another_directory() -> None:
    plant(".git/other")
    os.rename(".git/other", ".git/commondir")


@attack(COVER, "EROFS")
def configure_the_worktree() -> object:
    return plant(".git/config.worktree")


@attack(COVER, "EBUSY")
def move_the_repository_away() -> None:
    os.rename(".git", ".moved")


@attack(COVER, "EBUSY")
def exchange_the_repository() -> None:
    os.makedirs("exchange/hooks", exist_ok=True)
    syscall(RENAMEAT2, AT_FDCWD, b"exchange", AT_FDCWD, b".git", RENAME_EXCHANGE)


@attack(COVER, "EBUSY")
def move_the_hooks_away() -> None:
    os.rename(".git/hooks", ".git/moved")


@attack(COVER, "EROFS")
def remove_the_hooks() -> None:
    shutil.rmtree(".git/hooks")


@attack(COVER, "EXDEV")
def write_a_hook_by_a_hard_link() -> object:
    os.link(".git/hooks/post-commit", "link-to-hook")
    return plant("link-to-hook")


@attack(COVER, "EROFS")
def write_a_hook_by_a_symbolic_link() -> object:
    os.symlink(".git/hooks", "hooks")
    return plant("hooks/pre-push")


@attack(COVER, "EROFS")
def write_a_hook_by_a_descriptor() -> object:
    descriptor = os.open(".git/hooks/post-commit", os.O_RDONLY)
    return plant(f"/proc/self/fd/{descriptor}")


@attack(COVER, "EROFS")
def write_a_hook_by_the_root_of_a_process() -> object:
    return plant(f"/proc/self/root{os.getcwd()}/.git/hooks/pre-push")


@attack(COVER, "EROFS")
def make_a_hook_executable() -> None:
    os.chmod(".git/hooks/post-commit", 0o755)


@attack(COVER, "EROFS")
def create_the_configuration_of_codex() -> object:
    return plant(".codex/config.toml")


@attack(COVER, "EBUSY")
def replace_the_configuration_of_codex() -> None:
    os.rmdir(".codex")


@attack(COVER, "EBUSY")
def move_the_configuration_of_codex() -> None:
    os.rename(".codex", ".codex2")


@attack(COVER, "EROFS")
def create_skills() -> object:
    os.makedirs(".agents", exist_ok=True)
    return plant(".agents/skill.md")


@attack(COVER, "EEXIST")
def link_skills_to_elsewhere() -> None:
    os.symlink("/tmp", ".agents")


@attack(COVER, "EISDIR")
def create_what_direnv_runs() -> object:
    return plant(".envrc")


@attack(COVER, "EBUSY")
def remove_the_stand_in_of_what_direnv_runs() -> None:
    os.makedirs(".envrc", exist_ok=True)
    os.rmdir(".envrc")


@attack(COVER, "EISDIR")
def rename_a_file_to_the_name_that_direnv_reads() -> None:
    plant("prepared")
    os.rename("prepared", ".envrc")


@attack(COVER, "EBUSY")
def rename_a_directory_to_the_name_that_an_mcp_client_reads() -> None:
    os.makedirs("prepared-directory", exist_ok=True)
    os.rename("prepared-directory", ".mcp.json")


@attack(COVER, "EISDIR")
def create_what_an_mcp_client_starts() -> object:
    return plant(".mcp.json")


@attack(COVER, "EROFS")
def create_what_an_editor_runs() -> object:
    return plant_below(".vscode", "tasks.json")


@attack(COVER, "EROFS")
def create_what_claude_code_runs() -> object:
    return plant_below(".claude", "settings.json")


@attack(COVER, "EROFS")
def create_what_cargo_runs() -> object:
    return plant_below(".cargo", "config.toml")


@attack(COVER, "EROFS")
def create_what_a_container_runs_outside() -> object:
    return plant_below(".devcontainer", "devcontainer.json")


@attack(COVER, "EROFS")
def plant_a_hook_of_a_submodule() -> object:
    return plant(".git/modules/sub/hooks/post-checkout")


@attack(COVER, "EROFS")
def change_the_configuration_of_a_submodule() -> object:
    return plant(".git/modules/sub/config")


@attack(COVER, "EROFS")
def point_a_submodule_elsewhere() -> object:
    return plant("vendor/sub/.git")


@attack(COVER, "EBUSY")
def move_a_submodule_away() -> None:
    os.rename("vendor", "moved")


@attack(COVER, "EBUSY")
def move_all_submodules_repositories_away() -> None:
    os.rename(".git/modules", ".git/moved")


@attack(COVER, "EBUSY")
def move_a_submodules_repository_away() -> None:
    os.rename(".git/modules/sub", ".git/modules/moved")


@attack(COVER, "EROFS")
def plant_a_hook_of_a_nested_repository() -> object:
    return plant("nested/.git/hooks/pre-commit")


@attack(COVER, "EBUSY")
def move_a_nested_repository_away() -> None:
    os.rename("nested", "moved")


@attack(COVER, "EBUSY")
def exchange_a_nested_repository() -> None:
    os.makedirs("exchange/.git/hooks", exist_ok=True)
    syscall(RENAMEAT2, AT_FDCWD, b"exchange", AT_FDCWD, b"nested", RENAME_EXCHANGE)


@attack(COVER, "EROFS")
def point_a_linked_working_tree_elsewhere() -> object:
    return plant(".git/worktrees/linked/commondir")


@attack(COVER, "EBUSY")
def move_a_linked_working_trees_directory_away() -> None:
    os.rename(".git/worktrees/linked", ".git/worktrees/moved")


@attack(COVER, "EROFS")
def plant_a_hook_where_the_configuration_says() -> object:
    return plant("tools/hooks/pre-commit")


@attack(COVER, "EBUSY")
def move_the_parent_of_the_configured_hooks_away() -> None:
    os.rename("tools", "moved")


@attack(COVER, "EROFS")
def change_an_included_configuration() -> object:
    return plant("team.gitconfig")


@attack(COVER, "EROFS")
def race_a_link_against_the_hooks() -> object:
    # One process swaps a directory and a link to the hooks, the other writes through the name that both have.
    os.makedirs("swing", exist_ok=True)
    os.symlink(".git/hooks", "other")
    swapper = os.fork()
    if swapper == 0:
        while True:
            libc.syscall(RENAMEAT2, AT_FDCWD, b"swing", AT_FDCWD, b"other", RENAME_EXCHANGE)
    try:
        for _ in range(_ROUNDS):
            try:
                plant("swing/pre-rebase")
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
            if os.path.exists(".git/hooks/pre-rebase"):
                return "planted"
    finally:
        os.kill(swapper, 9)
        os.waitpid(swapper, 0)
    raise OSError(errno.EROFS, "every time")
