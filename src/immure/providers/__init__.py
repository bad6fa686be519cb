"""What immure knows about a provider: where its credentials may go, what it may reach, and how its logins are renewed."""

from immure.providers.login import Login, LoginKind
from immure.providers.profile import Profile, load_profile

__all__ = ["Login", "LoginKind", "Profile", "load_profile"]
