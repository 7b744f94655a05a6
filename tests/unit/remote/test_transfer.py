"""Transfers as child processes: their end, their progress, their words, without a network."""

from __future__ import annotations

import sys
import time

import pytest

from jetrun.remote.interface import TransferReading, TransferState
from jetrun.remote.transfer import ChildTransfer, Step

DONE = TransferReading(state=TransferState.DONE, missing=("gone",))


def shell(text: str) -> Step:
    return Step(argv=["/bin/sh", "-c", text])


def finished(*steps: Step) -> TransferReading:
    transfer = ChildTransfer(steps, DONE)
    until = time.monotonic() + 20
    while (reading := transfer.poll()).state is TransferState.RUNNING:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert transfer.poll() == reading
    transfer.cancel()
    return reading


def test_steps_run_one_after_the_other_and_all_count():
    line = "printf '\\r  1000 50%% 1.00kB/s 0:00:01\\r  2000 100%% 2.00kB/s 0:00:01\\n'"
    reading = finished(shell(line), shell(line))
    assert (reading.state, reading.sent_bytes, reading.missing) == (TransferState.DONE, 4000, ("gone",))


def test_first_failure_ends_it(tmp_path):
    reading = finished(shell("exit 23"), shell(f"touch '{tmp_path}/second'"))
    assert reading.state is TransferState.FAILED
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("code", "words", "retryable", "full"),
    [
        (255, "Connection reset", True, False),
        (12, "connection unexpectedly closed", True, False),
        (30, "timeout", True, False),
        (10, "", True, False),
        (23, "Permission denied (13)", False, False),
        (11, "write failed: No space left on device (28)", False, True),
        (12, "Kein Platz (28)", False, True),
        (11, "Disk quota exceeded (122)", False, True),
        (1, "", False, False),
    ],
)
def test_ends_are_told_apart(code, words, retryable, full):
    reading = finished(shell(f"echo '{words}' >&2; exit {code}"))
    assert (reading.retryable, reading.disk_full) == (retryable, full)
    assert words in reading.failure


def test_files_that_vanished_meanwhile_are_no_failure():
    assert finished(shell("exit 24")).state is TransferState.DONE


def test_program_that_is_not_there_is_a_failure():
    reading = finished(Step(argv=["no-such-program"]))
    assert reading.state is TransferState.FAILED
    assert "no-such-program" in reading.failure


def test_child_that_says_much_is_not_held_up_and_not_kept():
    reading = finished(shell("head -c 3000000 /dev/zero | tr '\\0' e >&2; head -c 3000000 /dev/zero; exit 1"))
    assert reading.state is TransferState.FAILED
    assert len(reading.failure) < 2000


def test_no_step_is_done_at_once():
    assert ChildTransfer([], DONE).poll().state is TransferState.DONE


def test_child_that_ignores_term_is_killed():
    deaf = "trap '' TERM; printf '  7  1%% 1.00kB/s\\r'; while :; do sleep 0.1; done"
    transfer = ChildTransfer([shell(deaf)], DONE)
    child = transfer._child
    assert child is not None
    until = time.monotonic() + 10
    while transfer.poll().sent_bytes != 7:
        assert time.monotonic() < until
        time.sleep(0.005)
    began = time.monotonic()
    transfer.cancel()
    assert time.monotonic() - began < 5
    assert child.returncode is not None


def test_progress_of_odd_lines_is_left_alone():
    reading = finished(shell("printf 'hello\\r%%%%\\r 12 x\\r   7   0%% 0.00kB/s\\r'"))
    assert reading.sent_bytes == 7
    assert sys.version_info >= (3, 11)
