"""Whether a slowly turning head shimmers: `python tests/bench/shimmer.py [PHOTO]`, in a checkout.

A head in its photo's own expression turns one degree a second. What a pixel does from frame to frame beyond going on
evenly (its second difference) is told for the frames and for the photo itself, warped by the same motion: by a quintic
spline, along paths that are smooth in time. Both are rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from measuring import EXAMPLES
from scipy import ndimage

from mggdub.animation.animate import posed_gaussians
from mggdub.animation.compositor import Compositor
from mggdub.avatar.build import build_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.media.image import read_image
from mggdub.models import Models, load_models
from mggdub.options import RenderOptions
from mggdub.types import BLENDSHAPES, LIP_MODES, Array, ExpressionTrack

FPS, FRAMES, SPEED = 25, 26, 1.0  # SPEED in degrees a second
WHOLE = 0.99  # of what a pixel shows that is the photo's, and of light that does not pass
SEEN = 3  # of 255: a second difference that may be seen as flicker


def turning(frames: int = FRAMES) -> ExpressionTrack:
    """A head that does nothing but turn to the side."""
    rotation = np.zeros((frames, 3), np.float32)
    rotation[:, 1] = 2 + np.arange(frames) * SPEED / FPS
    still = np.zeros((frames, len(BLENDSHAPES)), np.float32), np.zeros((frames, LIP_MODES), np.float32)
    return ExpressionTrack((np.arange(frames) + 0.5) / FPS, *still, rotation, np.zeros((frames, 3), np.float32))


def frames_and_places(avatar: HeadAvatar, models: Models) -> tuple[Array, Array, Array]:
    """Frames of the box [T, h, w, 3] uint8, how far away each pixel was in the photo [T, h, w, 2] px, where known."""
    compositor, box, track = Compositor.of(avatar), avatar.box, turning()
    frames, places, known = [], [], np.ones((box.height, box.width), bool)
    ratio = box.width / box.render_width
    for head, body in zip(posed_gaussians(avatar, models, track, relative=True), track.torso, strict=True):
        drawn = compositor.draw(head)
        frames.append(box.cut(compositor.rgb(drawn, body)))
        away = drawn[..., 4:6] / np.maximum(drawn[..., 3:4], 1e-3) * ratio
        places.append(np.stack([_enlarged(away[..., k], known.shape, 1) for k in (0, 1)], -1))
        own = (drawn[..., 6] > WHOLE * drawn[..., 7]) & (drawn[..., 7] > WHOLE)
        known &= _enlarged(own.astype(np.float32), known.shape, 0) > 0.5
    return np.stack(frames), np.stack(places), ndimage.binary_erosion(known, iterations=round(4 * ratio))


def _enlarged(drawn: Array, shape: tuple[int, ...], order: int) -> Array:
    factors = [large / small for large, small in zip(shape, drawn.shape, strict=True)]
    return np.asarray(ndimage.zoom(drawn, factors, order=order, grid_mode=True, mode="nearest"))


def warped(photo: Array, away: Array) -> Array:
    """A photo [h, w, 3] looked up [T, h, w, 2] px away, along paths that are parabolas in time; [T, h, w, 3] uint8."""
    moments = np.linspace(-1, 1, len(away))
    basis = np.stack([np.ones_like(moments), moments, moments**2], 1)
    smooth = np.einsum("ts,shwc->thwc", basis @ np.linalg.pinv(basis), away)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    splines = [ndimage.spline_filter(photo[..., c].astype(np.float64), 5) for c in range(3)]
    frames = np.empty((len(away), *photo.shape), np.uint8)
    for frame, (right, down) in zip(frames, np.moveaxis(smooth, -1, 1), strict=True):
        for c, spline in enumerate(splines):
            found = ndimage.map_coordinates(spline, [y + down, x + right], order=5, prefilter=False, mode="nearest")
            frame[..., c] = np.rint(found.clip(0, 255))
    return frames


def flicker(frames: Array, where: Array) -> dict[str, float]:
    """Root mean square of second differences of 255, and how many of a thousand values exceed SEEN."""
    values = frames[:, where].astype(np.float32)
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    return {
        "rms": round(float(np.sqrt((second**2).mean())), 3),
        "seen": round(1e3 * float((np.abs(second) > SEEN).mean()), 3),
    }


def measure(photo: Path) -> dict[str, object]:
    """What is told of a photo."""
    models = load_models()
    avatar = build_avatar(read_image(photo), models, RenderOptions())
    frames, away, known = frames_and_places(avatar, models)
    true = warped(avatar.box.cut(avatar.image), away)
    apart = float(np.sqrt(((frames[:, known].astype(np.float32) - true[:, known]) ** 2).mean()))
    speed = float(np.linalg.norm(np.diff(away, axis=0), axis=-1)[:, known].mean())
    return {
        "photo": photo.stem,
        "pixels": int(known.sum()),
        "px_a_frame": round(speed, 3),
        "frames": flicker(frames, known),
        "true_warp": flicker(true, known),
        "from_true_warp": round(apart, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how a slowly turning head shimmers.")
    parser.add_argument("photo", type=Path, nargs="*", default=[EXAMPLES / "photo.png"])
    for path in parser.parse_args().photo:
        print(json.dumps(measure(path)))
