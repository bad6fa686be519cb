"""The walls, attacked: a suite of hostile programs that is made against a user's own sandbox, and against ours by the tests.

attack, system_calls       what an attack is, and what it is made of
files, network, gate, …    the attacks, by what they are directed at
program                    what makes them, inside and outside
decoy, trial, verdict      what they are directed at, how they are made, and how they are judged
"""
