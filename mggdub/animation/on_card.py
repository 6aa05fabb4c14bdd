"""Act 3 on a card: B frames at once, of which only small numbers go up and only the pictures come down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from mggdub.animation import card_head
from mggdub.animation.card_head import CardHead
from mggdub.animation.card_lower_face import CardLowerFace
from mggdub.animation.card_mouth import mouth_area, mouth_fields, shown_mouths
from mggdub.animation.compositor import Compositor
from mggdub.animation.film import head_view
from mggdub.animation.mouth_detail import MouthDetailer, steepness
from mggdub.animation.poses import FrameMotion
from mggdub.avatar.mouth import paint_mouth
from mggdub.avatar.values import HeadAvatar
from mggdub.face import mesh
from mggdub.models import Models
from mggdub.networks.head import FrameWeights
from mggdub.progress import Stopwatch
from mggdub.renderer import on_card
from mggdub.renderer.blocks import ALL_MOUTH, FINEST, PAD
from mggdub.renderer.gsplat import placed_splatter
from mggdub.renderer.on_card import CardPicture
from mggdub.types import Array

FRAMES = 32  # at once, of small pictures
PIXELS = 1 << 23  # that change in frames that are worked on at once, if it is more than one
Draw = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # as of `gsplat.placed_splatter`


@dataclass(frozen=True, eq=False)
class Animator:
    """What is uploaded once for all frames of an avatar."""

    avatar: HeadAvatar
    weights: FrameWeights  # of the learned bases
    compositor: Compositor
    head: CardHead
    lower_face: CardLowerFace
    picture: CardPicture
    mouth: MouthDetailer
    draw: Draw
    device: str
    frames: int  # at once

    @classmethod
    def of(cls, avatar: HeadAvatar, models: Models, device: str, draw: Draw | None = None) -> Animator:
        """`draw` is gsplat's by default. Raises UsageError where it cannot be used."""
        draw = draw or placed_splatter(avatar.camera, device)
        compositor = Compositor.of(avatar)
        return cls(
            avatar,
            FrameWeights.of(models.head, avatar.photo_drivers),
            compositor,
            CardHead.of(avatar, mesh.open_triangles(models.expression.triangles), device),
            CardLowerFace.of(avatar, models.lower_face, device),
            card_picture(compositor, device),
            MouthDetailer.of(avatar),
            draw,
            device,
            at_once(compositor.part),
        )

    @torch.no_grad()
    def upload(self, motions: list[FrameMotion], bodies: Array) -> dict[str, Tensor]:
        """What B frames and the torso's motion in them [B, 4] need on the card; as one piece."""
        displacement, rotation, translation, state, sway, shown = (
            np.stack([getattr(now, name) for now in motions])
            for name in ("displacement", "rotation", "translation", "state", "sway", "shown")
        )
        motion, shade = (np.stack(rows) for rows in zip(*map(self.weights, state), strict=True))
        given = card_head.inputs(displacement, rotation, translation, sway, shown)
        given |= {"motion": motion, "shade": shade, "view": head_view(self.avatar.camera, rotation)}
        layer = self.avatar.mouth_layer
        mouths = [paint_mouth(layer, now.displacement) for now in motions]
        given |= {"splat_colors": np.stack([c for c, _ in mouths]), "splat_radii": np.stack([r for _, r in mouths])}
        given |= self.lower_face.inputs(displacement, rotation, translation, shown[:, 0])
        details = [self.mouth.detail(now) for now in motions]
        given |= mouth_fields(details) | {"mouth_gone": np.array([detail.gone for detail in details])}
        if bodies.any():
            given["picture_sway"] = np.stack([self.compositor.sway(body) for body in bodies])
        tensors = to_card(given, self.device)
        if "mouth_cells" in given:
            tensors["mouth_area"] = torch.tensor(mouth_area(details))  # which the processor reads
        return tensors

    @torch.no_grad()
    def render(self, given: dict[str, Tensor], clock: Stopwatch, planes: bool) -> Tensor:
        """Frames [B, ...] uint8 on the card, as `animate` yields them, of what was uploaded."""
        with clock("deform"):
            splats = self.head.pose(given)
        with clock("rasterise"):
            drawn = self.draw(*splats)
            on_card.settle(drawn)
        if "changes" in given:
            with clock("lower face"):
                self.lower_face.improve(drawn, given)
        with clock("composite"):
            mouths = shown_mouths(given, steepness(self.mouth.ratio)) if "mouth_cells" in given else None
            part = on_card.compose(self.picture, drawn, given.get("picture_sway"), mouths, given["mouth_gone"])
            return (on_card.yuv if planes else on_card.rgb)(self.picture, part)


