"""Protocols as values: bytes in, what they mean out, and back. No sockets here; every parser raises PeerError and nothing else."""
