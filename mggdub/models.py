"""Everything that is loaded once, whatever the number of photos, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from mggdub.errors import UsageError
from mggdub.face.detector import FaceFinder
from mggdub.face.expression import ExpressionBasis, load_expression
from mggdub.networks.geometry import GeometryNet, load_geometry
from mggdub.networks.head import HeadNet, load_head
from mggdub.networks.lower_face import LowerFaceNet, load_lower_face
from mggdub.networks.motion import MotionBank, load_motion
from mggdub.networks.mouth import MouthAtlas, load_mouth
from mggdub.networks.speech import SpeechModel, load_speech


@dataclass(frozen=True, eq=False)
class Eyes:
    """What looks at a driving video."""

    faces: FaceFinder
    geometry: GeometryNet
    expression: ExpressionBasis


def choose_device(wanted: str) -> str:
    """'cpu' or 'cuda'. Raises UsageError if CUDA is asked for and cannot be used."""
    usable = torch.cuda.is_available() and find_spec("gsplat") is not None
    if wanted == "cuda" and not usable:
        raise UsageError("--device cuda needs a CUDA build of torch and gsplat; pip install 'mggdub[cuda]' or use cpu.")
    return "cuda" if usable and wanted != "cpu" else "cpu"


@dataclass(frozen=True, eq=False)
class Models:
    """Everything that is loaded once, whatever the number of photos."""

    faces: FaceFinder
    geometry: GeometryNet
    expression: ExpressionBasis
    mouth: MouthAtlas
    lower_face: LowerFaceNet
    head: HeadNet
    speech: SpeechModel
    motion: MotionBank

    @property
    def eyes(self) -> Eyes:
        """Those that look at a driving video."""
        return Eyes(self.faces, self.geometry, self.expression)


def load_models(head: HeadNet | None = None, lower_face: LowerFaceNet | None = None) -> Models:
    """All shipped networks, with another `head` or `lower_face` if given.

    Raises InputError if a weight file is missing or damaged.
    """
    return Models(
        FaceFinder(),
        load_geometry(),
        load_expression(),
        load_mouth(),
        lower_face or load_lower_face(),
        head or load_head(),
        load_speech(),
        load_motion(),
    )