def animate(
    animator: Animator, motions: Iterable[FrameMotion], bodies: Array, clock: Stopwatch, planes: bool
) -> Iterator[Array]:
    """Frames of `motions` and of the torso's motion [T, 4], as `animation.animate` yields them.

    While the card works on some, the next are made ready. The last are repeated where they are too few, so that the
    card always does the same.
    """
    count, before = animator.frames, None
    moving = zip(_timed(motions, clock), bodies, strict=True)
    while group := list(islice(moving, count)):
        with clock("deform"):
            whole = [*group, *[group[-1]] * (count - len(group))]
            given = animator.upload([now for now, _ in whole], np.stack([body for _, body in whole]))
        coming = Coming(animator.render(given, clock, planes)[: len(group)], clock)
        if before:
            yield from before.frames()
        before = coming
    if before:
        yield from before.frames()


def at_once(part: tuple[int, int, int, int]) -> int:
    """How many frames are worked on at once if a part (left, top, right, bottom) of them changes."""
    left, top, right, bottom = part
    return max(1, min(FRAMES, PIXELS // ((right - left) * (bottom - top))))


def _timed(motions: Iterable[FrameMotion], clock: Stopwatch) -> Iterator[FrameMotion]:
    """The same; `clock` hears what they take."""
    left = iter(motions)
    while True:
        with clock("deform"):
            now = next(left, None)
        if now is None:
            return
        yield now


class Coming:
    """Frames [B, ...] on their way down from the card."""

    def __init__(self, frames: Tensor, clock: Stopwatch) -> None:
        self.clock, self.arrived = clock, None
        if not frames.is_cuda:
            self.tensor = frames
            return
        self.tensor = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
        self.tensor.copy_(frames, non_blocking=True)
        self.arrived = torch.cuda.Event()
        self.arrived.record()

    def frames(self) -> Iterator[Array]:
        """Them, once they are here."""
        with self.clock("composite"):
            if self.arrived:
                self.arrived.synchronize()
        yield from self.tensor.numpy()


def card_picture(compositor: Compositor, device: str) -> CardPicture:
    """What a compositor knows of its picture, on a card."""
    avatar = compositor.avatar
    height, width = avatar.image.shape[:2]
    box, camera = avatar.box, avatar.camera
    still = compositor.still.reshape(height + 2 * PAD, width + 2 * PAD, 4)[PAD:-PAD, PAD:-PAD, :3]
    detail = compositor.detail.reshape(box.height + 2 * PAD, box.width + 2 * PAD, 4)[PAD:-PAD, PAD:-PAD]
    channels = 4 if detail[..., 3].any() else 3
    detail = detail[..., :channels] / np.array([FINEST, FINEST, FINEST, ALL_MOUTH], np.float32)[:channels]
    return CardPicture.of(
        still, compositor.planes, detail, avatar.torso_share_map,
        compositor.sway(np.zeros(4))[2:4], (camera.height, camera.width), (box.left, box.top, box.width, box.height),
        compositor.part, device,
    )  # fmt: skip


def to_card(arrays: dict[str, Array], device: str) -> dict[str, Tensor]:
    """Arrays as float32 tensors, which go up in one piece."""
    flat = torch.from_numpy(np.concatenate([np.asarray(array, np.float32).ravel() for array in arrays.values()]))
    if device == "cuda":
        flat = flat.pin_memory()  # or the copy would wait for what the card is doing
    flat = flat.to(device, non_blocking=True)
    pieces = flat.split([array.size for array in arrays.values()])
    return {name: piece.view(array.shape) for (name, array), piece in zip(arrays.items(), pieces, strict=True)}
