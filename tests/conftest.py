"""What every test shares: properties have no deadline, because a loaded machine is not a bug."""

from hypothesis import settings

settings.register_profile("immure", deadline=None)
settings.load_profile("immure")
