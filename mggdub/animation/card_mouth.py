"""Mouths of several frames as a card wants them: `MouthDetail`s in arrays of one size."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mggdub.animation.mouth_detail import MouthDetail
from mggdub.renderer.card_mouth import Mouths
from mggdub.types import Array


def shown_mouths(given: dict[str, Tensor], steep: float) -> Mouths:
    """Those of frames that were uploaded and are not all shut; `steep` of `steepness`."""
    left, top, right, bottom = given["mouth_area"].tolist()
    cells, colors, pixels, small = (given[f"mouth_{name}"] for name in ("cells", "colors", "pixels", "small"))
    return Mouths(cells, colors, pixels, small, steep, (left, top, right, bottom))


def mouth_fields(details: list[MouthDetail]) -> dict[str, Array]:
    """`Mouths` but for their area, as arrays; nothing if all are shut."""
    if not any(detail.colors.size for detail in details):
        return {}
    return {
        "mouth_cells": np.array([[d.left, d.top, d.step] for d in details]),
        "mouth_colors": _stacked([detail.colors for detail in details]),
        "mouth_pixels": np.array([[*d.corner, d.small.shape[1], d.small.shape[0]] for d in details]),
        "mouth_small": _stacked([detail.small for detail in details]),
    }


def _stacked(pictures: list[Array]) -> Array:
    """[B, R, C, 4] of pictures of several sizes, 0 beyond them."""
    rows, columns = np.max([picture.shape[:2] for picture in pictures], 0)
    whole = np.zeros((len(pictures), rows, columns, 4), np.float32)
    for out, picture in zip(whole, pictures, strict=True):
        out[: picture.shape[0], : picture.shape[1]] = picture
    return whole


def mouth_area(details: list[MouthDetail]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom px of the picture, within which all mouths lie that are not shut."""
    corners = [
        (d.left, d.top, -d.left - d.step * d.colors.shape[1], -d.top - d.step * d.colors.shape[0])
        for d in details
        if d.colors.size
    ]
    left, top, right, bottom = np.min(corners, 0).tolist()
    return left, top, -right, -bottom
