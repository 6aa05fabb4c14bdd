"""How far skin goes with an expression: `python -m mggdub.train.skin_motion CLIPS TRACKS PORTRAITS OUT WEIGHTS`.

The basis is fitted to landmarks, and those of cheeks and folds follow a mean face rather than skin. So avatars are
driven as in `lower_face_data`, optical flow (DIS) from what is drawn to what is true says what their meshes lack, and a
ridge regression on the drivers adds it to the basis's motion, but for lips, lids and brows, whose landmarks are seen
well. What the head's pose explains is left out. OUT/<name>.npz is what one clip or portrait lacks; it is made once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist

from mggdub.animation.animate import animate, frame_motions
from mggdub.animation.poses import FrameMotion
from mggdub.avatar.values import HeadAvatar
from mggdub.errors import MggdubError
from mggdub.face.expression import BROW_PLACES, NAME, ExpressionBasis, load_expression
from mggdub.face.mesh import IRISES, LIDS, PIVOT
from mggdub.geometry.camera import OUTER_EYES, project
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import smoothstep
from mggdub.media.image import read_image
from mggdub.models import Models, load_models
from mggdub.train.common import held_out, save_arrays
from mggdub.train.expression import LIPS, driving_mirror, mirrored, sides
from mggdub.train.expression_data import HELD_OUT
from mggdub.train.flow import both_ways
from mggdub.train.head_data import SHORTEST
from mggdub.train.lower_face_data import Drive, clip_drive, portrait_drive, portraits, usable
from mggdub.train.prepare import first_of_each, load_track
from mggdub.types import BLENDSHAPES, DRIVERS, DRIVING_UNITS, LANDMARKS, Array
from mggdub.weights import load, save

SOURCES = (0, 3)  # frames of a clip's pool that become avatars
EYES, WIDTH, HEIGHT, MIDDLE = (
    160.0,
    480,
    520,
    (240.0, 200.0),
)  # px: between outer eyes, a window, their place in it
RETURNS, SMOOTH = 2.0, 5.0  # px, how near the way there and back must end; sigma of motion
FARTHEST = 1.5  # cm that skin lacks at most; more is a flow gone astray
# Landmarks of the forehead, the bridge of the nose and the temples: what they lack is the skull's pose.
SKULL = (33, 133, 362, 263, 168, 6, 197, 195, 10, 151, 9, 8, 67, 297, 103, 332, 109, 338, 21, 251, 54, 284, 162, 389,
         127, 356, 130, 359, 243, 463, 122, 351, 193, 417)  # fmt: skip
TURNS = 5.0  # degrees², ridge of the regression on a clip's rotation
PORTRAIT, EACH = 10.0, 13.0  # weight of a portrait; of all frames of a clip
RIDGE = 300.0
UNIT_SPREAD = 0.25  # of the 24 units; lip modes have their own
ADDED = "skin_clips_explained"  # of a card's metrics, from then on
FROM_LIPS, FROM_LIDS, FROM_BROWS = 0.6, 0.8, 0.5  # cm, within which motion is more and more the landmarks' own
GAZE = [k for k, unit in enumerate(DRIVING_UNITS) if "Look" in BLENDSHAPES[unit]]  # it goes with the pose


@dataclass(frozen=True, eq=False)
class Lacking:
    """What F driven frames lack; drivers and motion are counted from the photo's own."""

    drivers: Array  # [F, 32]
    motion: Array  # [F, 478, 3] cm in head space, as a camera sees it: none along its axis
    seen: Array  # [F, 478] 0..1, how much the flow is believed
    rotation: Array  # [F, 3] degrees, of the head
    weight: Array  # [F]


def lacking(drive: Drive, models: Models) -> Lacking:
    """What the frames of a drive lack, the photo's own left out."""
    avatar, rows = drive.avatar, []
    drawn = animate(avatar, models, drive.track, relative=True)
    for number, (frame, now) in enumerate(zip(drawn, frame_motions(avatar, models, drive.track, True), strict=True)):
        if number:
            rows.append((now.state, *_seen_motion(avatar, now, frame, drive.truth[number]), now.rotation))
    states, motion, seen, rotation = (np.stack(column) for column in zip(*rows, strict=True))
    weight = np.full(len(rows), EACH / len(rows))
    return Lacking(states[:, -DRIVERS:], motion, seen, rotation, weight)


def _seen_motion(avatar: HeadAvatar, now: FrameMotion, frame: Array, true: Array) -> tuple[Array, Array]:
    """[478, 3] cm and [478]: how a driven frame's vertices should have moved farther."""
    camera, box, turn = avatar.camera, avatar.box, euler_to_matrix(now.rotation)
    points = (avatar.mesh + now.displacement - PIVOT) @ turn.T + PIVOT + now.translation
    ratio = box.width / box.render_width
    at = project(points, camera) * ratio + [box.left, box.top]
    move, seen = flow_at(frame, true, at)
    view = camera.viewmat.astype(np.float64)
    depth = (points @ view[:3, :3].T + view[:3, 3])[:, 2]
    across = move / ratio * depth[:, None] / [camera.K[0, 0], camera.K[1, 1]]
    return np.concatenate([across, np.zeros((LANDMARKS, 1))], 1) @ view[:3, :3] @ turn, seen


