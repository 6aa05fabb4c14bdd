"""What a card does is what the kernels do, stage by stage and whole, with our rasteriser in gsplat's place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from measuring import EXAMPLES, kernels_on_card
from scipy import ndimage

from mggdub.animation import animate as animation
from mggdub.animation import on_card
from mggdub.animation.animate import animate, frame_motions, posed_gaussians
from mggdub.animation.card_lower_face import find_windows
from mggdub.animation.compositor import photo_places
from mggdub.animation.folds import ROOM, around_folds, folds_open
from mggdub.animation.lower_face import LowerFace, change_shown, drawn_inputs, find_window
from mggdub.animation.on_card import Animator, at_once
from mggdub.animation.poses import FrameMotion
from mggdub.avatar import build
from mggdub.avatar.mouth import photo_mouth_share
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import UsageError
from mggdub.media.image import read_image
from mggdub.models import Models
from mggdub.networks.lower_face import SIZE, LowerFaceNet
from mggdub.options import RenderOptions
from mggdub.progress import Stopwatch
from mggdub.renderer import on_card as composing
from mggdub.renderer.gsplat import placed_splatter
from mggdub.types import BLENDSHAPES, Array, ExpressionTrack

SHOWN = 2  # of 255, that a value may be off where rounding decides


@dataclass(frozen=True, eq=False)
class Played:
    """A head, its track, and what both ways are made of."""

    avatar: HeadAvatar
    models: Models
    track: ExpressionTrack
    motions: list[FrameMotion]
    animator: Animator

    def given(self) -> dict[str, torch.Tensor]:
        return self.animator.upload(self.motions, self.track.torso)

    def drawn(self) -> torch.Tensor:
        """Settled drawings of all frames, by the kernels."""
        heads = posed_gaussians(self.avatar, self.models, self.track)
        return torch.from_numpy(np.stack([self.animator.compositor.draw(head) for head in heads]))

    def frames(self, track: ExpressionTrack, start: int = 0, planes: bool = True) -> Iterator[Array]:
        motions = frame_motions(self.avatar, self.models, track, start=start)
        return on_card.animate(self.animator, motions, track.torso[start:], Stopwatch(), planes)


def spoken() -> ExpressionTrack:
    """Five frames: at rest, then an open mouth, a wink, a pursed mouth and a blink of a head that turns and sways."""
    units, modes, body = np.zeros((5, 52), np.float32), np.zeros((5, 8), np.float32), np.zeros((5, 4), np.float32)
    modes[1, 0], modes[2, 0], modes[3, 1], modes[4] = 7, 1.5, -4, (1, -2, 0.5, 0.3, -0.2, 0.1, 0.1, 0.05)
    left, right = (BLENDSHAPES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight"))
    units[2, left], units[4, left], units[4, right] = 0.95, 1, 1
    body[1:] = [[0.4, -0.2, 1, 0.5], [-0.5, 0.3, -1, 0], [0, 0, 0, 0], [0.2, 0.1, 0.5, -1]]
    turns = np.array([[0, 0, 0], [3, -6, 5], [-2, 8, -3], [3, -6, 5], [0, 12, 0]], np.float32)
    shifts = np.array([[0, 0, 0], [0.5, 0.2, -1], [0, 0, 0], [-0.4, 0.3, 0.5], [0.1, 0, 0]], np.float32)
    return ExpressionTrack(np.arange(5.0), units, modes, turns, shifts, body)


@pytest.fixture(scope="module", params=["synthetic", "odd"])
def played(request: pytest.FixtureRequest, models: Models, avatar: HeadAvatar) -> Played:
    """The synthetic head, and the example's with an open mouth of its own at an odd width and height."""
    if request.param == "odd":
        photo = read_image(EXAMPLES / "photo.png")
        pixels = photo.pixels[: photo.size[1] // 2 * 2 - 1]
        avatar = build.build_avatar(replace(photo, pixels=pixels), models, RenderOptions(size=251, preview=True))
        assert avatar.image.shape[0] % 2 and avatar.image.shape[1] % 2 and len(avatar.photo_mouth)
    avatar = replace(avatar, film=slice(avatar.hidden.start - 1000, avatar.hidden.start))  # of a turn of 12 degrees
    torch.manual_seed(3)
    net = LowerFaceNet().eval().requires_grad_(False)
    net.leave.weight.normal_(0, 0.3)
    models, track = models.having(lower_face=net), spoken()
    animator = Animator.of(avatar, models, "cpu", kernels_on_card(photo_places(avatar), avatar.camera))
    return Played(avatar, models, track, list(frame_motions(avatar, models, track)), replace(animator, frames=2))


def apart(ours: Array, theirs: Array) -> Array:
    return np.abs(ours.astype(np.int16) - theirs)


def test_splats_lie_where_the_kernels_put_them(played: Played) -> None:
    given = played.given()
    with torch.inference_mode():
        posed = played.animator.head.pose(given)
    for k, head in enumerate(posed_gaussians(played.avatar, played.models, played.track)):
        means, quats, scales, opacities, carried = (field[k].numpy() for field in posed)
        ours, bounds = (means, quats, scales, opacities, carried[:, :3]), (1e-4, 1e-5, 1e-5, 1e-6, 1e-3)
        for field, true, bound in zip(ours, head.arrays, bounds, strict=True):
            assert np.abs(field - true).max() <= bound
        assert np.array_equal(carried[:, 3] > 0, ~np.isnan(photo_places(played.avatar)).any(1))
        assert (carried[:, 7] == 1).all()


def test_lids_and_the_photos_own_mouth_show_as_they_should(played: Played) -> None:
    given, head = played.given(), played.avatar
    with torch.inference_mode():
        opacities = played.animator.head.pose(given)[3].numpy()
    whole, (left, right) = head.gaussians.opacities.numpy(), head.lids
    assert not opacities[0, left].any() and not opacities[0, right].any()
    assert opacities[2, left] == pytest.approx(whole[left]) and not opacities[2, right].any()  # a wink
    assert opacities[4, left] == pytest.approx(whole[left]) and opacities[4, right] == pytest.approx(whole[right])
    for k, now in enumerate(played.motions):
        left_over = whole[head.photo_mouth] * photo_mouth_share(head.mesh, now.displacement)
        assert opacities[k, head.photo_mouth] == pytest.approx(left_over, abs=1e-6)


def test_what_splats_carry_is_drawn_as_places_are(played: Played) -> None:
    """Right, down and their square lead from where a splat is drawn to its place in the photo."""
    given = played.given()
    with torch.inference_mode():
        posed = played.animator.head.pose(given)
    means, carried = posed[0][1].double().numpy(), posed[4][1].numpy()
    camera, places = played.avatar.camera, photo_places(played.avatar)
    seen = means @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    away = places - (seen[:, :2] / seen[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2])
    has = ~np.isnan(places).any(1)
    assert np.abs(carried[has, 4:6] - away[has]).max() < 1e-3
    assert np.allclose(carried[has, 6], np.square(away[has]).sum(1), 1e-4, 1e-3)
    assert not carried[~has, 3:7].any()


def test_windows_are_found_for_all_frames_at_once(played: Played) -> None:
    names = ("displacement", "rotation", "translation")
    moved = (np.stack([getattr(now, name) for now in played.motions]) for name in names)
    mesh, camera = played.avatar.mesh, played.avatar.camera
    for *found, now in zip(*find_windows(played.avatar, *moved), played.motions, strict=True):
        true = find_window(mesh, now.displacement, now.rotation, now.translation, camera)
        for ours, theirs in zip(found, (true.to_drawing, true.from_drawing, true.lips, true.inside), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_lower_face_is_changed_where_and_as_the_kernels_change_it(played: Played) -> None:
    shown = [change_shown(now.displacement) for now in played.motions]
    assert min(shown) == 0 and max(shown) > 0.5
    lower, given, drawn = LowerFace.of(played.avatar, played.models.lower_face), played.given(), played.drawn()
    opened = [folds_open(played.avatar.mesh, now.displacement) for now in played.motions]
    assert max(opened) > 0.5
    folds = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 0.5, lower.folds.shape), 2).astype(np.float32)
    down, right = np.mgrid[: folds.shape[0], : folds.shape[1]] + 0.5
    u, v = np.einsum("ij,jhw->ihw", lower.at_rest.from_drawing, np.stack([right, down, np.ones_like(down)]))
    folds[np.maximum(abs(u - SIZE / 2), abs(v - SIZE / 2)) > SIZE / 2 - ROOM / 4] = 0  # as far as real ones lie
    lower = replace(lower, folds=folds, folded=around_folds(folds, lower.at_rest.from_drawing))
    on_card = played.animator.lower_face
    on_card = replace(on_card, folds=torch.from_numpy(folds)[None, None])
    with torch.inference_mode():
        inputs = on_card.net_inputs(drawn, given)
        changed = drawn.clone()
        on_card.improve(changed, given)
    for k, (now, share) in enumerate(zip(played.motions, shown, strict=True)):
        before = drawn[k].numpy()
        if share == 0:
            assert np.array_equal(changed[k].numpy(), before)
            continue
        window = find_window(played.avatar.mesh, now.displacement, now.rotation, now.translation, played.avatar.camera)
        assert np.abs(inputs[k, :9].numpy() - drawn_inputs(before, window, lower.at_rest)).max() < 2e-3
        after = before.copy()
        lower.improve(after, now)
        assert np.abs(after - before).max() > 0.02
        assert np.abs(changed[k].numpy() - after).max() < 6e-3  # matrix units multiply half-precision numbers


