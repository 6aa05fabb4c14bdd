"""Act 3: avatar and track become frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mggdub.animation import deform, on_card
from mggdub.animation.bases import PlacedBases
from mggdub.animation.compositor import Compositor
from mggdub.animation.eyes import move_eyes, shut
from mggdub.animation.film import film_shown, film_sides, head_view
from mggdub.animation.in_order import at_once, in_order, one_thread
from mggdub.animation.lower_face import LowerFace
from mggdub.animation.monochrome import toned
from mggdub.animation.mouth_detail import MouthDetailer
from mggdub.animation.on_card import Animator
from mggdub.animation.poses import FrameMotion, FramePose, Shown, fading_parts
from mggdub.animation.retarget import brows_past_skin, ease_from_photo, look_at_camera, open_past_edges, retarget
from mggdub.avatar.mouth import paint_mouth, photo_mouth_share
from mggdub.avatar.values import HeadAvatar
from mggdub.face import expression, mesh
from mggdub.geometry.camera import cm_per_px
from mggdub.geometry.sampling import smoothstep
from mggdub.models import Models
from mggdub.motion import torso
from mggdub.networks.head import FrameWeights, head_inputs_of_pose
from mggdub.progress import Stopwatch
from mggdub.types import Array, ExpressionTrack, Gaussians

# Of the way to shut, where a lid's layer begins to show and where it is opaque; and what of it covers the fold.
LID_SHOWS, FOLD_GOES = (0.4, 0.9), (0.72, 0.92)
# From where to where lashes shade the eye below a lid that comes down, and how much of them does.
SHADE_FALLS, SHADE = (0.05, 0.35), 0.12


def frame_motions(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False, start: int = 0
) -> Iterator[FrameMotion]:
    """A track as this head plays it, from frame `start` on; `relative` as in `animate`."""
    basis = models.expression
    photo_motion = expression.vertex_motion(basis, avatar.photo_drivers)
    track = look_at_camera(avatar, track) if track.at_camera else track
    played = retarget(basis, avatar.photo_drivers, track) if relative else ease_from_photo(avatar, track)
    played = open_past_edges(basis, avatar.photo_drivers, played, cm_per_px(avatar.camera))
    played = brows_past_skin(avatar.photo_drivers, played)
    frames = list(zip(played, track.rotation, track.translation, track.torso, strict=True))
    for drivers, rotation, translation, body in frames[start:]:
        state = head_inputs_of_pose(rotation, translation, body, drivers, avatar.photo_drivers)
        displacement = expression.vertex_motion(basis, drivers) - photo_motion
        move_eyes(displacement, basis, avatar.mesh, drivers, avatar.photo_drivers)
        lids = lids_shown(shut(drivers, avatar.photo_drivers))
        sway = torso.sway(body, avatar.camera, avatar.angle)
        shown = Shown(photo_mouth_share(avatar.mesh, displacement), *lids.tolist())
        yield FrameMotion(displacement, rotation, translation, sway, state, shown)


def lids_shown(closed: Array) -> Array:
    """[8], of opacity: what is seen of both lids that are so far `closed` [2], of what covers their folds, of lashes.

    Below, the photo's own skin stretches. The last two: of what the photo shows between lids that are all but shut,
    which goes with the upper ones and would come out below them.
    """
    lids, folds, shade = (smoothstep((closed - a) / (b - a)) for a, b in (LID_SHOWS, FOLD_GOES, SHADE_FALLS))
    return np.concatenate([lids, folds, np.maximum(lids, SHADE * shade), 1 - lids])


def frame_poses(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False
) -> Iterator[FramePose]:
    """`frame_motions` with what follows from them for the splats."""
    return _with_splats(avatar, models, frame_motions(avatar, models, track, relative))


def _with_splats(avatar: HeadAvatar, models: Models, motions: Iterator[FrameMotion]) -> Iterator[FramePose]:
    edges = deform.mesh_edges(mesh.open_triangles(models.expression.triangles))
    resting = deform.lengths(avatar.mesh, edges)
    opacities = avatar.gaussians.opacities.numpy()
    parts, sides = fading_parts(avatar), film_sides(avatar)
    for now in motions:
        shown = opacities.copy()
        for part, share in zip(parts, now.shown, strict=True):
            shown[part] *= share
        shown[avatar.film] *= film_shown(sides, head_view(avatar.camera, now.rotation))
        growth = deform.stretch(resting, avatar.mesh + now.displacement, edges)
        mouth = paint_mouth(avatar.mouth_layer, now.displacement)
        yield FramePose(**vars(now), growth=growth, opacities=shown, mouth=mouth)


def posed_gaussians(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False
) -> Iterator[Gaussians]:
    """The head's Gaussians in every frame; `relative` as in `animate`."""
    return (head for _, head in posed_heads(avatar, models, track, relative))