def flow_at(frame: Array, true: Array, at: Array) -> tuple[Array, Array]:
    """[478, 2] px and [478] 0..1: how far what a frame [H, W, 3] shows at [478, 2] px lies from there in a true one."""
    import cv2  # of the [train] extra

    ends = at[list(OUTER_EYES)]
    scale = EYES / float(np.linalg.norm(ends[0] - ends[1]))
    shift = np.array(MIDDLE) - scale * ends.mean(0)
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = [cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in (frame, true)]
    a, b = (cv2.warpAffine(picture, affine, (WIDTH, HEIGHT), flags=how) for picture in grey)
    there, back = both_ways(a, b)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    home = cv2.remap(back, columns + there[..., 0], rows + there[..., 1], cv2.INTER_LINEAR)
    trust = np.exp(-((np.linalg.norm(there + home, axis=-1) / RETURNS) ** 2))
    seen = cv2.GaussianBlur(trust, (0, 0), SMOOTH) + 1e-6
    column, row = np.clip((at * scale + shift).round().astype(int), 0, [WIDTH - 1, HEIGHT - 1]).T
    move = [cv2.GaussianBlur(there[..., k] * trust, (0, 0), SMOOTH)[row, column] for k in (0, 1)]
    return np.stack(move, -1) / seen[row, column, None] / scale, seen[row, column]


def without_turns(of: Lacking) -> Lacking:
    """What goes with a clip's rotation is a matter of depth, not of expressions: it leaves both."""
    turns = of.rotation.astype(np.float64)
    slope = np.linalg.solve(turns.T @ turns + TURNS * np.eye(3), turns.T)

    def left(values: Array) -> Array:
        flat = values.reshape(len(values), -1)
        return (flat - turns @ (slope @ flat)).reshape(values.shape)

    return replace(of, drivers=left(of.drivers), motion=left(of.motion))


def without_pose(of: Lacking, canonical: Array) -> Lacking:
    """Portraits are driven at rest: how the skull of the other one turned and moved leaves their motion."""
    arms, motion = canonical - PIVOT, of.motion.copy()
    x, y, z = arms[list(SKULL)].T
    none, one = np.zeros_like(x), np.ones_like(x)
    design = np.stack([[none, z, -y, one, none], [-z, none, x, none, one]]).transpose(2, 0, 1)  # [S, 2, 5]
    penalty = np.diag([0.9, 0.9, 0.003, 0.003, 0.003])
    for k, seen in enumerate(of.seen[:, list(SKULL)]):
        moment = np.einsum("s,sci,scj->ij", seen, design, design) + penalty
        found = np.linalg.solve(moment, np.einsum("s,sci,sc->i", seen, design, motion[k][list(SKULL), :2]))
        motion[k, :, :2] -= np.cross(found[:3], arms)[:, :2] + found[3:]
    return replace(of, motion=motion)


def in_mirror(of: Lacking, basis: ExpressionBasis) -> Lacking:
    """The same in a mirror."""
    count = len(DRIVING_UNITS)
    even = sides(basis.motion[count:][:, basis.region], basis.region, basis.mirror)
    drivers = np.concatenate([of.drivers[:, driving_mirror()], of.drivers[:, count:] * even], 1)
    return replace(of, drivers=drivers, motion=mirrored(of.motion, basis.mirror), seen=of.seen[:, basis.mirror])


def joined(parts: list[Lacking]) -> Lacking:
    """All frames of several."""
    return Lacking(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Lacking)))


def fit(of: Lacking, basis: ExpressionBasis) -> Array:
    """[32, 478, 3] cm per driver that the basis's motion lacks."""
    both = joined([of, in_mirror(of, basis)])
    spread = np.concatenate([np.full(len(DRIVING_UNITS), UNIT_SPREAD), basis.mode_std])
    inputs, found = both.drivers / spread, np.zeros((DRIVERS, LANDMARKS, 3))
    weights = both.weight[:, None] * np.clip(both.seen, 0, 1) * (np.abs(both.motion).max((1, 2)) < FARTHEST)[:, None]
    for vertex in np.flatnonzero(believed(basis)):
        weighted = inputs * weights[:, [vertex]]
        moment = weighted.T @ inputs + RIDGE * np.eye(DRIVERS)
        found[:, vertex] = np.linalg.solve(moment, weighted.T @ both.motion[:, vertex]) / spread[:, None]
    found[GAZE] = 0
    return found * believed(basis)[:, None]


