"""The networks, each loaded when it is first used, and where they run."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from mggdub.compiled import forked
from mggdub.errors import UsageError
from mggdub.face.expression import ExpressionBasis, load_expression
from mggdub.networks.geometry import GeometryNet, load_geometry
from mggdub.networks.head import HeadNet, load_head
from mggdub.networks.lower_face import LowerFaceNet, load_lower_face
from mggdub.networks.motion import MotionBank, load_motion
from mggdub.networks.speech import SpeechModel, load_speech
from mggdub.options import DEVICES

if TYPE_CHECKING:
    from mggdub.face.detector import FaceFinder

# What parts of the work use, by the names of `Models`.
BUILDING = ("faces", "geometry", "expression", "head")  # a photo's avatar
HEARING = ("speech", "motion", "expression")  # a track of a recording
WATCHING = ("faces", "geometry", "expression")  # a track of a video
PLAYING = ("expression",)  # a track of a file
DRAWING = ("expression", "lower_face", "head")  # frames of an avatar and a track


def choose_device(wanted: str) -> str:
    """'cpu' or 'cuda'. Raises UsageError for another device than `DEVICES` or for CUDA where it cannot be used."""
    if wanted not in DEVICES:
        raise UsageError(f"--device is {wanted!r}; choose {' or '.join(DEVICES)}.")
    usable = torch.cuda.is_available() and find_spec("gsplat") is not None
    if wanted == "cuda" and not usable:
        raise UsageError("--device cuda needs a CUDA build of torch and gsplat; pip install 'mggdub[cuda]' or use cpu.")
    return "cuda" if usable and wanted != "cpu" else "cpu"


class Models:
    """The shipped networks, whatever the number of photos: each is loaded when it is first used, and kept.

    They are of the process that made them, and all its threads may share them. The first use of one raises InputError
    if its weight file is missing or damaged.
    """

    def __init__(self, head: HeadNet | None = None, lower_face: LowerFaceNet | None = None) -> None:
        given = {"head": head, "lower_face": lower_face}
        vars(self).update({name: network for name, network in given.items() if network is not None})

    @cached_property
    def faces(self) -> FaceFinder:
        """Finds and measures faces."""
        from mggdub.face.detector import FaceFinder  # its runtime: heads that are kept move without

        return FaceFinder()

    @cached_property
    def geometry(self) -> GeometryNet:
        """Depth, normals, labels and matte of a head's crop."""
        return load_geometry()

    @cached_property
    def expression(self) -> ExpressionBasis:
        """How drivers move the mesh of a face."""
        return load_expression()

    @cached_property
    def lower_face(self) -> LowerFaceNet:
        """Takes away what a smile left behind."""
        return load_lower_face()

    @cached_property
    def head(self) -> HeadNet:
        """The learned head: bases of a photo, and their weights in a frame."""
        return load_head()

    @cached_property
    def speech(self) -> SpeechModel:
        """Lips of a sound."""
        return load_speech()

    @cached_property
    def motion(self) -> MotionBank:
        """People's motion while they speak."""
        return load_motion()

    def load(self, names: tuple[str, ...]) -> None:
        """Load these now, so that what is missing or damaged is told before there is work.

        Raises InputError, or UsageError in a process that was forked.
        """
        if forked():
            raise UsageError(
                "This process was forked from one that had already loaded mggdub, whose threads it lacks; start it by "
                "multiprocessing.get_context('spawn')."
            )
        for name in names:
            getattr(self, name)

    def having(self, head: HeadNet | None = None, lower_face: LowerFaceNet | None = None) -> Models:
        """The same with another `head` or `lower_face`; networks that are loaded are shared."""
        other = Models(head, lower_face)
        vars(other).update(vars(self) | vars(other))
        return other


def load_models(head: HeadNet | None = None, lower_face: LowerFaceNet | None = None) -> Models:
    """The shipped networks, with another `head` or `lower_face` if given; each is loaded when it is first used."""
    return Models(head, lower_face)
