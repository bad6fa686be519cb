"""`immure sandbox`: a command in walls as a permission profile of Codex describes them."""

from typing import Any

import click

from immure.cli.options import Values


class AsCodexSpellsIt(click.Command):
    """Takes the platform that older releases of Codex wanted named: `sandbox linux -- CMD`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args[1:] if args[:1] == ["linux"] else args)


@click.command(
    cls=AsCodexSpellsIt,
    help="Run a command in walls as a permission profile of Codex describes them.",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "permission_profile",
    "-P",
    "--permission-profile",
    "--permissions-profile",
    metavar="NAME",
    help="The profile: :read-only, :workspace, :danger-full-access, or one of Codex's config.toml. [default: as configured]",
)
@click.option("cd", "-C", "--cd", metavar="DIR", help="The working directory. [default: the current one]")
@click.option("include_managed_config", "--include-managed-config", is_flag=True, help="Keep the administrator's requirements with -P too.")
@click.option(
    "allow_unix_socket", "--allow-unix-socket", metavar="PATH", multiple=True, help="Show a socket of the host, if there is a network."
)
@click.option("config", "-c", "--config", metavar="KEY=VALUE", multiple=True, help="Override a value of Codex's configuration.")
@click.option("log_denials", "--log-denials", is_flag=True, help="At the end, list what was denied: connections, and changes of files.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- CMD…")
@click.pass_context
def command(context: click.Context, /, command: tuple[str, ...], **own: Any) -> None:
    from immure import client

    own["log_denials"] |= context.obj["log_denials"]
    options: Values = {name: list(value) if isinstance(value, tuple) else value for name, value in (context.obj | own).items()}
    context.exit(client.launch("sandbox", options, list(command)))
