"""The swap: placeholders out of requests and real secrets in, real secrets out of responses and placeholders in.

It works on parsed header fields and on streams of bytes that it is handed; it reads no socket and parses no protocol.
"""

from immure.rewrite.credential import Credential
from immure.rewrite.pairs import Pairs
from immure.rewrite.placeholder import Shape, is_placeholder, mint
from immure.rewrite.restore import Restorer, restore_headers
from immure.rewrite.slots import Refused, Substituted, substitute

__all__ = ["Credential", "Pairs", "Refused", "Restorer", "Shape", "Substituted", "is_placeholder", "mint", "restore_headers", "substitute"]