def posed_heads(
    avatar: HeadAvatar, models: Models, track: ExpressionTrack, relative: bool = False
) -> Iterator[tuple[FramePose, Gaussians]]:
    """What the head does in every frame, and its Gaussians then; `relative` as in `animate`."""
    pose = _Poser(avatar, models)
    for now in frame_poses(avatar, models, track, relative):
        yield now, pose(now)


class _Poser:
    """Puts a head's Gaussians where a frame has them."""

    def __init__(self, avatar: HeadAvatar, models: Models) -> None:
        self.avatar, self.weights = avatar, FrameWeights.of(models.head, avatar.photo_drivers)
        self.motion = PlacedBases.of(avatar.bases.motion, avatar.crop_uv)
        self.shade = PlacedBases.of(avatar.bases.shade, avatar.crop_uv[: avatar.hidden.stop])

    def __call__(self, now: FramePose, count: int | None = None) -> Gaussians:
        """All splats, or the first `count`."""
        avatar, count = self.avatar, count or len(self.avatar.gaussians)
        means, quats, scales, _, photo_colors = avatar.gaussians.arrays
        motion_weights, shade_weights = self.weights(now.state)
        fields = self.motion.blend(motion_weights), self.shade.blend(shade_weights)
        shares = avatar.head_share, avatar.torso_share
        motion = now.displacement, now.growth, now.rotation, now.translation, now.sway
        rest, painted = (means, quats, scales, photo_colors), avatar.hidden.stop
        moved, turned, grown, colors = deform.pose_splats(
            rest, fields, avatar.crop_uv, painted, avatar.mesh_weights, shares, *motion, count
        )
        colors[avatar.mouth], radius = now.mouth
        grown[avatar.mouth] = radius[:, None]
        return Gaussians.of(moved, turned, grown, now.opacities[:count], colors)


def splats_shown(avatar: HeadAvatar, now: FrameMotion) -> int:
    """How many of the splats a frame needs: lids with what covers their folds come last, most often folded."""
    count = len(avatar.gaussians)
    lashes = now.shown.left_lashes, now.shown.right_lashes
    for lid, share in zip(reversed(avatar.lids), reversed(lashes), strict=True):
        if share > 0 or lid.stop != count:
            break
        count = lid.start
    return count


def animate(
    avatar: HeadAvatar,
    models: Models,
    track: ExpressionTrack,
    device: str = "cpu",
    relative: bool = False,
    start: int = 0,
    clock: Stopwatch | None = None,
    planes: bool = False,
) -> Iterator[Array]:
    """Frames [H, W, 3] uint8 of the picture with the head following a track, one after the other.

    `relative`: the first frame of the track is the photo's own expression (driving videos and track files).
    A frame does not depend on those before it: from `start` on they are the same as if all were drawn, and several are
    made at once, each on one thread. `clock` hears how long deforming, rasterising, the lower face and compositing
    take: of frames that are made at once, each its share. `planes`: frames are planes for H.264, `Compositor.yuv`,
    instead.
    """
    clock, motions = clock or Stopwatch(), frame_motions(avatar, models, track, relative, start)
    if device == "cpu":
        frames = _on_cpu(avatar, models, motions, track.torso[start:], clock, planes)
    else:
        frames = on_card.animate(Animator.of(avatar, models, device), motions, track.torso[start:], clock, planes)
    return toned(avatar, frames, planes)


def _on_cpu(
    avatar: HeadAvatar,
    models: Models,
    motions: Iterator[FrameMotion],
    bodies: Array,
    clock: Stopwatch,
    planes: bool,
) -> Iterator[Array]:
    """Frames of `motions` and of the torso's motion [T, 4], as `animate` yields them."""
    compositor = Compositor.of(avatar)
    with one_thread():  # as in every frame: how a network is packed depends on it
        lower_face = LowerFace.of(avatar, models.lower_face)
    pose, mouth, count = _Poser(avatar, models), MouthDetailer.of(avatar), at_once()

    def make(moment: tuple[FramePose, Array]) -> tuple[Array, Stopwatch]:
        (now, body), own = moment, Stopwatch()
        with own("deform"):
            head = pose(now, splats_shown(avatar, now))
        with own("rasterise"):
            drawn = compositor.draw(head)
        with own("lower face"):
            lower_face.improve(drawn, now)
        with own("composite"):
            detail = mouth.detail(now)
            frame = (compositor.yuv if planes else compositor.rgb)(drawn, body, detail)
        return frame, own

    poses = zip(_with_splats(avatar, models, motions), bodies, strict=True)
    for frame, own in in_order(make, poses, count):
        for name, seconds in own.seconds.items():
            clock.add(name, seconds / count)
        yield frame
