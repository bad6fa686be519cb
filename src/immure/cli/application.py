"""The whole command line, in click: help, errors and completion, and every verb that is not a launch in the common spelling."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import click

from immure.cli.options import LAUNCH, Values, empty
from immure.errors import ImmureError, UsageError
from immure.version import __version__

_VERBS = {
    "run": "Run a command inside walls.",
    "codex": "Run Codex inside walls, with your login left outside.",
    "sandbox": "Run a command in walls as a permission profile of Codex describes them.",
    "login": "Sign in, or show the logins that there are.",
    "logout": "Sign out, and remove the login from the vault.",
    "list": "Show the sandboxes that run.",
    "attach": "Attach a provider to a running sandbox.",
    "detach": "Detach a provider from running sandboxes.",
    "logs": "Show what was allowed and denied.",
    "doctor": "Check whether this host can do what immure needs.",
    "attack": "Attack a sandbox with hostile programs, and score it.",
    "vault": "Look after the vault, where logins are kept.",
    "trust": "Say which programs are the ones that you know.",
    "stop": "End the broker and every sandbox.",
    "completion": "Print the completion script of a shell.",
}
_ALSO = {"ls": "list"}


class Verbs(click.Group):
    """Loads the module of a verb when it is used: `immure logs` need not import what `immure completion` needs."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        name = _ALSO.get(name, name)
        if name not in _VERBS:
            return None
        if name in ("run", "codex"):
            return _launch_command(name)
        return importlib.import_module(f"immure.cli.{name}").command  # type: ignore[no-any-return]


def launch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a launch, from the table that the quick reader reads too."""
    for option in reversed(LAUNCH):
        value: dict[str, Any] = {"metavar": option.metavar, "multiple": option.many} if option.metavar else {"is_flag": True}
        decorate = click.option(*option.spellings, option.name, help=option.help, **value)
        function = decorate(function)
    return function


def _values(parameters: dict[str, Any]) -> Values:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}


def merged(before: dict[str, Any], after: dict[str, Any]) -> Values:
    """The options of a launch that stand before the verb and after it. Raises click.UsageError for one that is given twice."""
    outer, inner = _values(before), _values(after) if after else empty()
    values = empty()
    for name, first in outer.items():
        second = inner[name]
        if isinstance(first, list) and isinstance(second, list):
            values[name] = first + second
        elif isinstance(first, bool) and isinstance(second, bool):
            values[name] = first or second
        elif first is not None and second is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} is given twice")
        else:
            values[name] = second if first is None else first
    return values


class Untouched(click.Command):
    """Takes every word as it stands: `--`, which click would eat, is for the agent too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["command"] = tuple(args)
        return []


def _launch_command(name: str) -> click.Command:
    """`run` takes the options of a launch; `codex` takes none, so that every word after it reaches Codex."""

    @click.pass_context
    def launch(context: click.Context, /, command: tuple[str, ...], **parameters: Any) -> None:
        from immure import client

        context.exit(client.launch(name, merged(context.obj, parameters), list(command)))

    if name == "codex":
        words = click.argument("command", nargs=-1, metavar="[ARG…]")
        return click.command(name, cls=Untouched, help=_VERBS[name], add_help_option=False)(words(launch))
    words = click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- CMD…")
    settings = {"allow_interspersed_args": False}
    return click.command(name, help=_VERBS[name], context_settings=settings)(words(launch_options(launch)))


@click.group(
    cls=Verbs,
    epilog="Options before `codex` are immure's: immure --allow github.com codex exec 'open a pull request'",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="immure %(version)s")
@launch_options
@click.pass_context
def immure(context: click.Context, /, **options: Any) -> None:
    """Run a coding agent inside walls it cannot see through, with its keys left outside."""
    context.obj = options


def main(argv: list[str]) -> int:
    """Run one command line; returns the exit status."""
    try:
        result = immure.main(argv, prog_name="immure", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else "immure"
        sys.stderr.write(UsageError(error.format_message(), code="usage", hint=f"{path} --help").render())
        return error.exit_code
    except click.Abort:
        return 130
    except ImmureError as error:
        sys.stderr.write(error.render())
        return error.status
    except BrokenPipeError:
        return 0  # nobody reads on
    return result if isinstance(result, int) else 0
