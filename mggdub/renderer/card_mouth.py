"""What `compose` and `mouth_light` do between lips, in plain torch for B frames at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mggdub.renderer.compose import LIPS_LEAST, LIPS_MOST
from mggdub.renderer.mouth_light import BELL, DARKEST, MOUTH_LIGHT

Beside = tuple[Tensor, Tensor, Tensor]  # [B, n]: the cells on either side, and how far it is from one to the other


@dataclass(frozen=True, eq=False)
class Mouths:
    """`MouthDetail`s of B frames; what is beyond a frame's own cells and pixels is 0."""

    cells: Tensor  # [B, 3] where they begin, left and top, and a cell's side; px of the picture
    colors: Tensor  # [B, R, C, 4]
    pixels: Tensor  # [B, 4] where they begin in the drawing, left and top, and how many there are across and down
    small: Tensor  # [B, r, c, 4]
    steep: float
    area: tuple[int, int, int, int]  # px of the picture, within which all of them lie: left, top, right, bottom


def over_mouth(head: Tensor, wide: Tensor, drawn: Tensor, box: tuple[int, int, int, int], mouths: Mouths) -> None:
    """As `compose._over_mouth`, of heads [3, B, height, width] 0..255 in place, in the light of their drawings.

    drawn [B, h, w, 8] are settled, wide [B, 8, height, width] the same enlarged; box (left, top, width, height).
    """
    left, top, width, height = box
    begin, above, end, below = mouths.area
    columns = slice(max(begin - left, 0), min(end - left, width))
    rows = slice(max(above - top, 0), min(below - top, height))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return
    colors = lit(drawn, box, mouths)
    x, within_x = _between_cells(columns, left, mouths.cells[:, 0], mouths.cells[:, 2], colors.shape[2])
    y, within_y = _between_cells(rows, top, mouths.cells[:, 1], mouths.cells[:, 2], colors.shape[1])
    here = wide[..., rows, columns]
    shown = _looked_up(colors, x, y).permute(3, 0, 1, 2)  # [7, B, rows, columns]
    share = (here[:, 7] - here[:, 3]).clamp_(0, 1) * (within_y[:, :, None] & within_x[:, None])
    seen = shown[3] * (share > 0)
    covers = ((share - 0.5) * mouths.steep + 0.5).clamp_(0, 1) * seen
    part = head[..., rows, columns]
    left_over = (part - 255 * share * shown[4:]) / (1 - share).clamp_min(LIPS_LEAST)
    lips = part + seen * (left_over - part).clamp_(-LIPS_MOST, LIPS_MOST)
    part.copy_(lips + covers * (255 * shown[:3] - lips))


def _looked_up(cells: Tensor, x: Beside, y: Beside) -> Tensor:
    """[B, m, n, C]: cells [B, R, C', C] between those beside columns and rows.

    Step by step: `lerp` rounds otherwise where a picture is wider.
    """
    frame = torch.arange(len(cells), device=cells.device)[:, None, None]
    (before, after, s), (upper, lower, t) = ([part[:, None] for part in x], [part[:, :, None] for part in y])
    high, deep = (cells[frame, row, before] for row in (upper, lower))
    high = high + (cells[frame, upper, after] - high) * s[..., None]
    deep = deep + (cells[frame, lower, after] - deep) * s[..., None]
    return high + (deep - high) * t[..., None]


def _between_cells(part: slice, first: int, begin: Tensor, step: Tensor, count: int) -> tuple[Beside, Tensor]:
    """Of px of an axis of a box that begins at `first`: the cells beside them, and whether they lie within those.

    Cells begin at `begin` [B] and have side `step` [B].
    """
    px = torch.arange(part.start + first, part.stop + first, device=begin.device)
    at = (px + 0.5 - begin[:, None]) / step[:, None]
    return _beside(at, torch.full_like(begin, count)), (at > 0) & (at < count)


def _beside(at: Tensor, count: Tensor) -> Beside:
    """Of places [B, n] among `count` [B] cells, counted from where the first begins."""
    last = count[:, None] - 1
    middle = torch.minimum((at - 0.5).clamp_min(0), last)
    before = torch.minimum(middle.floor(), (last - 1).clamp_min(0))
    return before.long(), torch.minimum(before + 1, last).long(), middle - before


def lit(drawn: Tensor, box: tuple[int, int, int, int], mouths: Mouths) -> Tensor:
    """[B, R, C, 7]: `MouthDetail.lit` of settled drawings [B, h, w, 8]."""
    light, cells = _light(drawn, mouths), mouths.cells
    left, top, width, height = box
    across, down = width / drawn.shape[2], height / drawn.shape[1]
    rows, columns = (torch.arange(n, device=drawn.device) + 0.5 for n in mouths.colors.shape[1:3])
    x = (cells[:, :1] + columns * cells[:, 2:] - left) / across - mouths.pixels[:, :1]
    y = (cells[:, 1:2] + rows * cells[:, 2:] - top) / down - mouths.pixels[:, 1:2]
    both = torch.cat([light, mouths.small[..., :3]], -1)
    both = _looked_up(both, _beside(x, mouths.pixels[:, 2]), _beside(y, mouths.pixels[:, 3]))
    factors, small = both[..., :3], both[..., 3:]
    return torch.cat([mouths.colors[..., :3] * factors, mouths.colors[..., 3:], small * factors], -1)


def _light(drawn: Tensor, mouths: Mouths) -> Tensor:
    """[B, r, c, 3]: how much lighter drawings are than what lies between lips."""
    rows, columns = (torch.arange(n, device=drawn.device) for n in mouths.small.shape[1:3])
    x = (mouths.pixels[:, :1] + columns).long().clamp_max_(drawn.shape[2] - 1)
    y = (mouths.pixels[:, 1:2] + rows).long().clamp_max_(drawn.shape[1] - 1)
    here = drawn[torch.arange(len(drawn), device=drawn.device)[:, None, None], y[:, :, None], x[:, None]]
    share = (here[..., 7] - here[..., 3]).clamp_(0, 1) * mouths.small[..., 3]
    both = torch.cat([here[..., :3], mouths.small[..., :3]], -1) * share[..., None]
    bell = torch.from_numpy(BELL).to(drawn.device).view(1, 1, -1, 1)
    wide = F.conv2d(both.permute(0, 3, 1, 2).flatten(0, 1)[:, None], bell.transpose(2, 3), padding=(0, len(BELL) // 2))
    wide = F.conv2d(wide, bell, padding=(len(BELL) // 2, 0)).unflatten(0, (-1, 6))[:, :, 0] + DARKEST
    return (wide[:, :3] / wide[:, 3:]).clamp_(*MOUTH_LIGHT).permute(0, 2, 3, 1)
