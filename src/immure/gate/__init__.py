"""The gate: the process through which everything that a sandbox sends passes, or does not. One gate, one sandbox, one thread.

It is forked from the nursery, told what it may do by a `Brief`, and speaks to the broker over one channel (docs/architecture.md).
"""
