"""The version, in one place: a broker and a client that disagree about it do not talk."""

__version__ = "0.1.0"
