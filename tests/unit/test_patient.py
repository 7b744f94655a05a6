"""A terminal that is held, or a pipe that nobody reads, never stops the loop that watches the instance."""

from __future__ import annotations

import os
import threading
import time

from jetrun.cli.patient import WAITING_BYTES, PatientWriter


def test_a_full_pipe_never_blocks_and_what_is_read_later_is_whole() -> None:
    """As with ``| less`` while nobody scrolls."""
    reading, writing = os.pipe()
    writer = PatientWriter(writing)
    data = os.urandom(1 << 20)
    began = time.monotonic()
    for at in range(0, len(data), 65536):
        writer.write(data[at : at + 65536])
    assert time.monotonic() - began < 1.0
    got = bytearray()

    def read() -> None:
        while piece := os.read(reading, 65536):
            got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    writer.finish()
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert bytes(got) == data
    assert writer.dropped_bytes == 0


def test_what_nobody_reads_is_bounded_and_counted() -> None:
    """The memory of the driver does not grow with it."""
    reading, writing = os.pipe()
    writer = PatientWriter(writing)
    for _ in range(20):
        writer.write(bytes(1 << 20))
    assert writer.dropped_bytes > 0
    assert len(writer._waiting) <= WAITING_BYTES
    began = time.monotonic()
    writer.finish(within_s=0.2)
    assert time.monotonic() - began < 2.0
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_is_noticed_and_forgotten() -> None:
    """``| head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    writer = PatientWriter(writing)
    writer.write(b"x" * 10_000)
    writer.write(b"more")
    writer.finish()
    os.close(writing)
    assert writer._waiting == b""