def believed(basis: ExpressionBasis) -> Array:
    """[478] 0..1: how much of what flow says a vertex takes; none on lips, lids, brows and irises."""
    places, lids = basis.canonical[:, :2], [vertex for side in LIDS for pair in side for vertex in pair]
    share = np.ones(LANDMARKS)
    for fixed, reach in ((list(LIPS), FROM_LIPS), (lids, FROM_LIDS), (BROW_PLACES, FROM_BROWS)):
        share *= smoothstep(cdist(places, places[fixed]).min(1) / reach)
    share[[vertex for iris in IRISES for vertex in iris]] = 0
    return share


def explained(motion: Array, of: Lacking, basis: ExpressionBasis) -> float:
    """The share of what is lacking that a fit [32, 478, 3] accounts for."""
    weights = (of.weight[:, None] * of.seen * believed(basis))[..., None]
    left = of.motion - np.tensordot(of.drivers, motion, 1)
    return float(1 - (weights * left**2)[..., :2].sum() / (weights * of.motion**2)[..., :2].sum())


def drives(given: argparse.Namespace, models: Models) -> Iterator[tuple[str, str, Drive]]:
    """Names, people and drives of all portraits and clips that OUT lacks."""
    for person, both in portraits(given.portraits).items():
        photos = {name: read_image(path) for name, path in both.items()}
        for name, other in (("neutral", "smiling"), ("smiling", "neutral")):
            if not (given.out / f"portrait_{person}_{name}.npz").exists():
                yield f"portrait_{person}_{name}", person, portrait_drive(photos[name], photos[other], models)
    for source in SOURCES:
        for row in first_of_each(usable(given.clips, "train"), 1):
            stem = Path(row["file"]).stem
            tracked, name = given.tracks / "train" / f"{stem}.npz", f"clip_{stem}_{source}"
            if (given.out / f"{name}.npz").exists() or not tracked.exists():
                continue
            track = load_track(tracked)
            if len(track["times"]) < SHORTEST:
                continue
            try:
                yield name, row["identity"], clip_drive(given.clips / row["file"], track, models, source)
            except MggdubError as error:
                print(f"dropped {row['file']}: {error}", flush=True)


def read(folder: Path, basis: ExpressionBasis) -> dict[str, tuple[list[Lacking], list[Lacking]]]:
    """What clips and portraits lack without what their pose explains: of people who are known, of those held out."""
    found: dict[str, tuple[list[Lacking], list[Lacking]]] = {"clip": ([], []), "portrait": ([], [])}
    for path in sorted(folder.glob("*.npz")):
        kind = path.name.partition("_")[0]
        with np.load(path) as file:
            person = str(file["person"])
            lacks = Lacking(**{f.name: file[f.name] for f in fields(Lacking)})
        if kind == "clip":
            found[kind][held_out(person)].append(without_turns(lacks))
        else:
            lacks = replace(lacks, weight=np.full(len(lacks.weight), PORTRAIT))
            unknown = held_out(f"photo_{person.rpartition('_')[-1]}", HELD_OUT)
            found[kind][unknown].append(without_pose(lacks, basis.canonical))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clips", "tracks", "portraits", "out", "weights"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if ADDED in json.loads((given.weights / f"{NAME}.json").read_text("utf-8"))["metrics"]:
        parser.error("this basis has its skin's motion already; fit it anew first, with mggdub.train.expression")
    models = load_models()
    given.out.mkdir(parents=True, exist_ok=True)
    for name, person, drive in drives(given, models):
        lacks = lacking(drive, models)
        arrays = {f.name: getattr(lacks, f.name).astype(np.float32) for f in fields(Lacking)}
        save_arrays(given.out / f"{name}.npz", arrays | {"person": np.array(person)})
        print(name, flush=True)
    basis = load_expression()
    found = read(given.out, basis)
    motion = fit(joined([lacks for known, _ in found.values() for lacks in known]), basis)
    publish(given.weights, basis, motion, {k: explained(motion, joined(v[1]), basis) for k, v in found.items()})


def publish(folder: Path, basis: ExpressionBasis, motion: Array, shares: dict[str, float]) -> None:
    """Write the basis with its motion and what it lacked."""
    tensors, settings = load(NAME)
    card = json.loads((folder / f"{NAME}.json").read_text("utf-8"))
    tensors["motion"] = torch.from_numpy((basis.motion + motion).astype(np.float32))
    for kind, share in shares.items():
        card["metrics"][f"skin_{kind}s_explained"] = round(share, 4)
        print(f"{kind}s of people held out: {share:.3f} of what skin lacked is explained")
    card["method"] += "; skin's motion by optical flow between driven avatars and true frames (`skin_motion`)"
    save(folder, NAME, tensors, settings, card)


if __name__ == "__main__":
    main()
