"""Several frames at once, each on a thread of its own, and yet one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numba
import torch

from mggdub.compiled import THREADS_MAY_MEET

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST = 8  # frames at once: what holds Python's lock leaves no work for more threads


def at_once() -> int:
    """How many frames are made at once: as many as kernels have threads; one where they cannot be entered twice."""
    return min(numba.get_num_threads(), MOST) if THREADS_MAY_MEET else 1


def in_order(make: Callable[[Item], Made], items: Iterable[Item], count: int) -> Generator[Made]:
    """What `make` makes of items, in their order, `count` at a time.

    Items are taken here, by the thread that asks, `count + 1` ahead at most; `make` runs on threads that compute alone.
    What it raises is raised when its turn comes; when the caller ends, nothing new is begun.
    """
    if count < 2:
        yield from _alone(map(make, items))
        return
    threads, coming, begun = torch.get_num_threads(), deque[Future[Made]](), False
    pool = ThreadPoolExecutor(count, "frame", _compute_alone)
    try:
        for item in _alone(items):
            coming.append(pool.submit(make, item))
            # The first one by itself: MKL chooses its kernels when it is called first, and threads that called it at
            # once have chosen different ones.
            if len(coming) > count or not begun:
                begun = True
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what threads that begin later take over


def _alone(items: Iterable[Item]) -> Iterator[Item]:
    """Items, each made in `one_thread`."""
    coming = iter(items)
    while True:
        with one_thread():
            try:
                item = next(coming)
            except StopIteration:
                return
        yield item


def _compute_alone() -> None:
    torch.get_num_threads()  # begins with what others have; set before, it would be forgotten at a first operator
    torch.set_num_threads(1)
    numba.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes alone: sums keep their order on every machine, and small networks need no other thread's turn."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
