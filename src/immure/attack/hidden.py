"""Files of the workspace that were hidden, by a pattern that the attack brings along."""

import os

from immure.attack.attack import attack
from immure.attack.system_calls import MS_BIND, in_mount_namespace, mount, read, with_root
from immure.attack.workspace import plant

COVER = "cover over the hidden file"


@attack(COVER, "EACCES")
def read_a_hidden_file() -> object:
    return read("deep/.env")


@attack(COVER, "EACCES")
def read_a_hidden_file_by_a_symbolic_link() -> object:
    os.symlink("deep/.env", "link-to-hidden")
    try:
        return read("link-to-hidden")
    finally:
        os.unlink("link-to-hidden")


@attack(COVER, "EXDEV")
def read_a_hidden_file_by_a_hard_link() -> object:
    os.link("deep/.env", "hard-link")
    try:
        return read("hard-link")
    finally:
        os.unlink("hard-link")


@attack(COVER, "EACCES")
def read_a_hidden_file_by_the_root_of_a_process() -> object:
    return read(f"/proc/self/root{os.getcwd()}/deep/.env")


@attack(COVER, "EACCES")
def read_a_hidden_file_by_moving_its_directory() -> object:
    os.rename("deep", "deeper")
    try:
        return read("deeper/.env")
    finally:
        os.rename("deeper", "deep")


@attack(COVER, "EACCES")
def read_a_hidden_file_as_root_of_a_nested_namespace() -> object:
    return with_root(lambda: read("deep/.env"))


@attack(COVER, "EINVAL")
def read_a_hidden_file_in_a_tree_without_its_mounts() -> object:
    def change() -> object:
        os.makedirs("/tmp/bare", exist_ok=True)
        mount(os.getcwd(), "/tmp/bare", None, MS_BIND)
        return read("/tmp/bare/deep/.env")

    return in_mount_namespace(change)


@attack(COVER, "EACCES")
def read_a_hidden_file_where_a_link_leads() -> object:
    return read("deep/real-secret")


@attack(COVER, "EACCES")
def read_a_hidden_directory() -> object:
    return os.listdir("private")[0]


@attack(COVER, "EROFS")
def read_a_hidden_directory_after_a_change_of_mode() -> object:
    os.chmod("private", 0o755)
    return os.listdir("private")[0]


@attack(COVER, "EACCES")
def write_a_hidden_file() -> object:
    with open("deep/.env", "a") as file:
        return file.write("more")


@attack(COVER, "EBUSY")
def remove_a_hidden_file() -> None:
    os.unlink("deep/removed.key")


@attack(COVER, "EBUSY")
def replace_a_hidden_file() -> None:
    plant("replacement")
    os.rename("replacement", "deep/replaced.key")
