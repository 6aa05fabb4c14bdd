"""Synthetic heads that turn, to learn the side that no photo shows: `python -m mggdub.train.head_synth VIEWS OUT`.

VIEWS holds renders of heads in front of a camera, a light and a background that stay: <head>_0.jpg from near the front,
<head>_1.jpg and so on with the head turned and nothing else changed. Beside each lies an .npz of
    alpha [S, S] uint8: matte of the person
    label [S, S] uint8: classes of what is seen; 1 is skin, 6 clothes
    depth [S, S]: cm, camera z of what is seen minus that of the origin of head space
    K [3, 3]: intrinsics in px, pixel centres at .5; the focal length is about eight times the face's height
    world_to_camera [4, 4]: head space (cm) to camera, x right, y down, z forward
OUT gets the files of `head_data` and of `flow`: a pool <head>.npz, one avatar <head>_0.npz, of view 0, that the others
drive, and <head>_0.aim, which says where its points are in every view. What is there is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from mggdub.avatar import visible
from mggdub.errors import InputError, MggdubError
from mggdub.face import expression
from mggdub.face.mesh import OVAL as FACE_OVAL
from mggdub.face.mesh import inside
from mggdub.face.portrait import choose_face, portrait
from mggdub.geometry import sampling
from mggdub.geometry.camera import head_mesh, project, project_with, unproject
from mggdub.media.image import read_image
from mggdub.models import Models, load_models
from mggdub.motion.driving import relative_pose
from mggdub.networks.geometry import estimate_geometry
from mggdub.networks.head import HeadNet, nothing_learned
from mggdub.train import head_losses, head_sample
from mggdub.train.common import save_arrays
from mggdub.train.flow import save_aim
from mggdub.train.head_data import FAR, SIZE, avatar_arrays, box_px, framed, in_box
from mggdub.types import BLENDSHAPES, CROP_SIZE, FOCAL, LIP_MODES, Array, Camera, Crop, ExpressionTrack, Photo, Portrait

SKIN_LABEL, CLOTHES_LABEL = 1, 6  # of the renders
STEEP = 0.6  # cm of depth between neighbouring pixels


def prepare_views(
    paths: list[Path], renders: list[dict[str, Array]], models: Models
) -> tuple[Portrait, dict[str, Array], dict[str, Array]]:
    """One head as it is found in its first picture, its pool and its avatar. Raises MggdubError without a face."""
    pictures = [read_image(path).pixels for path in paths]
    photo = Photo(pictures[0])
    found = portrait(photo, choose_face(models.faces.find(photo.pixels)), models.faces)
    maps = estimate_geometry(models.geometry, found)
    rotations, translations = turned(found, visible.coarse_surface(found, maps), renders)
    small, scale, box, crop_px = framed(found, pictures, SIZE)
    mattes = [np.where(render["label"] == CLOTHES_LABEL, 0, render["alpha"])[..., None] for render in renders]
    heads, *_ = framed(found, [matte.repeat(3, 2) for matte in mattes], SIZE)
    mesh = head_mesh(found.landmarks, found.camera)
    projected = project_with(mesh @ rotations.transpose(0, 2, 1) + translations[:, None], found.camera.K)  # [T, 478, 2]
    pool = {
        "pictures": np.stack([in_box(picture, box) for picture in small]),
        "heads": np.stack([in_box(matte, box)[..., 0] for matte in heads]),
        "landmarks": box_px(projected, crop_px),
        "frames": np.arange(len(paths)),
    }
    count = len(paths)
    at_rest = expression.photo_state(models.expression, found)[-LIP_MODES:]
    still = np.zeros((count, len(BLENDSHAPES)), np.float32), np.tile(at_rest, (count, 1))
    played = ExpressionTrack(np.arange(count) * FAR, *still, *relative_pose(rotations, translations, 0))
    avatar = avatar_arrays(found, maps, small[0], scale, box, played, models)
    return found, pool, avatar | {"order": np.arange(count)}


def turned(found: Portrait, surface: Array, renders: list[dict[str, Array]]) -> tuple[Array, Array]:
    """Rotations [T, 3, 3] and translations [T, 3] cm of a head in its crop's camera.

    `found` is as it was found in the first render and its `surface` [512, 512] camera z: how it moves from there is
    exact. Its distance may be another than in the render, its skin may lie deeper as a whole, and the crop's camera
    looks at the crop's middle.
    """
    first, views = renders[0], np.stack([render["world_to_camera"] for render in renders]).astype(np.float64)
    middle = found.crop.to_picture(np.full(2, CROP_SIZE / 2))
    ahead = np.linalg.solve(first["K"], [*middle, 1])
    right = np.cross([0, 1, 0], ahead)
    pan = np.stack([axis / np.linalg.norm(axis) for axis in (right, np.cross(ahead, right), ahead)])
    rotation, translation = (found.camera.viewmat[:3, at].astype(np.float64) for at in (slice(3), 3))
    size = translation[2] / (pan @ views[0, :3, 3])[2]
    rows, columns = np.nonzero(first["label"] == SKIN_LABEL)
    skin = found.crop.to_crop(np.stack([columns, rows], 1) + 0.5)
    on_face = inside(skin, found.landmarks[list(FACE_OVAL), :2])
    if not on_face.any():
        raise InputError("The face that was found is not where the render has skin.")
    deep = first["depth"][rows, columns].astype(np.float64)
    deeper = sampling.sample_crop(surface, skin) - translation[2] - size * deep
    off = np.array([0, 0, np.median(deeper[on_face])])
    motion = views @ np.linalg.inv(views[0])
    turns = pan @ motion[:, :3, :3] @ pan.T
    return turns @ rotation, turns @ (translation - off) + size * motion[:, :3, 3] @ pan.T + off


def true_aim(one: head_sample.Sample, crop: Crop, renders: list[dict[str, Array]]) -> Array:
    """[T, P, 3] float32 of `flow`, exact: where the skin that the first render shows lies in every other.

    Seen or not; trusted where head, not neck, shows at a point and the edge of what is in front of it is not near.
    """
    grids = nothing_learned()
    still = torch.zeros(grids.motion.shape[1])
    points = head_losses.on_screen(head_sample.moved(still, grids, one, 0, one.lead)[0], one.camera).numpy()  # [P, 2]
    first, K = renders[0], one.camera.K
    per_px, centre = np.array([K[0, 0], K[1, 1]]) / FOCAL, K[:2, 2]  # of the crop
    at = crop.to_picture((points - centre) / per_px + CROP_SIZE / 2)
    columns, rows = np.clip(at.astype(int), 0, np.array(first["label"].shape[::-1]) - 1).T
    near = first["depth"].astype(np.float64)
    flat = ndimage.maximum_filter(near, 3) - ndimage.minimum_filter(near, 3) < STEEP
    whole = (first["alpha"] == 255) & (first["label"] != CLOTHES_LABEL)
    trust = (flat & ndimage.binary_erosion(whole))[rows, columns] & (one.neck[one.lead].numpy() > 0.99)
    points = unproject(at, near[rows, columns] + first["world_to_camera"][2, 3], _camera(first))  # [P, 3]
    there = np.stack([crop.to_crop(project(points, _camera(render))) for render in renders])
    wanted = (there - CROP_SIZE / 2) * per_px + centre
    return np.concatenate([wanted, np.tile(trust[:, None], (len(there), 1, 1))], -1).astype(np.float32)


def _camera(render: dict[str, Array]) -> Camera:
    return Camera(render["K"], render["world_to_camera"])


def _read(path: Path) -> dict[str, Array]:
    """The maps of one render. Raises InputError."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in ("alpha", "label", "depth", "K", "world_to_camera")}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} does not hold the maps of a render ({error}).") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    fronts = sorted(given.views.glob("*_0.jpg"))
    if not fronts:
        parser.error(f"there is no <head>_0.jpg in {given.views}")
    torch.set_num_threads(1)
    models = load_models(HeadNet().eval().requires_grad_(False))
    given.out.mkdir(parents=True, exist_ok=True)
    for front in fronts:
        name = front.stem.removesuffix("_0")
        if (given.out / f"{name}_0.aim").exists():
            continue
        others = given.views.glob(f"{name}_*.jpg")
        paths = sorted(others, key=lambda path: int(path.stem.rpartition("_")[2]))
        try:
            renders = [_read(path.with_suffix(".npz")) for path in paths]
            found, pool, avatar = prepare_views(paths, renders, models)
        except MggdubError as error:
            print(f"dropped {name}: {error}", flush=True)
            continue
        save_arrays(given.out / f"{name}_0.npz", avatar)
        save_arrays(given.out / f"{name}.npz", pool | {"identity": np.array(name)})
        sample = head_sample.load_sample(given.out, name, 0)
        save_aim(given.out / f"{name}_0.aim", true_aim(sample, found.crop, renders))
        print(f"{name}: {len(paths)} views", flush=True)


if __name__ == "__main__":
    main()
