"""The running sandboxes, as commands of the command line ask the broker for them and name them."""

import json
import os
from typing import Any

import click
from click.shell_completion import CompletionItem

from immure import client
from immure.broker import roster

PROVIDERS = ("codex",)


class SandboxName(click.ParamType[str]):
    """An id, or as much of its beginning as no other has. The broker knows which."""

    name = "sandbox"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        begin = roster.PREFIX + incomplete.removeprefix(roster.PREFIX)
        _, found = running()
        return [CompletionItem(each["id"], help=each["command"]) for each in found if each["id"].startswith(begin)]


def running() -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what the broker says of each sandbox, the oldest first; nothing without a broker."""
    status, answers = client.ask("list") or (0, [])
    return status, sorted(map(json.loads, answers), key=lambda each: float(each["since"]))


def change(do: str, **fields: object) -> tuple[int, list[str]]:
    """Have the broker change sandboxes; the exit status, and the ids of those that were. Raises UsageError without a broker."""
    asked = client.ask(do, **fields)
    if asked is None and fields.get("sandbox") is not None:
        roster.find(str(fields["sandbox"]), ())  # which none has
    status, answers = asked or (0, [])
    return status, [json.loads(answer) for answer in answers]


def tell_logins_changed() -> None:
    """Have the broker look at the vault now. If it cannot, it says why; it will look by itself in a moment."""
    client.ask("logins-changed")


def environment() -> dict[str, str]:
    """What of ours says where an agent and its login are."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "CODEX_HOME") if name in os.environ}
