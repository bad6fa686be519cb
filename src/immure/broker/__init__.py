"""The control process: one per user. It owns the vault and the logins, and makes and ends sandboxes."""
