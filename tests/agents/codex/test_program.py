"""Which file is Codex, for each way of installing it."""

import os

import pytest

from immure.agents.codex.program import find_program
from immure.errors import UsageError

TRIPLE = "x86_64-unknown-linux-musl"
ELF = b"\x7fELF fake"


def install(path: str, content: bytes = ELF, mode: int = 0o755) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def link(path: str, target: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def install_vendor(package: str) -> str:
    install(f"{package}/vendor/{TRIPLE}/codex-package.json", b"{}", 0o644)
    return install(f"{package}/vendor/{TRIPLE}/bin/codex")


# how it is installed: name, where the starter lies, where the native package lies (both below the root)
LAYOUTS = [
    ("hoisted", "lib/node_modules/@openai/codex", "lib/node_modules/@openai/codex-linux-x64"),
    ("nested", "lib/node_modules/@openai/codex", "lib/node_modules/@openai/codex/node_modules/@openai/codex-linux-x64"),
    ("further up", "p/node_modules/q/node_modules/@openai/codex", "p/node_modules/@openai/codex-linux-x64"),
    ("older", "lib/node_modules/@openai/codex", "lib/node_modules/@openai/codex"),
]


@pytest.mark.parametrize(("starter", "package"), [layout[1:] for layout in LAYOUTS], ids=[layout[0] for layout in LAYOUTS])
def test_behind_the_starter_of_npm_is_the_native_program(tmp_path, starter, package) -> None:
    install(f"{tmp_path}/{starter}/bin/codex.js", b"#!/usr/bin/env node\n")
    native = install_vendor(f"{tmp_path}/{package}")
    link(f"{tmp_path}/bin/codex", f"{tmp_path}/{starter}/bin/codex.js")
    program = find_program(f"{tmp_path}/empty:{tmp_path}/bin", "x86_64")
    assert program.executable == native
    assert program.mounts == (os.path.dirname(os.path.dirname(native)),)
    assert program.directory == os.path.dirname(native)
    [binary] = program.binaries(["codex"])
    status = os.stat(native)
    assert (binary.path, binary.device, binary.inode) == (native, status.st_dev, status.st_ino)


def test_pnpm_keeps_packages_behind_links(tmp_path) -> None:
    store = f"{tmp_path}/node_modules/.pnpm"
    install(f"{store}/codex@1/node_modules/@openai/codex/bin/codex.js", b"#!")
    native = install_vendor(f"{store}/codex@1-linux/node_modules/@openai/codex")
    link(f"{store}/codex@1/node_modules/@openai/codex-linux-x64", f"{store}/codex@1-linux/node_modules/@openai/codex")
    link(f"{tmp_path}/bin/codex", f"{store}/codex@1/node_modules/@openai/codex/bin/codex.js")
    assert find_program(f"{tmp_path}/bin", "x86_64").executable == native


def test_a_native_program_alone_goes_in_alone(tmp_path) -> None:
    native = install(f"{tmp_path}/opt/codex-{TRIPLE}")
    link(f"{tmp_path}/bin/codex", native)
    program = find_program(f"{tmp_path}/bin", "x86_64")
    assert (program.executable, program.mounts, program.directory) == (native, (native,), f"{tmp_path}/opt")
    assert program.binaries(["codex"])[0].path == native


def test_a_native_program_with_its_helpers_goes_in_with_them(tmp_path) -> None:
    install(f"{tmp_path}/standalone/codex-package.json", b"{}")
    install(f"{tmp_path}/standalone/bin/codex")
    link(f"{tmp_path}/bin/codex", f"{tmp_path}/standalone/bin/codex")
    assert find_program(f"{tmp_path}/bin", "x86_64").mounts == (f"{tmp_path}/standalone",)


def nothing(root: str) -> None:
    pass


def directory(root: str) -> None:
    os.makedirs(f"{root}/bin/codex")


def not_executable(root: str) -> None:
    install(f"{root}/bin/codex", mode=0o644)


def dangling(root: str) -> None:
    link(f"{root}/bin/codex", f"{root}/gone")


def script(root: str) -> None:
    install(f"{root}/bin/codex", b"#!/bin/sh\nexec /opt/codex\n")


def shim(root: str) -> None:
    link(f"{root}/bin/codex", install(f"{root}/opt/volta-shim"))


def starter_alone(root: str) -> None:
    link(f"{root}/bin/codex", install(f"{root}/node_modules/@openai/codex/bin/codex.js", b"#!"))


def starter_with_text(root: str) -> None:
    starter_alone(root)
    install(f"{root}/node_modules/@openai/codex-linux-x64/vendor/{TRIPLE}/bin/codex", b"text")


# what is on the PATH, code, exit status, part of the hint
MISSING = [
    (nothing, "codex.missing", 127, "npm install -g @openai/codex"),
    (directory, "codex.missing", 127, "npm install -g @openai/codex"),
    (not_executable, "codex.missing", 127, "npm install -g @openai/codex"),
    (dangling, "codex.missing", 127, "npm install -g @openai/codex"),
    (script, "codex.unknown", 126, "first in PATH"),
    (shim, "codex.unknown", 126, "first in PATH"),
    (starter_alone, "codex.incomplete", 127, "npm install -g @openai/codex"),
    (starter_with_text, "codex.not_executable", 126, "npm install -g @openai/codex"),
]


@pytest.mark.parametrize(("arrange", "code", "status", "hint"), MISSING, ids=lambda value: getattr(value, "__name__", None))
def test_no_usable_program_is_said_with_the_shells_exit_status(tmp_path, arrange, code, status, hint) -> None:
    arrange(str(tmp_path))
    with pytest.raises(UsageError) as caught:
        find_program(f"{tmp_path}/bin", "x86_64")
    assert (caught.value.code, caught.value.status) == (code, status)
    assert hint in caught.value.hint


def test_a_machine_without_a_native_program_is_named(tmp_path) -> None:
    starter_alone(str(tmp_path))
    with pytest.raises(UsageError, match=r"for this machine \(riscv64\)"):
        find_program(f"{tmp_path}/bin", "riscv64")


def test_the_first_on_the_path_is_meant_even_if_it_cannot_be_used(tmp_path) -> None:
    script(str(tmp_path))
    install(f"{tmp_path}/later/codex")
    with pytest.raises(UsageError):
        find_program(f"{tmp_path}/bin:{tmp_path}/later", "x86_64")


def test_a_relative_entry_of_the_path_is_not_followed(tmp_path, monkeypatch) -> None:
    install(f"{tmp_path}/codex")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        find_program(":.", "x86_64")


def test_a_program_of_the_profile_that_is_missing_is_named(tmp_path) -> None:
    install(f"{tmp_path}/bin/codex")
    with pytest.raises(UsageError, match="codex-other"):
        find_program(f"{tmp_path}/bin", "x86_64").binaries(["codex", "codex-other"])
