"""A drawn head becomes the whole picture: the photo's detail on it, the swaying torso and the background behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from mggdub.animation.mouth_detail import NO_DETAIL, MouthDetail
from mggdub.avatar.values import HeadAvatar
from mggdub.geometry.camera import project
from mggdub.geometry.sampling import smoothstep, to_splines
from mggdub.motion import torso
from mggdub.renderer.blocks import ALL_MOUTH, FINEST, LEAST, PAD
from mggdub.renderer.compose import compose_rgb, compose_yuv, settle
from mggdub.renderer.kernels import PLACED_CHANNELS
from mggdub.renderer.planes import convert_yuv
from mggdub.renderer.rasterize import render_placed
from mggdub.types import Array, Gaussians

BAND = 128  # rows of a box that are worked on at a time
COVERED = (0.02, 0.2)  # of alpha: where the head's detail begins and where it is whole
OF_MOUTH = (0.02, 0.12)  # share of the photo's own mouth in a drawn px, from which on detail is of it, and is its alone
LEAST_TAKEN = 0.25  # of detail where the photo's own state takes less than all of it


@dataclass(frozen=True, eq=False)
class Compositor:
    """What is worked out once for all frames of an avatar.

    `places` say for every splat where it was drawn in the photo's own state; what the photo showed there beyond the
    splats' own picture is its `detail`, which goes where they go. So a head is drawn small, is as sharp as the photo,
    and in its own state is the photo. What of the detail is of the photo's own mouth goes where lips meet: they
    would take its teeth along.
    """

    avatar: HeadAvatar
    places: Array  # [N, 2] px of the rendered box, NaN for splats that show nothing of the photo
    still: Array  # [(H + 2 PAD) * (W + 2 PAD) * 4] uint8, the picture without the head
    # [(h + 2 PAD) * (w + 2 PAD) * 4] int16, B-splines over the box, FINEST steps in one of 255, and up to ALL_MOUTH how
    # much of a pixel is the photo's own mouth
    detail: Array
    planes: Array  # [H' * 3 / 2, W'] uint8, the picture without the head as `yuv`
    part: tuple[int, int, int, int]  # px of what may change: left, top, right, bottom

    @classmethod
    def of(cls, avatar: HeadAvatar) -> Compositor:
        """Draws the photo's own state once."""
        box = avatar.box
        texture = np.zeros((box.height + 2 * PAD, box.width + 2 * PAD, 4), np.int16)
        still, planes = _without_head(avatar)
        made = cls(avatar, photo_places(avatar), still, texture.reshape(-1), planes, _changing(avatar))
        detail = texture[PAD:-PAD, PAD:-PAD]
        made._put_missing(made.draw(in_photo_state(avatar)), detail[..., :3])
        to_splines(detail[..., :3])
        made._put_mouth(detail[..., 3])
        _continue_edges(texture)
        return made

    def _put_missing(self, drawn: Array, detail: Array) -> None:
        """Into detail [h, w, 3]: what the photo shows in the box beyond a drawing of its own state, where the head is.

        Until then there is none.
        """
        box = self.avatar.box
        photo, shown = box.cut(self.avatar.image), box.cut(self.rgb(drawn, np.zeros(4, np.float32)))
        taken = np.clip(drawn[..., 6] / np.maximum(drawn[..., 3], 1e-3), LEAST_TAKEN, 1)
        share = smoothstep((drawn[..., 7] - COVERED[0]) / (COVERED[1] - COVERED[0])) / taken * FINEST
        cells = torch.from_numpy(share.astype(np.float32))[None, None]
        share = F.interpolate(cells, (box.height, box.width), mode="bilinear")[0, 0].numpy()[..., None]
        for top in range(0, box.height, BAND):
            band = slice(top, top + BAND)
            apart = (photo[band].astype(np.float32) - shown[band]) * share[band]
            detail[band] = np.rint(apart).clip(-32767, 32767)

    def _put_mouth(self, of_mouth: Array) -> None:
        """Into [h, w] zeros, up to ALL_MOUTH: where the box shows the photo's own open mouth, and a splat beyond it."""
        avatar, box = self.avatar, self.avatar.box
        if not avatar.mouth_layer.own_share.any():
            return
        means, quats, scales, opacities, colors = in_photo_state(avatar).arrays
        colors = np.zeros_like(colors)
        colors[avatar.photo_mouth] = 1
        drawn = self.draw(Gaussians.of(means, quats, scales, opacities, colors))
        share = Image.fromarray(drawn[..., 0] / np.maximum(drawn[..., 7], 1e-3))
        wide = np.asarray(share.resize((box.width, box.height), Image.Resampling.BICUBIC))
        for top in range(0, box.height, BAND):
            band = slice(top, top + BAND)
            of_mouth[band] = ((wide[band] - OF_MOUTH[0]) / (OF_MOUTH[1] - OF_MOUTH[0])).clip(0, 1) * ALL_MOUTH

    def draw(self, head: Gaussians) -> Array:
        """A drawing [h, w, 8] of a head of `posed_gaussians`, or of its first splats, for `rgb` and `yuv`."""
        drawn = render_placed(head, self.places[: len(head)], self.avatar.camera)
        settle(drawn)
        return drawn

    def rgb(self, drawn: Array, body: Array, mouth: MouthDetail = NO_DETAIL) -> Array:
        """The picture [H, W, 3] uint8 with a drawing and its mouth's detail in it and the torso moved by `body` [4]."""
        height, width = self.avatar.image.shape[:2]
        frame = self.still.reshape(height + 2 * PAD, width + 2 * PAD, 4)[PAD:-PAD, PAD:-PAD, :3].copy()
        compose_rgb(*self._layers(drawn, self.sway(body), mouth), self.part, frame, numba.get_num_threads())
        return frame

    def yuv(self, drawn: Array, body: Array, mouth: MouthDetail = NO_DETAIL) -> Array:
        """The same for H.264: luma and two planes of chroma [H' * 3 / 2, W'] uint8 of even H' and W', TV range."""
        planes, size = self.planes.copy(), self.avatar.image.shape[:2]
        layers, threads = self._layers(drawn, self.sway(body), mouth), numba.get_num_threads()
        compose_yuv(*layers, self.part, size, *_planes(planes), threads)
        return planes

    def behind(self, body: Array) -> Array:
        """The picture [H, W, 3] uint8 without the head and with the torso moved by `body` [4]."""
        camera = self.avatar.camera
        return self.rgb(np.zeros((camera.height, camera.width, PLACED_CHANNELS), np.float32), body)

    def _layers(self, drawn: Array, sway: Array, mouth: MouthDetail) -> tuple[object, ...]:
        box, share = self.avatar.box, self.avatar.torso_share_map
        area = (box.left, box.top, box.width, box.height)
        return self.still, share, sway, drawn, self.detail, area, mouth.lit(drawn)

    def sway(self, body: Array) -> Array:
        """[6]: size and turn less one, what leads from the centre to a pixel's corner, the shift; px of the picture."""
        camera, box = self.avatar.camera, self.avatar.box
        distance, ratio = float(camera.viewmat[2, 3]), box.width / box.render_width  # picture px per rendered px
        size_turn, shift = torso.in_plane(body, distance, self.avatar.angle)
        shift *= float(camera.K[0, 0]) / distance * ratio
        x, y = (project(torso.CENTRE, camera) * ratio + [box.left, box.top]).tolist()
        return np.array([size_turn.real - 1, size_turn.imag, 0.5 - x, 0.5 - y, shift.real, shift.imag], np.float32)


