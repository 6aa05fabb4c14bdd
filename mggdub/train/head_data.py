"""Frames of talking clips as the learned head is trained on them: `python -m mggdub.train.head_data CLIPS TRACKS OUT`.

CLIPS is a folder of videos with its manifest.csv, TRACKS what `prepare` made of it. Of every clip, POOL frames are kept
that differ in pose and expression; SOURCES of them become avatars (without anything learned) that the others drive.
OUT/<clip>.npz holds pictures, mattes and landmarks; OUT/<clip>_<n>.npz one avatar. What is there is not made again.
`--people 60` makes a small set, an avatar each. `--without voxel` keeps the mirrored points that overlap what is seen:
neither the voxel filter nor that of the photo's surface drops any (the shell is filtered as always).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mggdub.animation import animate
from mggdub.animation.compositor import Compositor
from mggdub.avatar import learned, visible
from mggdub.avatar.box import crop_pixels, edge_distance, render_box, render_view
from mggdub.avatar.build import PhotoStudy, assemble
from mggdub.avatar.values import RenderBox
from mggdub.errors import MggdubError
from mggdub.face import expression
from mggdub.face.expression import ExpressionBasis
from mggdub.face.portrait import cut, head_pose
from mggdub.geometry import sampling
from mggdub.geometry.camera import crop_camera
from mggdub.media.image import resize
from mggdub.media.video import read_video
from mggdub.models import Models, load_models
from mggdub.motion.driving import read_expression, relative_pose
from mggdub.networks import geometry
from mggdub.networks.geometry import estimate_geometry
from mggdub.networks.head import HeadNet, head_inputs, nothing_learned
from mggdub.train.common import save_arrays
from mggdub.train.prepare import clips, crop_of, first_of_each, load_track
from mggdub.types import IS_BLINK, LIP_MODES, Array, ExpressionTrack, GeometryMaps, Portrait

SIZE = 256  # px, side of the crops that are trained on
POOL, SOURCES = 12, (0, 3)  # frames of a clip, and which of them become avatars
MOST_CLIPS = 6  # of one person
SHORTEST = 24  # frames
FAR = 1.0  # s between the moments of a track of pool frames, so that nothing eases


def choose_frames(basis: ExpressionBasis, track: dict[str, Array], count: int = POOL) -> Array:
    """Indices of frames that differ most in pose and expression; the first is the most usual one."""
    angles, shift = relative_pose(track["rotation"], track["translation"], 0)
    units, modes = read_expression(basis, track["mesh"], track["rotation"], track["blendshapes"])
    blinks = units[:, IS_BLINK]
    what = np.concatenate([angles / 5, shift[:, :2], modes[:, :3] / basis.mode_std[:3], blinks], 1)
    chosen = [int(np.abs(what - np.median(what, 0)).sum(1).argmin())]
    apart = np.full(len(what), np.inf)
    while len(chosen) < min(count, len(what)):
        apart = np.minimum(apart, np.linalg.norm(what - what[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    return np.array(chosen)


def prepare_head(
    path: Path,
    track: dict[str, Array],
    models: Models,
    sources: tuple[int, ...] = SOURCES,
    overlap: bool = False,
    size: int = SIZE,
) -> list[dict[str, Array]]:
    """What `main` stores: the clip's pool, then each avatar, from crops of `size` px; `overlap` of `assemble`.

    Raises MggdubError.
    """
    basis = models.expression
    pool = choose_frames(basis, track)
    wanted, frames = set(pool.tolist()), {}
    for index, (_, frame) in enumerate(read_video(path)):
        if index in wanted:
            frames[index] = frame.copy()
    views = [_look(frames[int(i)], track, int(i), models) for i in pool]
    pictures, scale, box, crop_px = framed(views[0][0], [frames[int(i)] for i in pool], size)
    heads = np.stack([sampling.sample_crop(_head(maps), crop_px) for _, maps in views])
    found = [
        {
            "pictures": np.stack([in_box(picture, box) for picture in pictures]),
            "heads": np.rint(heads * 255).astype(np.uint8),
            "landmarks": box_px(track["landmarks"][pool][:, :, :2], crop_px),
            "frames": pool,
        }
    ]
    units, modes = read_expression(basis, track["mesh"], track["rotation"], track["blendshapes"])
    assert modes.shape[1] == LIP_MODES
    for source in sources[: len(pool)]:
        order = np.concatenate([[source], np.delete(np.arange(len(pool)), source)])
        poses = track["rotation"], track["translation"]
        angles, shift = relative_pose(*poses, int(pool[source]), track["landmarks"][pool[source]])
        at = pool[order]
        torsos = track["torso"] - track["torso"][pool[source]]  # of small motions
        played = ExpressionTrack(np.arange(len(at)) * FAR, units[at], modes[at], angles[at], shift[at], torsos[at])
        arrays = avatar_arrays(*views[source], pictures[source], scale, box, played, models, overlap)
        found.append(arrays | {"order": order})
    return found


def framed(head: Portrait, frames: list[Array], size: int) -> tuple[list[Array], float, RenderBox, Array]:
    """Frames so small that the crop of `head` has `size` px, their px per px of before, and the crop's box in them.

    The last is [h, w, 2], crop px of every pixel of the box.
    """
    height, width = frames[0].shape[:2]
    scale = size / head.crop.side
    shape = (max(2, round(width * scale)), max(2, round(height * scale)))
    pictures = [resize(frame, shape, reducing_gap=3.0) for frame in frames]
    scale = shape[0] / width
    box = render_box(head, scale, pictures[0], size + 1)
    return pictures, scale, box, crop_pixels(head, scale, box)


def in_box(picture: Array, box: RenderBox) -> Array:
    """What of a picture lies in the box."""
    return picture[box.top : box.top + box.height, box.left : box.left + box.width]


def box_px(points: Array, crop_px: Array) -> Array:
    """Px of the box [..., 2] float32 of crop px [..., 2]; crop_px of `framed`."""
    step = (crop_px[-1, -1] - crop_px[0, 0]) / (np.array(crop_px.shape[1::-1]) - 1)
    return np.asarray((points - crop_px[0, 0]) / step + 0.5, np.float32)


def avatar_arrays(
    head: Portrait,
    maps: GeometryMaps,
    picture: Array,
    scale: float,
    box: RenderBox,
    played: ExpressionTrack,
    models: Models,
    overlap: bool = False,
) -> dict[str, Array]:
    """The avatar of a picture of `scale` px per photo px, and what it does in every moment of a track."""
    basis = models.expression
    surface, drivers = visible.coarse_surface(head, maps), expression.photo_state(basis, head)
    avatar = assemble(PhotoStudy(head, maps, surface, nothing_learned(), drivers, picture, scale, box), models, overlap)
    compositor = Compositor.of(avatar)
    plates = [box.cut(compositor.behind(body)) for body in played.torso]
    now = list(animate.frame_poses(avatar, models, played, relative=True))
    g = avatar.gaussians
    inputs = head_inputs(head, maps, surface, basis.triangles, basis.canonical)
    fields = {name: getattr(g, name).numpy() for name in ("means", "quats", "scales", "colors")}
    return fields | {
        "skin_data": avatar.mesh_weights.data,
        "skin_indices": avatar.mesh_weights.indices,
        "skin_indptr": avatar.mesh_weights.indptr,
        "neck": avatar.head_share,
        "body": avatar.torso_share,
        "place": avatar.crop_uv,
        "slices": np.array([[s.start, s.stop] for s in (avatar.hidden, avatar.mouth, *avatar.lids)]),
        "own": avatar.photo_drivers,
        "K": avatar.camera.K,
        "viewmat": avatar.camera.viewmat,
        "crop_K": head.camera.K,
        "image": resize(head.image, (SIZE, SIZE)),
        "fade": learned.motion_fade(edge_distance(render_view(head, scale, box)), head).astype(np.float16),
        "shade_fade": learned.shade_fade(head).astype(np.float16),
        "inputs": inputs.astype(np.float16),
        "opacities": np.stack([m.opacities for m in now]).astype(np.float16),
        "displacement": np.stack([m.displacement for m in now]).astype(np.float16),
        "growth": np.stack([m.growth for m in now]).astype(np.float16),
        "rotation": np.stack([m.rotation for m in now]),
        "translation": np.stack([m.translation for m in now]),
        "sway": np.stack([m.sway for m in now]),
        "plates": np.stack(plates),
        "states": np.stack([m.state for m in now]),
        "mouth_colors": np.stack([m.mouth[0] for m in now]).astype(np.float16),
        "mouth_radii": np.stack([m.mouth[1] for m in now]).astype(np.float16),
    }


def _look(frame: Array, track: dict[str, Array], index: int, models: Models) -> tuple[Portrait, GeometryMaps]:
    """A frame as if it were a photo, in the crop that all frames of the clip share."""
    crop, marks = crop_of(track), track["landmarks"][index]
    head = Portrait(cut(frame, crop), crop, marks, track["blendshapes"][index], crop_camera(*head_pose(marks)))
    return head, estimate_geometry(models.geometry, head)


def _head(maps: GeometryMaps) -> Array:
    """[512, 512]: matte of head and neck."""
    return np.asarray(maps.matte * (1 - geometry.clothes_share(maps.labels)), np.float32)


def choose_clips(rows: list[dict[str, str]], people: int | None) -> list[dict[str, str]]:
    """At most MOST_CLIPS of every person; or one of each of so many people, spread over the manifest."""
    if people:
        firsts = first_of_each(rows, 1)
        return [firsts[i * len(firsts) // people] for i in range(people)] if people < len(firsts) else firsts
    return first_of_each(rows, MOST_CLIPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("tracks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="this part of so many, to work side by side")
    parser.add_argument("--split", default="train", help="of the manifest")
    parser.add_argument("--people", type=int, help="a small set: one avatar of each of so many people")
    parser.add_argument("--size", type=int, default=SIZE, help=f"px, side of the crops that are trained on ({SIZE})")
    parser.add_argument("--without", choices=["voxel"], help="for `ablation`")
    given = parser.parse_args()
    torch.set_num_threads(1)
    models = load_models(HeadNet().eval().requires_grad_(False))
    given.out.mkdir(parents=True, exist_ok=True)
    tracks = given.tracks / given.split
    rows = [row for row in clips(given.clips) if row["split"] == given.split and (tracks / _track(row)).exists()]
    sources = SOURCES[:1] if given.people else SOURCES
    for row in choose_clips(rows, given.people)[given.part[0] :: given.part[1]]:
        stem = Path(row["file"]).stem
        if (given.out / f"{stem}.npz").exists():
            continue
        track = load_track(tracks / _track(row))
        if len(track["times"]) < SHORTEST:
            continue
        try:
            how = (sources, given.without == "voxel", given.size)
            pool, *avatars = prepare_head(given.clips / row["file"], track, models, *how)
        except MggdubError as error:
            print(f"dropped {row['file']}: {error}", flush=True)
            continue
        for number, avatar in enumerate(avatars):
            save_arrays(given.out / f"{stem}_{number}.npz", avatar)
        save_arrays(given.out / f"{stem}.npz", pool | {"identity": np.array(row["identity"])})
        print(f"{row['file']}: {len(avatars)} avatars", flush=True)


def _track(row: dict[str, str]) -> str:
    return f"{Path(row['file']).stem}.npz"


if __name__ == "__main__":
    main()
