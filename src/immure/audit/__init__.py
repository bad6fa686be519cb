"""The audit trail: what was decided and what became of a login, one JSON line each, kept where the sandbox cannot reach it.

`event` builds lines, `sink` keeps them, `render` shows them. Import the module you need: the gate carries `event` alone.
"""
