"""Audit lines from a gate's pipe to the sink."""

import asyncio
import os

import pytest

from immure.broker.trail import Trail
from immure.errors import HostError, ImmureError


def test_only_whole_lines_are_kept_and_the_end_is_told() -> None:
    async def scenario() -> list[bytes]:
        kept: list[bytes] = []
        trail = Trail(kept.append, lambda _: pytest.fail("nothing failed"))
        for part in (b"one\ntw", b"o\nthree\n", b"torn"):
            os.write(trail.writer, part)
            await asyncio.sleep(0)
        os.close(trail.writer)
        await asyncio.wait_for(trail.finished, 10)
        return kept

    kept = asyncio.run(scenario())
    assert b"".join(kept) == b"one\ntwo\nthree\n"
    assert all(lines.endswith(b"\n") for lines in kept)


def test_a_line_that_cannot_be_kept_closes_the_pipe_and_is_told() -> None:
    def full(_: bytes) -> None:
        raise HostError("the disk is full", code="audit.write")

    async def scenario() -> list[ImmureError]:
        told: list[ImmureError] = []
        trail = Trail(full, told.append)
        os.write(trail.writer, b"one\n")
        await asyncio.wait_for(trail.finished, 10)
        with pytest.raises(BrokenPipeError):
            os.write(trail.writer, b"two\n")
        os.close(trail.writer)
        return told

    assert [error.what for error in asyncio.run(scenario())] == ["the disk is full"]
