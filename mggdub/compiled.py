"""numba's compiler, with a cache on disk where there is room for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit, threading_layer


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


def reentrant() -> bool:
    """Whether parallel kernels may run in several threads at once; never before a first one has run."""
    try:
        return bool(threading_layer() != "workqueue")
    except ValueError:
        return False
