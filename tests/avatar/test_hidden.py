"""The hidden side ends where a head does."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mggdub.avatar.build import study_photo
from mggdub.avatar.hidden import MIRRORED_RADIUS, SHELL_RADIUS, hidden_layer
from mggdub.face.mesh import EAR_LOBES
from mggdub.geometry.camera import head_mesh
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.types import HAIR, SKIN, Array


def test_below_the_ears_only_hair_hangs(models: Models, head_png: Path) -> None:
    study = study_photo(read_image(head_png), models, RenderOptions(size=256, preview=True))
    lobes = head_mesh(study.head.landmarks, study.head.camera)[list(EAR_LOBES), 1].mean()
    everywhere = np.ones((512, 512), np.float32)

    def lowest(labels: Array) -> float:
        maps = replace(study.maps, labels=labels)
        layer = hidden_layer(study.head, maps, study.surface, everywhere, models.expression.triangles)
        shell = layer.radius > (MIRRORED_RADIUS + SHELL_RADIUS) / 2
        assert shell.sum() > 300
        return float(layer.means[shell, 1].max())

    bald, haired = study.maps.labels.copy(), study.maps.labels.copy()
    bald[..., SKIN] += bald[..., HAIR]
    bald[..., HAIR] = 0
    haired[..., HAIR] += haired[..., SKIN]
    haired[..., SKIN] = 0
    assert lowest(bald) < lobes + 0.5  # cm, down
    assert lowest(haired) > lobes + 2
