"""Frames that are made at once come one after the other, and what goes wrong is heard."""

import signal
import threading
import time
from collections.abc import Iterator

import numba
import pytest
import torch

from mggdub.animation.in_order import in_order


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("frame")]


def test_the_last_to_begin_may_be_ready_first() -> None:
    done = []

    def make(number: int) -> int:
        time.sleep(0.05 if number % 2 == 0 else 0)
        done.append(number)
        return number * number

    assert list(in_order(make, range(7), 2)) == [number * number for number in range(7)]
    assert sorted(done) == list(range(7)) and done != sorted(done)
    assert not threads()


@pytest.mark.parametrize("count", [1, 3])
def test_few_items_are_taken_ahead(count: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    made = in_order(abs, items(), count)
    assert [next(made), next(made)] == [0, 1]
    assert len(taken) <= 2 + count
    made.close()
    assert not threads() and len(taken) < 8


@pytest.mark.parametrize("count", [1, 2])
def test_every_thread_computes_alone(count: int) -> None:
    before = torch.get_num_threads(), numba.get_num_threads()

    def make(_: int) -> tuple[int, int]:
        time.sleep(0.01)
        return torch.get_num_threads(), numba.get_num_threads()

    alone = {(1, 1)} if count > 1 else {(1, before[1])}
    assert set(in_order(make, range(6), count)) == alone
    assert (torch.get_num_threads(), numba.get_num_threads()) == before
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before[0]]


def test_an_error_is_raised_in_its_turn() -> None:
    begun = []

    def make(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ArithmeticError("three")
        return number

    heard: list[int] = []
    with pytest.raises(ArithmeticError, match="three"):
        heard.extend(in_order(make, range(100), 2))
    assert not threads() and max(begun) <= 6

    def broken() -> Iterator[int]:
        yield 0
        raise ArithmeticError("items")

    with pytest.raises(ArithmeticError, match="items"):
        list(in_order(abs, broken(), 2))
    assert not threads()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_an_interruption_waits_for_one_frame_at_most() -> None:
    def make(_: int) -> int:
        time.sleep(0.3)
        return 0

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(in_order(make, range(100), 2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 8 and not threads()  # all of them would take 15 s
