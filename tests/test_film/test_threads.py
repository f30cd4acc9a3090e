"""Threads beside the network: order, bounds, and errors in either direction."""

import contextlib
import threading
import time

import pytest

from lightsr_basicsr.film.threads import Behind, made_ahead


def test_items_come_in_order_and_not_far_ahead():
    begun = []

    def items():
        for number in range(20):
            begun.append(number)
            yield number

    with made_ahead(items, most=2) as found:
        for number, item in enumerate(found):
            assert item == number
            time.sleep(0.005)
            assert len(begun) <= number + 4


def test_errors_of_the_thread_are_raised():
    def items():
        yield 1
        raise OSError(28, "full")

    with pytest.raises(OSError, match="full"), made_ahead(items) as found:
        list(found)


def test_a_thread_ends_with_its_user():
    closed = []

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    before = threading.active_count()
    with made_ahead(items) as found:
        assert next(found) == 1
    assert closed == [True]
    assert threading.active_count() == before


def test_what_is_handed_over_is_done_in_order_before_the_end():
    done = []

    def work(items):
        for item in items:
            time.sleep(0.002)
            done.append(item)
        return "made"

    behind = Behind(work)
    with behind as hand_over:
        for number in range(10):
            hand_over(number)
            assert len(done) >= number - 2
    assert done == list(range(10))
    assert behind.made == "made"


def test_after_an_error_elsewhere_the_work_is_given_up():
    ends = []

    def work(items):
        try:
            list(items)
            ends.append("whole")
        except Exception as error:
            ends.append(type(error).__name__)

    with contextlib.suppress(KeyError), Behind(work) as hand_over:
        hand_over(1)
        raise KeyError
    assert ends == ["_GivenUpError"]


def test_errors_of_work_behind_are_raised():
    def work(items):
        raise ValueError(next(items))

    with pytest.raises(ValueError, match="1"), Behind(work) as hand_over:
        hand_over(1)
    with pytest.raises(ValueError, match="1"), Behind(work) as hand_over:
        any(hand_over(1) for _ in range(100))
