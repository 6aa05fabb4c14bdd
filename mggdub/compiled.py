"""numba's compiler, with a cache on disk where there is room for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Any], Any]:
    """`njit(cache=True)` of a function, compiled anew each time where no folder can be written to or a disk is full."""

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
