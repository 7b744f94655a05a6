"""A session has an end in time and in bytes."""

from __future__ import annotations

import pytest

from jetrun.notify.deadline import MOST_REPLY_BYTES, Deadline


def test_what_is_left_shrinks_with_the_clock_and_then_raises() -> None:
    now = [100.0]
    deadline = Deadline(10, now=lambda: now[0])
    now[0] = 104.0
    assert deadline.remaining_s() == 6.0
    assert not deadline.is_over()
    now[0] = 110.0
    assert deadline.is_over()
    with pytest.raises(TimeoutError, match="10 s"):
        deadline.remaining_s()


def test_a_deadline_is_shortened_and_never_lengthened() -> None:
    deadline = Deadline(10, now=lambda: 0.0)
    deadline.shorten(20)
    assert deadline.remaining_s() == 10
    deadline.shorten(3)
    assert deadline.remaining_s() == 3


def test_a_server_that_talks_without_end_is_cut_off() -> None:
    deadline = Deadline(10, now=lambda: 0.0)
    deadline.received(MOST_REPLY_BYTES)
    with pytest.raises(ConnectionError):
        deadline.received(1)
