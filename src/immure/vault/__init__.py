"""Secrets at rest: encrypted records, the key that opens them, and the lock under which they change."""

from immure.vault.store import Vault, open_vault

__all__ = ["Vault", "open_vault"]
