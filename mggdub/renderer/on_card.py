"""What `compose` does, in plain torch for B frames at once: pictures of a head that was drawn on a card stay there.

Tensors lie where a `CardPicture` does, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.renderer.blocks import LEAST, STEEP
from mggdub.renderer.card_mouth import Mouths, over_mouth
from mggdub.renderer.compose import APART, MOSTLY
from mggdub.types import VIDEO_LUMA, Array

Value = TypeVar("Value", Array, Tensor)
Taps = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # places of `grid_sample` along an axis [N] and their weights
LIGHT = np.array(VIDEO_LUMA)
LUMA, BLUE, RED = 219 / 255, 224 / 255 / 8 / 1.8556, 224 / 255 / 8 / 1.5748  # the gains of `planes.to_yuv`


@dataclass(frozen=True, eq=False)
class CardPicture:
    """What is uploaded once of a picture [H, W] whose `part` (left, top, right, bottom) changes."""

    still: Tensor  # [1, 3, H, W] 0..255, the picture without the head
    planes: Tensor  # [H' * 3 / 2, W'] uint8, the same as `compose_yuv` writes it
    detail: Tensor  # [1, 3 or 4, height, width] of 255, as `compose_rgb` takes it; the fourth 0..1, if there is one
    places: Tensor  # [2, (bottom - top) * (right - left)] px, where the part's pixels lie
    sways: Tensor  # [3, the same]: the torso's share of motion, times right, down and 1
    across: Tensor  # [w, width], from columns of a drawing to those of the box
    down: Tensor  # [height, h]
    signals: Tensor  # [3, 3]: luma, and an eighth of blue's and red's chroma, of red, green and blue
    box: tuple[int, int, int, int]  # left, top, width, height
    part: tuple[int, int, int, int]

    @classmethod
    def of(
        cls, still: Array, planes: Array, detail: Array, share: Array, centre: Array, drawn: tuple[int, int],
        box: tuple[int, int, int, int], part: tuple[int, int, int, int], device: str,
    ) -> CardPicture:  # fmt: skip
        """Of still [H, W, 3] uint8, planes, detail [height, width, 3 or 4] of 255, the torso's share [., .] in coarse
        cells; centre [2] leads from the torso's centre to a pixel's corner, px; drawn (rows, columns) is a drawing's
        size.
        """
        size = (still.shape[0], still.shape[1])
        places, sways = _sways(share, centre, size, part)
        signals = np.stack([LUMA * LIGHT, BLUE * ([0, 0, 1] - LIGHT), RED * ([1, 0, 0] - LIGHT)])
        arrays = {
            "places": places,
            "sways": sways,
            "across": _enlarging(box[2], drawn[1]).T,
            "down": _enlarging(box[3], drawn[0]),
            "signals": signals,
        }
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device) for name, array in arrays.items()
        }
        tensors |= {"still": _texture(still, device), "detail": _texture(detail, device)}
        return cls(planes=torch.from_numpy(planes).to(device), box=box, part=part, **tensors)


def _texture(picture: Array, device: str) -> Tensor:
    """[1, C, H, W] float32 of [H, W, C]."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).to(device).float()[None]


def _steps(count: int, cells: int) -> tuple[Array, Array]:
    """As `compose.steps`."""
    at = (np.arange(count) + 0.5) * cells / count - 0.5
    before = np.floor(at).astype(np.int64)
    return before, (at - before).astype(np.float32)


def _enlarging(count: int, cells: int) -> Array:
    """[count, cells]: from `cells` of a drawing to `count` px by cubic convolution, whose edge goes on."""
    before, t = _steps(count, cells)
    matrix, rows = np.zeros((count, cells), np.float32), np.arange(count)
    for tap, weight in enumerate(_cubic(t)):
        np.add.at(matrix, (rows, (before + tap - 1).clip(0, cells - 1)), weight)
    return matrix


def _sways(share: Array, centre: Array, size: tuple[int, int], part: tuple[int, int, int, int]) -> tuple[Array, Array]:
    """`places` and `sways` of a `CardPicture`."""
    left, top, right, bottom = part
    (rows, v), (columns, u) = (_steps(count, cells) for count, cells in zip(size, share.shape, strict=True))
    line = share[rows.clip(0, share.shape[0] - 1)] * (1 - v)[:, None]
    line = line + share[(rows + 1).clip(0, share.shape[0] - 1)] * v[:, None]
    full = line[:, columns.clip(0, share.shape[1] - 1)] * (1 - u)
    full = (full + line[:, (columns + 1).clip(0, share.shape[1] - 1)] * u)[top:bottom, left:right]
    full[full < LEAST] = 0
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    moves = np.stack([full * (x + centre[0]), full * (y + centre[1]), full])
    return np.stack([x, y]).reshape(2, -1), moves.reshape(3, -1)


