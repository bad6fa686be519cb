"""What may be reached, by whom: rules as values, and the decision over them.

No parsing of files (that is `immure.config`), no sockets, no clock.
"""

from immure.policy.decide import Policy
from immure.policy.rules import Rule

__all__ = ["Policy", "Rule"]
