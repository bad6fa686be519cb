"""The key of a vault, replaced: a new one beside the old, every record sealed anew in one transaction, then the new one in its place.

Killed at any step, the records say under which of the two keys they are, and whoever opens the vault next finishes or begins again:

    before the transaction     the old key is right, the new one is nobody's and is overwritten by the next attempt
    after it                   the new key is right, and takes the place of the old one

A broker that runs meanwhile notices, and asks for the key (`store`).
"""

from collections.abc import Callable, Mapping

from immure.vault.directory import make_private
from immure.vault.key import Keyring, drop_next, find_keyring, make_next, promote_next
from immure.vault.lock import holding
from immure.vault.store import Vault, settled_key


def rotate_key(directory: str, environment: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Replace the key of the vault in `directory`; returns how many records are under the new one. Raises HostError."""
    make_private(directory)

    def find() -> Keyring | None:
        return find_keyring(environment)

    with holding(directory, "key"):
        vault = Vault(directory, settled_key(directory, find, say))
        drop_next(directory, find)
        fresh = make_next(directory, find)
        count = vault.reseal(fresh)
        promote_next(directory, fresh, find)
        return count
