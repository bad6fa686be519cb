"""`immure vault`: what is in the vault, a new key for it, and a copy under a passphrase. A passphrase is never an argument."""

import json
import os
import sys
from typing import Any, BinaryIO

import click

from immure.cli.sandboxes import tell_logins_changed
from immure.errors import HostError, UsageError
from immure.paths import Paths
from immure.vault import Vault, open_vault
from immure.vault.export import NONCE_SIZE, SALT_SIZE, SHORTEST_PASSPHRASE, ExportError, open_export, seal_export
from immure.vault.key import is_in_keyring
from immure.vault.rotation import rotate_key

_PASSPHRASE = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Read the passphrase from the first line of a file; - is standard input, /dev/fd/N a descriptor.",
)
_LARGEST = 64 << 20


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _directory() -> str:
    return Paths(dict(os.environ)).vault


def _opened() -> Vault:
    return open_vault(_directory(), os.environ, _say)


@click.group(help="Look after the vault, where logins are kept encrypted.")
def command() -> None:
    pass


@command.command("status", help="Show where the vault and its key are, and whether every record opens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    directory = _directory()
    if not os.path.exists(directory):
        click.echo("{}" if as_json else f"There is no vault yet; it will be {directory}.")
        context.exit(0)
    vault = _opened()
    damaged = []
    names = vault.names()
    for name in names:
        try:
            vault.get(name)
        except HostError:
            damaged.append(name)
    key = "desktop keyring" if is_in_keyring(directory) else f"{directory}/key"
    if as_json:
        click.echo(json.dumps({"directory": directory, "key": key, "records": list(names), "damaged": damaged}, indent=2))
    else:
        click.echo(f"vault: {directory}\nkey: {key}")
        for name in names:
            click.echo(f"record: {name}{' (damaged)' if name in damaged else ''}")
    context.exit(1 if damaged else 0)


@command.command("rotate-key", help="Replace the key of the vault, and seal every record under the new one. Sandboxes run on.")
@click.pass_context
def rotate(context: click.Context) -> None:
    count = rotate_key(_directory(), os.environ, _say)
    _say(f"The vault has a new key; records under it: {count}.")
    context.exit(0)


@command.command("export", help="Write every record to FILE, encrypted with a passphrase. Whoever has both has your logins.")
@click.argument("file", type=click.Path(dir_okay=False))
@_PASSPHRASE
@click.pass_context
def export(context: click.Context, file: str, passphrase_file: str | None) -> None:
    vault = _opened()
    records = {name: record for name in vault.names() if (record := vault.get(name)) is not None}
    passphrase = _passphrase(passphrase_file, confirm=True)
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(
            f"the passphrase is shorter than {SHORTEST_PASSPHRASE} characters", code="vault.passphrase", hint="take a few random words"
        )
    sealed = seal_export(records, passphrase, os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as target:
            target.write(sealed)
    except OSError as error:
        raise UsageError(
            f"cannot write {file}: {error.strerror}", code="vault.export", hint="name a file that does not exist yet"
        ) from None
    _say(f"Exported to {file}: {len(records)} records. A login that is renewed later is renewed here, and not in that file.")
    context.exit(0)


@command.command("import", help="Take the records of an export into the vault. Those that are there already stay as they are.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_PASSPHRASE
@click.option("--replace", is_flag=True, help="Put those of the export in place of those that are there.")
@click.pass_context
def import_(context: click.Context, file: str, passphrase_file: str | None, replace: bool) -> None:
    with _readable(file) as source:
        data = source.read(_LARGEST)
    try:
        records = open_export(data, _passphrase(passphrase_file, confirm=False))
    except ExportError as error:
        raise UsageError(f"{file} {error}", code="vault.import", hint="check the file and the passphrase") from None
    vault = _opened()
    for name, record in records.items():
        with vault.lock(name):
            if _is_kept(vault, name, replace=replace):
                _say(f"{name}: there is one already, which stays (--replace to put this one in its place)")
                continue
            vault.put(name, record)
            _say(f"{name}: imported")
    tell_logins_changed()
    context.exit(0)


def _is_kept(vault: Vault, name: str, *, replace: bool) -> bool:
    return not replace and name in vault.names()


def _passphrase(file: str | None, *, confirm: bool) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for the passphrase", code="vault.passphrase", hint="--passphrase-file FILE")
        given: Any = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
        return str(given)
    if file == "-":
        line = sys.stdin.buffer.readline()
    else:
        with _readable(file) as source:
            line = source.readline(1 << 16)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError("the passphrase is not UTF-8 text", code="vault.passphrase", hint="write it as text") from None


def _readable(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code="vault.file", hint=f"ls -l {path}") from None
