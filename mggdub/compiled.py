"""numba's compiler, with a cache on disk where there is room for one; and its threads beside torch's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from numba import config, njit, threading_layer
from numba.core.caching import Cache
from numba.np.ufunc.parallel import _launch_threads

from mggdub.errors import UsageError, excerpt


def _launch() -> None:
    """Let numba's threads begin now, and torch keep the number of its own.

    With the first parallel kernel, numba tells OpenMP how many threads there are, and torch shares it: where the two
    numbers differ, the same network would give other last digits before a process's first kernel than after it. Raises
    UsageError where the environment asks numba for what it cannot do.
    """
    if vars(config)["DISABLE_JIT"]:
        raise UsageError("NUMBA_DISABLE_JIT is set, so that a frame would take minutes; unset it.")
    threads = torch.get_num_threads()
    try:
        _launch_threads()
    except ValueError as error:
        names = ", ".join(name for name in os.environ if name.startswith("NUMBA_"))
        raise UsageError(f"numba does not begin its threads ({excerpt(error)}); correct or unset {names}.") from error
    torch.set_num_threads(threads)


_launch()
PROCESS = os.getpid()
THREADS_MAY_MEET = threading_layer() != "workqueue"  # several threads may run parallel kernels at once


def _cache_if_possible() -> None:
    """Let every kernel, libraries' too, be compiled anew where none is kept: no folder, a full disk, damaged files."""
    kept: Any = Cache
    begin, load, save = kept.__init__, kept.load_overload, kept.save_overload

    def begin_if_possible(cache: Any, *given: Any, **named: Any) -> None:
        try:
            begin(cache, *given, **named)
        except RuntimeError:  # no writable folder
            cache.disable()

    def load_if_possible(cache: Any, *given: Any) -> Any:
        try:
            return load(cache, *given)
        except Exception:  # of every kind, as where power was cut while it was written
            with suppress(OSError):
                cache.flush()
            return None

    def save_if_possible(*given: Any) -> None:
        with suppress(OSError):
            save(*given)

    kept.__init__, kept.load_overload, kept.save_overload = begin_if_possible, load_if_possible, save_if_possible


_cache_if_possible()


def forked() -> bool:
    """Whether this process was forked after numba's threads began: a parallel kernel would end it without a word."""
    return os.getpid() != PROCESS


def compiled(**options: Any) -> Callable[[Any], Any]:
    """`njit(cache=True)` of a function.

    The cache watches all files with kernels that the function's own leads to, numba's only its own. Kernels know
    nothing of Python: they run without its lock.
    """
    options = {"nogil": True, **options}

    def decorate(function: Any) -> Any:
        kernel = njit(cache=True, **options)(function)
        if index := getattr(kernel._cache, "_cache_file", None):
            index._source_stamp = (index._source_stamp, *map(_digest, sorted(_sources(function.__globals__, set()))))
        return kernel

    return decorate


def _sources(names: dict[str, Any], found: set[str]) -> set[str]:
    """Files of this package that hold kernels, or what kernels are made of, which the `names` of one lead to."""
    for value in names.values():
        module = sys.modules.get(value.__module__ or "") if callable(value) and hasattr(value, "__module__") else None
        if module and module.__name__.split(".")[0] == names["__name__"].split(".")[0]:
            has_kernels = {"compiled", "ir"} & vars(module).keys()
            if has_kernels and module.__file__ and module.__file__ not in found:
                found.add(module.__file__)
                _sources(vars(module), found)
    return found


@cache
def _digest(file: str) -> str:
    with suppress(OSError):
        return sha256(Path(file).read_bytes()).hexdigest()
    return ""
