"""One photo and one speech recording become a talking-head video.

What this module offers is what is promised; torch and the rest come with the first call. Paths may be texts. What goes
wrong with an input is a `MggdubError`: one sentence, and the exit code that the command line has for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mggdub.errors import BatchError, CheckError, InputError, MggdubError, OutputError, UsageError
from mggdub.version import __version__ as __version__

if TYPE_CHECKING:
    from mggdub.api import (
        animate,
        build_avatar,
        evaluate,
        inspect,
        load_avatar,
        load_models,
        read_track,
        render,
        speech_track,
        video_track,
        write_avatar,
        write_video,
    )
    from mggdub.avatar.values import HeadAvatar
    from mggdub.evaluation.summary import Measurement
    from mggdub.models import Models
    from mggdub.reports import AvatarReport, Check, RenderReport
    from mggdub.types import Camera, ExpressionTrack, Gaussians, Photo, Waveform

__all__ = [
    "AvatarReport",
    "BatchError",
    "Camera",
    "Check",
    "CheckError",
    "ExpressionTrack",
    "Gaussians",
    "HeadAvatar",
    "InputError",
    "Measurement",
    "MggdubError",
    "Models",
    "OutputError",
    "Photo",
    "RenderReport",
    "UsageError",
    "Waveform",
    "animate",
    "build_avatar",
    "evaluate",
    "inspect",
    "load_avatar",
    "load_models",
    "read_track",
    "render",
    "speech_track",
    "video_track",
    "write_avatar",
    "write_video",
]
_HOMES = {
    "mggdub.types": ("Camera", "ExpressionTrack", "Gaussians", "Photo", "Waveform"),
    "mggdub.avatar.values": ("HeadAvatar",),
    "mggdub.evaluation.summary": ("Measurement",),
    "mggdub.models": ("Models",),
    "mggdub.reports": ("AvatarReport", "Check", "RenderReport"),
}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, whose module is imported when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "mggdub.api")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
