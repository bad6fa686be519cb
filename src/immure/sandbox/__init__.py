"""What a sandbox looks like from inside: its files, its environment, and the bubblewrap options that make them so."""

from immure.sandbox.environment import environment
from immure.sandbox.spec import AGENT_HOME, Mount, Spec

__all__ = ["AGENT_HOME", "Mount", "Spec", "environment"]
