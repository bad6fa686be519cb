"""One nursery and one process within the walls for all tests; a gate of its own for each."""

from collections.abc import Callable, Iterator

import pytest
from house import Gate, Inside, Nursery

from immure.gate.brief import Brief

Compose = Callable[[int], Brief]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    faults = made.close()
    assert not faults, faults


@pytest.fixture(scope="session")
def inside() -> Iterator[Inside]:
    made = Inside()
    yield made
    made.close()


@pytest.fixture
def open_gate(nursery: Nursery, inside: Inside) -> Iterator[Callable[..., Gate]]:
    """Opens gates that end with the test; each must end of its own accord, without a fault."""
    gates: list[Gate] = []

    def open_one(compose: Compose, descriptors: int | None = None) -> Gate:
        gates.append(Gate(nursery, inside, compose, descriptors))
        return gates[-1]

    yield open_one
    for gate in gates:
        gate.close()
        if not gate.gone:
            assert nursery.died()["status"] == 0
