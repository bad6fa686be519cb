"""The nouns of the house, as values: frozen, validated when built, without behaviour that touches the world."""

from immure.model.caller import Binary, Caller, Process
from immure.model.decision import Allow, Decision, Deny
from immure.model.endpoint import Endpoint, canonical_host
from immure.model.limits import Limits
from immure.model.secret import Secret

__all__ = ["Allow", "Binary", "Caller", "Decision", "Deny", "Endpoint", "Limits", "Process", "Secret", "canonical_host"]
