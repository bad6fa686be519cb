"""What other commands ask of a broker that runs: which sandboxes there are, and changes to them.

A change is answered when the gates of the sandboxes go by it. Answers are words, as for a launch (client.py).
"""

import asyncio
import json

from immure import channel
from immure.broker import roster
from immure.broker.house import House
from immure.broker.line import Line
from immure.broker.session import Session
from immure.errors import UsageError


async def serve(house: House, message: channel.Message, line: Line) -> str:
    """Do as a message says and give the last word. Raises ImmureError."""
    match message["do"]:
        case "list":
            for session in _running(house).values():
                line.send_word(f"answer {json.dumps(session.summary())}")
        case "attach":
            session = _named(house, message["sandbox"])
            await session.provision.attach(message["provider"], message["environment"], lambda text: line.send_word(f"say {text}"))
            line.send_word(f"answer {json.dumps(session.identifier)}")
        case "detach":
            await _detach(house, message["provider"], message["sandbox"], line)
        case "approve":
            _named(house, message["sandbox"]).provision.approve(browser=message["browser"])
        case "deny":
            _named(house, message["sandbox"]).provision.deny()
        case "logins-changed":
            await house.revise()
        case "trust":
            await asyncio.gather(*(session.provision.trust_again() for session in house.sessions.values()))
        case unknown:
            raise UsageError(f"a broker is not asked to {unknown!r}", code="broker.request", hint="immure --help")
    return "exit 0"


async def _detach(house: House, provider: str, sandbox: str | None, line: Line) -> None:
    """From the named sandbox, or (None) from every one that has it, those that are still being made included."""
    if sandbox is not None:
        sessions = [_named(house, sandbox)]
    else:
        sessions = [session for session in house.sessions.values() if provider in session.provision.attachments.states]
    await asyncio.gather(*(session.provision.detach(provider) for session in sessions))
    for session in sessions:
        line.send_word(f"answer {json.dumps(session.identifier)}")


def _running(house: House) -> dict[str, Session]:
    return {identifier: session for identifier, session in house.sessions.items() if session.is_running}


def _named(house: House, text: str) -> Session:
    running = _running(house)
    return running[roster.find(text, running)]
