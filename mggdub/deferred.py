"""Modules that a library imports at its top, and that are loaded when something in them is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _WhenUsed(ModuleType):
    """Stands for a module, which is imported at the first look into it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # what is asked of every module
            raise AttributeError(name)
        _leave(self)
        return getattr(import_module(self.__name__), name)


@contextmanager
def imported_when_used(*names: str) -> Iterator[None]:
    """What is imported inside gets stand-ins for the modules `names`: each is imported when it is first used, if it is.

    A module that is there already stays; afterwards everybody else imports them as ever.
    """
    stand_ins = [_WhenUsed(name) for name in names if name not in sys.modules]
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        for stand_in in stand_ins:
            _leave(stand_in)


def _leave(stand_in: _WhenUsed) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]
