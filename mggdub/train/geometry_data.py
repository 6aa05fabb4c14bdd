"""Packs what the geometry network learns from: synthetic heads with exact maps, real faces with teachers' maps.

    python -m mggdub.train.geometry_data SYNTH CLIPS PHOTOS MATTING.onnx PARSER.onnx PACKS

A *canvas* is the product's head crop with a margin (1.2 times its side), so that training can jitter it.
Every pack is a folder of .npy arrays, memory-mapped by training. Teachers run here only and are never
shipped: Robust Video Matting (matte and clean foreground colours) and a skin-clothes-hair parser, both ONNX.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from mggdub.face.detector import FaceFinder
from mggdub.face.mesh import INNER_LIPS, LEFT_EYE, OVAL, RIGHT_EYE, ring_mask
from mggdub.face.portrait import cut, head_pose
from mggdub.geometry.camera import CHIN, FOREHEAD, crop_camera, head_mesh, upright_crop
from mggdub.media.image import read_image
from mggdub.media.video import read_video
from mggdub.train.prepare import clips as prepared_clips
from mggdub.types import BACKGROUND, CLOTHES, EYES, HAIR, MOUTH, SKIN, Array, Crop

MARGIN = 1.2  # canvas side over crop side
SYNTH_SIZE, REAL_SIZE, REAL_FINE = (
    288,
    288,
    576,
)  # px of a canvas; real faces are kept sharp too, for the edge of the matte
FRAMES_PER_PERSON, FRAMES_PER_CLIP = 16, 8
COLLARS = 0.4  # of a face's height above the chin, where collars end
UNSURE, OUTSIDE = 254, 255  # label values: no class is taught there; not even the matte is
# The generator's nine classes: glasses and brows count as skin, so does a beard (it moves with the skin).
FROM_SYNTH = np.array([BACKGROUND, SKIN, HAIR, EYES, MOUTH, SKIN, CLOTHES, SKIN, SKIN], np.uint8)


@dataclass(frozen=True, eq=False)
class FaceFrame:
    """A picture of one real person."""

    pixels: Array  # [H, W, 3] uint8
    landmarks: Array  # [478, 3] px of the picture
    identity: str


def real_frames(clips: Path, photos: Path) -> Iterator[FaceFrame]:
    """Photos (NAME_..._PERSON.jpg), then of every training clip in CLIPS the frames that differ most."""
    finder = FaceFinder()
    for path in sorted(photos.glob("*.jpg")):
        pixels = read_image(path).pixels
        person = f"london_{path.stem.split('_')[-1]}"
        yield from (FaceFrame(pixels, face.landmarks, person) for face in finder.find(pixels)[:1])
    rows = [row for row in prepared_clips(clips) if row["split"] == "train"]
    clips_of = Counter(row["identity"] for row in rows)
    for row in rows:
        count = max(1, min(FRAMES_PER_CLIP, -(-FRAMES_PER_PERSON // clips_of[row["identity"]])))
        pictures = [pixels for _, pixels in read_video(clips / row["file"])]
        pictures = [pictures[i] for i in np.linspace(0, len(pictures) - 1, 3 * count).astype(int)]
        found = [(pixels, face.landmarks) for pixels in pictures for face in finder.find(pixels)[:1]]
        yield from (FaceFrame(*found[i], row["identity"]) for i in most_different([m for _, m in found], count))


def most_different(landmarks: list[Array], count: int) -> list[int]:
    """Which faces to keep: the first, then always the one farthest from those kept."""
    if not landmarks:
        return []
    shapes = np.stack([((m - m.mean(0)) / np.ptp(m[:, 1])).ravel() for m in landmarks])
    chosen = [0]
    while len(chosen) < min(count, len(shapes)):
        chosen.append(int(np.linalg.norm(shapes[:, None] - shapes[chosen], axis=-1).min(1).argmax()))
    return chosen


def canvas_crop(landmarks: Array, size: int) -> Crop:
    """The canvas of a face: the product's crop and its margin."""
    crop = upright_crop(landmarks)
    extra = crop.side * (MARGIN - 1) / 2
    return Crop(crop.left - extra, crop.top - extra, crop.side * MARGIN, size)


