"""What a test of walls needs on the far side: a stand-in for OpenAI that records what truly arrived, and a detector of leaked secrets.

Public: try your own set-up against it, by hand (`python -m immure.testing.openai`) or from a test.

    with FakeOpenAI(Script(Shell("uname -a"), Say("done"))) as fake:
        ...                                       # run an agent whose upstream is `fake.address`, trusting `fake.authority.pem`
        survey = Survey(needles=Needles(fake.account.secrets()))
        survey.sandbox(pid)                       # and `tree`, `text` for what it left behind
        assert not survey.leaks and not survey.unreadable

Not part of the product at run time: nothing outside this package imports it.
"""

from immure.testing.leak import Leak, Needles
from immure.testing.openai.account import Account
from immure.testing.openai.scenario import Expire, Hold, Refuse, Say, Script, Shell, Step
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Arrival, Record
from immure.testing.survey import Survey

__all__ = [
    "Account",
    "Arrival",
    "Expire",
    "FakeOpenAI",
    "Hold",
    "Leak",
    "Needles",
    "Record",
    "Refuse",
    "Say",
    "Script",
    "Shell",
    "Step",
    "Survey",
]
