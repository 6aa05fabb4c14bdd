"""numba's compiler, with a cache on disk where there is room for one; and its threads beside torch's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from numba import njit, threading_layer
from numba.np.ufunc.parallel import _launch_threads


def _launch() -> None:
    """Let numba's threads begin now, and torch keep the number of its own.

    With the first parallel kernel, numba tells OpenMP how many threads there are, and torch shares it: where the two
    numbers differ, the same network would give other last digits before a process's first kernel than after it.
    """
    threads = torch.get_num_threads()
    _launch_threads()
    torch.set_num_threads(threads)


_launch()
THREADS_MAY_MEET = threading_layer() != "workqueue"  # several threads may run parallel kernels at once


def compiled(**options: Any) -> Callable[[Any], Any]:
    """`njit(cache=True)` of a function, compiled anew each time where no folder can be written to or a disk is full.

    Kernels know nothing of Python: they run without its lock.
    """
    options = {"nogil": True, **options}

    def decorate(function: Any) -> Any:
        try:
            kernel = njit(cache=True, **options)(function)
        except RuntimeError:  # no writable folder
            return njit(**options)(function)
        save = kernel._cache.save_overload

        def save_if_possible(*compilation: Any) -> None:
            with suppress(OSError):
                save(*compilation)

        kernel._cache.save_overload = save_if_possible
        return kernel

    return decorate
