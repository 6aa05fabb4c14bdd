"""Bases in 16 bits around the splats say what all of them say in 32."""

import numpy as np
import pytest

from mggdub.animation.bases import PlacedBases
from mggdub.avatar.values import HeadAvatar
from mggdub.geometry.sampling import add_sampled
from mggdub.types import Array


def spread(field: Array, place: Array) -> Array:
    out = np.zeros((len(place), 3), np.float32)
    add_sampled(np.ascontiguousarray(field), place, out)
    return out


@pytest.mark.parametrize("name", ["motion", "shade"])
def test_a_saved_avatars_bases_are_exact(avatar: HeadAvatar, name: str) -> None:
    bases, place = getattr(avatar.bases, name), avatar.crop_uv
    weights = np.random.default_rng(0).normal(size=len(bases)).astype(np.float32)
    placed = PlacedBases.of(bases, place)
    assert placed.codes.dtype == np.int16 and placed.codes.nbytes < bases.nbytes / 2
    true = np.tensordot(weights, bases, 1).transpose(1, 2, 0)
    assert np.abs(true).max() > 1e-3
    np.testing.assert_allclose(spread(placed.blend(weights), place), spread(true, place), atol=2e-6)


@pytest.mark.parametrize("corner", [0.0, 0.5, 0.97])
def test_any_bases_are_as_good_as_16_bits_anywhere(corner: float) -> None:
    rng = np.random.default_rng(1)
    bases = rng.normal(0, [[[[1e-4]]], [[[3.0]]], [[[0.0]]]], (3, 3, 32, 32)).astype(np.float32)
    place = (corner + 0.03 * rng.random((50, 2))).astype(np.float32)
    for k in range(3):
        weights = np.eye(3, dtype=np.float32)[k]
        found, true = (
            spread(PlacedBases.of(bases, place).blend(weights), place),
            spread(bases[k].transpose(1, 2, 0), place),
        )
        np.testing.assert_allclose(found, true, atol=np.abs(bases[k]).max() / 2**15 + 1e-12)