def _cubic(t: Value, steep: float = -0.5) -> tuple[Value, Value, Value, Value]:
    """As `compose._cubic`, or steeper."""
    s = 1 - t
    first, last = (steep * near * far * far for near, far in ((t, s), (s, t)))
    second, third = (1 + near * near * ((steep + 2) * near - (steep + 3)) for near in (t, s))
    return first, second, third, last


def settle(drawn: Tensor) -> None:
    """As `compose.settle`, of drawings [B, h, w, 8]."""
    placed, alpha = drawn[..., 3], drawn[..., 7]
    known = placed.clamp_min(1e-3)
    away = drawn[..., 4:6] / known[..., None]
    spread = (drawn[..., 6] / known - away.square().sum(-1)).clamp_min(0).sqrt()
    one = ((APART[1] - spread) / (APART[1] - APART[0])).clamp(0, 1)
    mostly = ((placed / alpha.clamp_min(1e-6) - MOSTLY[0]) / (MOSTLY[1] - MOSTLY[0])).clamp(0, 1)
    drawn[..., 6] = placed * one * mostly * (placed >= 1e-3)


def sample_cubic(texture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """[C, ...]: a texture [1, C, H, W] whose edge goes on at x and y [...] px, by 4 x 4 texels.

    The middle two of four weights are positive: one bilinear sample between their texels stands for both, so nine
    samples do for sixteen texels.
    """
    height, width = texture.shape[2:]
    return _sampled(texture, _three_taps(x.flatten(), width), _three_taps(y.flatten(), height)).unflatten(1, x.shape)


def _sampled(texture: Tensor, across: Taps, down: Taps) -> Tensor:
    """[C, N]: weighed bilinear samples of a texture [1, C, H, W]."""
    count = len(across[0][0])
    grid = texture.new_empty(1, 1, count, 2)
    total = list(texture.new_zeros(texture.shape[1], count))
    for at_y, weight_y in zip(*down, strict=True):
        grid[..., 1] = at_y
        for at_x, weight_x in zip(*across, strict=True):
            grid[..., 0] = at_x
            found = F.grid_sample(texture, grid, padding_mode="border", align_corners=False)[0, :, 0]
            weight = weight_x * weight_y
            for color, sample in zip(total, found, strict=True):  # one by one: a card is slow where weights repeat
                color.addcmul_(sample, weight)
    return torch.stack(total)


def _three_taps(at: Tensor, size: int) -> Taps:
    """Three places of `grid_sample` and their weights, for places px of an axis of `size` texels."""
    before = at.floor()
    first, second, third, last = _cubic(at - before, STEEP)
    middle = second + third
    places = torch.stack([before - 1, before + third / middle, before + 2]).mul_(2 / size).add_(1 / size - 1)
    return places.unbind(0), (first, middle, last)


def sample_spline(texture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The same of B-splines of `to_splines`, whose four weights are all positive, so that four samples do."""
    height, width = texture.shape[2:]
    return _sampled(texture, _two_taps(x.flatten(), width), _two_taps(y.flatten(), height)).unflatten(1, x.shape)


def _two_taps(at: Tensor, size: int) -> Taps:
    """As `_three_taps`, two of each."""
    before = at.floor()
    t = at - before
    s = 1 - t
    second, third, last = t * t * (t * 0.5 - 1) + 2 / 3, s * s * (s * 0.5 - 1) + 2 / 3, t * t * t / 6
    right = third + last
    left = 1 - right
    places = torch.stack([before - 1 + second / left, before + 1 + last / right]).mul_(2 / size).add_(1 / size - 1)
    return places.unbind(0), (left, right)


def compose(
    picture: CardPicture, drawn: Tensor, sway: Tensor | None, mouths: Mouths | None = None, gone: Tensor | None = None
) -> Tensor:
    """The part [3, B, bottom - top, right - left] 0..255 with settled drawings [B, h, w, 8] in it.

    sway [B, 6] as in `Compositor`, or None where nothing sways; no mouths where all are shut. [B]: how much of
    the photo's own mouth is `gone`, or none where all of it is seen.
    """
    left, top, _, _ = picture.part
    part = _behind(picture, sway, len(drawn))
    x, y, width, height = picture.box
    here = part[..., y - top : y - top + height, x - left : x - left + width]
    wide = _enlarge(picture, drawn)
    shows = 1 - wide[:, 7].clamp(0, 1)
    head = _detail(picture, wide, drawn.shape[1:3], gone).add_(wide[:, :3].transpose(0, 1), alpha=255)
    if mouths:
        over_mouth(head, wide, drawn, picture.box, mouths)
    here.mul_(F.threshold(shows, 1e-3, 0)).add_(head)
    return part.clamp_(0, 255)


def _enlarge(picture: CardPicture, drawn: Tensor) -> Tensor:
    """[B, 8, height, width] of [B, h, w, 8]."""
    low = picture.down @ drawn.permute(0, 3, 1, 2)  # [B, 8, height, w]
    low *= (low[:, 7:] > 1e-3).any(-1, keepdim=True)  # the cubic undershoots beyond the head
    return (low.flatten(0, 2) @ picture.across).unflatten(0, low.shape[:3])


def _detail(picture: CardPicture, wide: Tensor, drawn: torch.Size, gone: Tensor | None) -> Tensor:
    """[3, B, height, width]: what is added where an enlarged drawing shows the photo; drawn (h, w) is its own size."""
    _, _, width, height = picture.box
    placed, takes = wide[:, 3], wide[:, 6]
    inverse = 1 / placed.clamp_min(0.02)
    gain = (takes * inverse).clamp(0, 1) * (placed > 0.02)
    x = torch.arange(width, device=wide.device, dtype=torch.float32)
    y = torch.arange(height, device=wide.device, dtype=torch.float32)[:, None]
    across = (wide[:, 4] * inverse).mul_(width / drawn[1]).add_(x).clamp_(0, width - 1)
    along = (wide[:, 5] * inverse).mul_(height / drawn[0]).add_(y).clamp_(0, height - 1)
    detail = sample_spline(picture.detail, across, along)
    if gone is not None and len(detail) > 3:
        gain = gain * (1 - detail[3].clamp(0, 1) * gone[:, None, None])
    return detail[:3].mul_(gain)


def _behind(picture: CardPicture, sway: Tensor | None, count: int) -> Tensor:
    """[3, count, bottom - top, right - left]: what is behind the head."""
    left, top, right, bottom = picture.part
    if sway is None:
        return picture.still[0, :, None, top:bottom, left:right].repeat(1, count, 1, 1)
    a, b, _, _, across, along = sway.unbind(1)
    turn = torch.stack([a, -b, across, b, a, along], 1).view(-1, 2, 3).transpose(0, 1).flatten(0, 1)  # [2 * B, 3]
    places = picture.places[:, None] - (turn @ picture.sways).view(2, count, -1)
    height, width = picture.still.shape[2:]
    x, y = places.unflatten(-1, (bottom - top, right - left))
    return sample_cubic(picture.still, x.clamp(0, width - 1), y.clamp(0, height - 1))


def rgb(picture: CardPicture, part: Tensor) -> Tensor:
    """Whole pictures [B, H, W, 3] uint8 of `compose`'s part."""
    left, top, right, bottom = picture.part
    whole = picture.still.expand(part.shape[1], -1, -1, -1).permute(0, 2, 3, 1).to(torch.uint8)
    whole[:, top:bottom, left:right] = (part + 0.5).to(torch.uint8).permute(1, 2, 3, 0)
    return whole


def yuv(picture: CardPicture, part: Tensor) -> Tensor:
    """Planes [B, H' * 3 / 2, W'] uint8 of `compose`'s part, as `compose_yuv` writes them."""
    left, top, _, _ = picture.part
    luma, *chroma = _signals(picture, part)
    beside = [signal[..., :1] for signal in chroma]
    if left:
        still = picture.still[0, :, None, top : picture.part[3], left - 1 : left]
        beside = [signal.expand_as(luma[..., :1]) for signal in _signals(picture, still)[1:]]
    luma, *others = (_even(signal) for signal in (luma, *chroma, *beside))
    height, width = picture.planes.shape[0] * 2 // 3, picture.planes.shape[1]
    planes = picture.planes.repeat(part.shape[1], 1, 1)
    bottom, right = top + luma.shape[1], left + luma.shape[2]
    planes[:, top:bottom, left:right] = luma.add(16.5).to(torch.uint8)
    halves = planes[:, height:].view(-1, 2, height // 2, width // 2)
    for k in range(2):
        halves[:, k, top // 2 : bottom // 2, left // 2 : right // 2] = _chroma(others[k], others[k + 2]).to(torch.uint8)
    return planes


def _signals(picture: CardPicture, part: Tensor) -> Tensor:
    """[3, B, h, w]: luma and an eighth of the chroma, about 0, of [3, B, h, w] 0..255."""
    return (picture.signals @ part.flatten(1)).view(part.shape)


def _even(signal: Tensor) -> Tensor:
    """[B, h', w'] of [B, h, w], or of a single column: what is odd repeats its last row and column."""
    rows, columns = signal.shape[1] % 2, signal.shape[2] % 2 if signal.shape[2] > 1 else 0
    return F.pad(signal[None], (0, columns, 0, rows), "replicate")[0] if rows or columns else signal


def _chroma(signal: Tensor, beside: Tensor) -> Tensor:
    """[B, h / 2, w / 2] of chroma [B, h, w] between two rows at even columns; `beside` [B, h, 1] lies to the left."""
    rows = signal[:, ::2] + signal[:, 1::2]
    before = torch.cat([beside[:, ::2] + beside[:, 1::2], rows[..., 1:-1:2]], -1)
    return (before + rows[..., 1::2]).add_(rows[..., ::2], alpha=2).add_(128.5)
