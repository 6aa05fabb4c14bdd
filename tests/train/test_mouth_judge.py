"""Which frames a judge of mouths looks at."""

import numpy as np

from mggdub.face.mesh import INNER_LOWER_LIP, INNER_UPPER_LIP, canonical_face
from mggdub.train.mouth_judge import APART, chosen_frames, most_alike
from mggdub.types import BLENDSHAPES, LANDMARKS, Face


def a_face(gap: float, shift: float = 0.0) -> Face:
    """A face whose mouth is so many cm open."""
    marks = np.zeros((LANDMARKS, 3), np.float32)
    marks[:468] = canonical_face()[0][:468] * 20 + 300 + shift
    marks[INNER_LOWER_LIP, 1] = marks[INNER_UPPER_LIP, 1] + 20 * gap
    return Face(marks, np.zeros(len(BLENDSHAPES), np.float32), 1.0)


def test_open_mouths_are_chosen_all_over_a_clip() -> None:
    faces = [a_face(1.0 if 20 <= k < 80 else 0.0) for k in range(100)]
    chosen = chosen_frames([*faces, None], 5)
    assert chosen[0] == 20 and chosen[-1] == 78 and len(chosen) == 5


def test_the_frame_whose_lips_are_most_alike_is_not_a_neighbour() -> None:
    gaps = np.linspace(0, 2, 60)
    faces = [a_face(gap, shift=k) for k, gap in enumerate(gaps)]  # heads that move tell nothing of lips
    faces[50] = a_face(gaps[20] + 0.01)
    assert most_alike(faces, 20) == 50
    faces[51] = None  # who is followed by no face shows no change
    assert most_alike(faces, 20) in (20 - APART - 1, 20 + APART + 1)