def pack_synthetic(stems: list[Path], folder: Path) -> None:
    """Views of the generator, each resampled to its canvas, in `folder`.

    image [N, S, S, 3] uint8, alpha [N, S, S] uint8, label [N, S, S] uint8, depth [N, S, S] float16 cm,
    normal_xy [N, 2, S, S] int8 (times 127), head [N] int32.
    """
    count, size = len(stems), SYNTH_SIZE
    image = _create(folder / "image.npy", (count, size, size, 3), np.uint8)
    alpha = _create(folder / "alpha.npy", (count, size, size), np.uint8)
    label = _create(folder / "label.npy", (count, size, size), np.uint8)
    depth = _create(folder / "depth.npy", (count, size, size), np.float16)
    normal = _create(folder / "normal_xy.npy", (count, 2, size, size), np.int8)
    for i, stem in enumerate(tqdm(stems, "synthetic")):
        with zipfile.ZipFile(stem.with_suffix(".npz")) as archive:
            names = ("depth", "normal_xy", "alpha", "label", "landmarks_2d")
            view = {name: np.load(io.BytesIO(archive.read(f"{name}.npy"))) for name in names}
        crop = canvas_crop(view["landmarks_2d"], size)
        picture = np.asarray(Image.open(stem.with_suffix(".jpg")).convert("RGB"))
        inside = warp(np.ones(picture.shape[:2], np.uint8), crop, 0) > 0
        image[i] = cut(picture, crop)
        alpha[i] = warp(view["alpha"], crop, 1)
        label[i] = np.where(inside, FROM_SYNTH[warp(view["label"], crop, 0)], OUTSIDE)
        depth[i] = warp(view["depth"].astype(np.float32), crop, 0)
        normal[i] = np.stack([warp(n, crop, 0) for n in view["normal_xy"]])
    np.save(folder / "head.npy", np.array([int(stem.name.split("_")[0]) for stem in stems], np.int32))


