"""The launcher: a small process without secrets that makes namespaces and runs bubblewrap in them.

What it is: the hands of the broker. It forks once per sandbox, from a process small enough that the fork is cheap; the child makes its
namespaces, opens the sockets that the gate will serve from outside, and becomes bubblewrap with the arguments it is given.
What it is not: it decides nothing. Which paths are mounted, which program runs and what it may reach is computed by the broker.

Rules: standard library only, single-threaded (a process with threads cannot unshare a user namespace, and bubblewrap's
`--die-with-parent` is bound to the thread that spawned it), nothing of the project but `immure.channel`.
"""