def photo_places(avatar: HeadAvatar) -> Array:
    """[N, 2] float32: where splats that show the photo lie in the rendered box, px; NaN for all others.

    Lids show skin that lies elsewhere.
    """
    camera = avatar.camera
    places = project(avatar.gaussians.means.numpy(), camera).astype(np.float32)
    places[np.r_[avatar.lids]] = avatar.lid_places
    beyond = ((places < 0) | (places > [camera.width, camera.height])).any(1)
    places[beyond | ~avatar.shows_photo] = np.nan
    return places


def in_photo_state(avatar: HeadAvatar) -> Gaussians:
    """The head in the photo's own state: lids folded."""
    opacities = avatar.gaussians.opacities.clone()
    for lid in avatar.lids:
        opacities[lid] = 0
    return replace(avatar.gaussians, opacities=opacities)


def _changing(avatar: HeadAvatar) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what head and torso may change."""
    height, width = avatar.image.shape[:2]
    share, box = avatar.torso_share_map, avatar.box
    spans = [[box.left, box.left + box.width], [box.top, box.top + box.height]]
    for axis, size in ((0, width), (1, height)):
        cells = np.flatnonzero((share > LEAST).any(axis))
        if len(cells):
            step = size / share.shape[1 - axis]
            spans[axis] += [max(0, int((cells[0] - 1) * step)), min(size, int((cells[-1] + 2) * step) + 1)]
    (left, right), (top, bottom) = ((min(span) // 2 * 2, max(span)) for span in spans)
    return left, top, min(right + right % 2, width), min(bottom + bottom % 2, height)


def _without_head(avatar: HeadAvatar) -> tuple[Array, Array]:
    """`still` and `planes` of a `Compositor`."""
    height, width = avatar.image.shape[:2]
    behind = avatar.image.copy()
    avatar.box.cut(behind)[:] = avatar.plate
    planes = np.empty(((height + 1) // 2 * 3, (width + 1) // 2 * 2), np.uint8)
    convert_yuv(behind, *_planes(planes), numba.get_num_threads())
    return _padded(behind), planes


def _planes(planes: Array) -> tuple[Array, Array]:
    """Luma [H, W] and chroma [2, H / 2, W / 2] in one buffer [H * 3 / 2, W]."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return planes[:height], planes[height:].reshape(2, height // 2, width // 2)


def _padded(picture: Array) -> Array:
    """A flat texture of four channels that repeats its edge, of a picture [H, W, 3]."""
    height, width = picture.shape[:2]
    texture = np.zeros((height + 2 * PAD, width + 2 * PAD, 4), picture.dtype)
    texture[PAD:-PAD, PAD:-PAD, :3] = picture
    _continue_edges(texture)
    return texture.reshape(-1)


def _continue_edges(texture: Array) -> None:
    """Repeat the edge of what lies within the margins of a texture [H + 2 PAD, W + 2 PAD, 4]."""
    texture[PAD:-PAD, :PAD], texture[PAD:-PAD, -PAD:] = texture[PAD:-PAD, [PAD]], texture[PAD:-PAD, [-PAD - 1]]
    texture[:PAD], texture[-PAD:] = texture[PAD], texture[-PAD - 1]