def test_nothing_goes_up_for_lower_faces_that_stay(played: Played) -> None:
    given = played.animator.upload(played.motions[:1], played.track.torso[:1])
    assert "changes" not in given and "picture_sway" not in given
    assert {"changes", "picture_sway"} < played.given().keys()


@pytest.mark.parametrize("planes", [True, False], ids=["planes", "rgb"])
def test_drawings_become_the_pictures_that_the_kernels_compose(played: Played, planes: bool) -> None:
    drawn, compositor = played.drawn(), played.animator.compositor
    still, bodies = np.zeros_like(played.track.torso), played.track.torso
    for motion in (still, bodies):
        sway = torch.from_numpy(np.stack([compositor.sway(body) for body in motion])) if motion.any() else None
        part = composing.compose(played.animator.picture, drawn, sway)
        ours = (composing.yuv if planes else composing.rgb)(played.animator.picture, part).numpy()
        kernels = compositor.yuv if planes else compositor.rgb
        theirs = [kernels(one.numpy(), body) for one, body in zip(drawn, motion, strict=True)]
        off = apart(ours, np.stack(theirs))
        assert off.max() <= SHOWN and (off > 0).mean() < 1e-3


@pytest.mark.parametrize("planes", [True, False], ids=["planes", "rgb"])
def test_whole_frames_are_the_kernels(played: Played, planes: bool) -> None:
    ours = np.stack(list(played.frames(played.track, planes=planes)))
    theirs = np.stack(list(animate(played.avatar, played.models, played.track, planes=planes)))
    off = apart(ours, theirs)
    assert ours.shape == theirs.shape and ours.dtype == np.uint8
    assert (off > SHOWN).mean() < 1e-4 and (off > 0).mean() < 1e-2  # matrix units multiply half-precision numbers
    assert apart(theirs[1:], theirs[0]).max() > 50  # it moved


