"""The swap: placeholders out of requests and real secrets in, real secrets out of responses and placeholders in.

It works on parsed header fields and on streams of bytes that it is handed; it reads no socket and parses no protocol.
"""

from immure.rewrite.binding import Binding
from immure.rewrite.credential import Credential
from immure.rewrite.pairs import Pairs
from immure.rewrite.placeholder import Shape, is_placeholder, mint
from immure.rewrite.refused import Refused
from immure.rewrite.restore import Restorer, restore_headers
from immure.rewrite.slot import FieldSlot, HeaderSlot, PathSlot, QuerySlot, Slot
from immure.rewrite.slots import Slots, Substituted

__all__ = [
    "Binding",
    "Credential",
    "FieldSlot",
    "HeaderSlot",
    "Pairs",
    "PathSlot",
    "QuerySlot",
    "Refused",
    "Restorer",
    "Shape",
    "Slot",
    "Slots",
    "Substituted",
    "is_placeholder",
    "mint",
    "restore_headers",
]