def pack_real(frames: Iterable[FaceFrame], matting: Path, parser: Path, folder: Path) -> None:
    """Real faces with teachers' maps in `folder`.

    image, clean [N, S, S, 3] uint8 (the picture; its foreground colours without background), alpha, label, part
    [N, S, S] uint8, the first three again as fine_*, points [N, 478, 3] float32 (canvas 0..1, depth in cm
    from the head's origin) and identity.json.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    nets = [onnxruntime.InferenceSession(str(path), options) for path in (matting, parser)]
    columns: dict[str, list[Array]] = {}
    identities = []
    for frame in tqdm(frames, "real"):
        for name, value in _teach(frame, *nets).items():
            columns.setdefault(name, []).append(value)
        identities.append(frame.identity)
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", np.stack(values))
    (folder / "identity.json").write_text(json.dumps(identities), encoding="utf-8")


def _teach(frame: FaceFrame, matting, parser) -> dict[str, Array]:  # type: ignore[no-untyped-def]
    fine = canvas_crop(frame.landmarks, REAL_FINE)
    coarse = canvas_crop(frame.landmarks, REAL_SIZE)
    clean, alpha = _matte(frame.pixels, matting)
    picture = cut(frame.pixels, coarse)
    marks = coarse.to_crop(frame.landmarks)
    coarse_alpha = cut(alpha[..., None].repeat(3, 2), coarse)[..., 0]
    parts = _parse(cut(frame.pixels, fine), parser, REAL_SIZE)
    inside = warp(np.ones(frame.pixels.shape[:2], np.uint8), coarse, 0) > 0
    label = real_label(parts, coarse_alpha, marks)
    return {
        "image": picture,
        "clean": cut(clean, coarse),
        "alpha": coarse_alpha,
        "label": np.where(inside, label, OUTSIDE).astype(np.uint8),
        "part": nearest_part(label),
        "fine_image": cut(frame.pixels, fine),
        "fine_clean": cut(clean, fine),
        "fine_alpha": cut(alpha[..., None].repeat(3, 2), fine)[..., 0],
        "points": _points(frame.landmarks),
    }


def _matte(pixels: Array, net) -> tuple[Array, Array]:  # type: ignore[no-untyped-def]
    """Foreground colours [H, W, 3] and matte [H, W], uint8."""
    ratio = np.array([min(1.0, 320 / max(pixels.shape))], np.float32)
    memory = {f"r{k}i": np.zeros((1, 1, 1, 1), np.float32) for k in (1, 2, 3, 4)}
    source = (pixels.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    clean, alpha, *_ = net.run(None, {"src": source, "downsample_ratio": ratio, **memory})
    as_bytes = [np.rint(x[0].clip(0, 1) * 255).astype(np.uint8) for x in (clean, alpha)]
    return as_bytes[0].transpose(1, 2, 0), as_bytes[1][0]


def _parse(canvas: Array, net, size: int) -> Array:  # type: ignore[no-untyped-def]
    """[3, size, size] float32 0..1: skin, clothes, hair."""
    image = np.asarray(Image.fromarray(canvas).resize((512, 512), Image.Resampling.BILINEAR), np.float32) / 255
    image = (image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    parts = net.run(None, {net.get_inputs()[0].name: image.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in parts])


def real_label(parts: Array, alpha: Array, marks: Array) -> Array:
    """Classes [S, S] uint8 from teachers, UNSURE where they do not agree.

    The parser takes grey or thin hair for skin, so skin above or beside the face's oval is left open;
    eyes and mouth come from the landmarks [478, 3] (canvas px).
    """
    skin, clothes, hair = parts
    label = np.full(alpha.shape, UNSURE, np.uint8)
    person = alpha > 230
    oval = ring_mask(marks, OVAL, alpha.shape)
    rows = np.arange(alpha.shape[0])[:, None]
    below = rows > marks[CHIN, 1]
    height = marks[CHIN, 1] - marks[FOREHEAD, 1]
    label[person & (skin > 0.8) & (hair < 0.3) & (clothes < 0.3) & (oval | below)] = SKIN
    label[person & (hair > 0.6) & (skin < 0.5) & (clothes < 0.4)] = HAIR
    low = rows > marks[CHIN, 1] - COLLARS * height
    label[person & (clothes > 0.6) & (skin < 0.4) & (hair < 0.4) & low & ~oval] = CLOTHES
    inner = ndimage.binary_erosion(oval, iterations=6) & (rows > marks[168, 1])  # below the brows
    label[person & inner & (hair < 0.5)] = SKIN
    label[ring_mask(marks, INNER_LIPS, alpha.shape)] = MOUTH
    for eye in (LEFT_EYE, RIGHT_EYE):
        label[ring_mask(marks, eye, alpha.shape)] = EYES
    label[alpha < 25] = BACKGROUND
    return label


def nearest_part(label: Array) -> Array:
    """[S, S] uint8 everywhere: of skin, hair and clothes the one that lies nearest by `real_label`'s map [S, S]."""
    parts = np.select([np.isin(label, (SKIN, EYES, MOUTH)), label == HAIR, label == CLOTHES], [SKIN, HAIR, CLOTHES])
    _, nearest = ndimage.distance_transform_edt(parts == 0, return_indices=True)
    return parts[tuple(nearest)].astype(np.uint8)


def _points(landmarks: Array) -> Array:
    """[478, 3] float32: canvas x, y in 0..1 and depth in cm relative to the head-space origin's camera z."""
    marks = upright_crop(landmarks).to_crop(landmarks)
    camera = crop_camera(*head_pose(marks))
    depth = head_mesh(marks, camera) @ camera.viewmat[2, :3]  # [478]
    place = canvas_crop(landmarks, 1).to_crop(landmarks)
    return np.concatenate([place[:, :2], depth[:, None]], 1).astype(np.float32)


def warp(picture: Array, crop: Crop, order: int) -> Array:
    """A map [H, W] at the crop's pixels [size, size], zero beyond it; order 0 nearest, 1 linear."""
    place = (np.arange(crop.size) + 0.5) / crop.scale - 0.5
    grid = np.meshgrid(crop.top + place, crop.left + place, indexing="ij")
    return ndimage.map_coordinates(picture, grid, order=order, mode="constant", cval=0)


def _create(path: Path, shape: tuple[int, ...], dtype: type) -> Array:
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    for name in ("synth", "clips", "photos", "matting", "parser", "packs"):
        words.add_argument(name, type=Path)
    given = words.parse_args()
    pack_synthetic(sorted(path.with_suffix("") for path in given.synth.glob("*.npz")), given.packs / "synth")
    (given.packs / "real").mkdir(parents=True, exist_ok=True)
    pack_real(real_frames(given.clips, given.photos), given.matting, given.parser, given.packs / "real")


if __name__ == "__main__":
    main()
