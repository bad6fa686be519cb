"""Whether this host can do what immure needs, found by trying: the same steps as a launch, and the same words when one fails."""

from immure.doctor.check import Check, Status
from immure.doctor.host import examine

__all__ = ["Check", "Status", "examine"]
