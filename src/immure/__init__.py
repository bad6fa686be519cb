"""immure runs a coding agent inside walls, with its keys left outside.

Importing the package costs nothing: what it offers is imported by name (`immure.client`, `immure.testing`).
"""