def test_a_frame_does_not_depend_on_those_beside_it(played: Played) -> None:
    whole = list(played.frames(played.track))
    late = list(played.frames(played.track, start=3))
    assert len(whole) == 5 and len(late) == 2
    assert all(np.array_equal(a, b) for a, b in zip(whole[3:], late, strict=True))


def test_a_track_without_frames_has_none(played: Played) -> None:
    assert list(played.frames(played.track, start=5)) == []


def test_large_pictures_are_worked_on_one_by_one() -> None:
    assert at_once((0, 0, 512, 512)) == on_card.FRAMES
    assert at_once((0, 100, 3024, 4032)) == 1
    assert 1 < at_once((100, 100, 1000, 900)) < on_card.FRAMES


def test_a_cuda_device_works_on_whole_frames(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not asked where the device is a CPU."""
    asked = []

    def ready(*given: Any) -> Animator:
        asked.append(given[-1])
        return played.animator

    monkeypatch.setattr(animation.Animator, "of", ready)
    clock, (avatar, models, track) = Stopwatch(), (played.avatar, played.models, played.track)
    frames = list(animate(avatar, models, track, "cuda", start=1, clock=clock, planes=True))
    assert asked == ["cuda"] and clock.seconds.keys() == {"deform", "rasterise", "lower face", "composite"}
    assert all(np.array_equal(a, b) for a, b in zip(frames, played.frames(track, start=1), strict=True))
    next(animate(avatar, models, track))
    assert asked == ["cuda"]


def test_a_card_is_needed(avatar: HeadAvatar) -> None:
    with pytest.raises(UsageError, match="CUDA"):
        placed_splatter(avatar.camera, "cpu")
