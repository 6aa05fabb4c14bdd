"""The expression basis: 8 lip modes, the mesh motion of the 32 drivers, a photo's own state, exchange units.

Drivers are the 24 eye, brow, cheek and nose units, then the 8 lip modes; zero is that person's face at rest
with lips closed. Meshes and motions are in head space, cm. numpy; leading dimensions are free.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from mggdub.errors import InputError
from mggdub.face.mesh import BROWS, INNER_LOWER_LIP, INNER_UPPER_LIP
from mggdub.geometry.camera import head_mesh
from mggdub.types import (
    BLENDSHAPES,
    DRIVERS,
    DRIVING_UNITS,
    IS_BLINK,
    LANDMARKS,
    LIP_MODES,
    MOUTH_UNITS,
    Array,
    Portrait,
)
from mggdub.weights import load

NAME = "expression"
EMPTY = torch.zeros(())
INDICES = ("triangles", "mirror", "region")  # of vertices; everything else is float32
BLINKS = tuple(i for i, unit in enumerate(DRIVING_UNITS) if BLENDSHAPES[unit].startswith("eyeBlink"))  # left, right
BROW_UNITS = [i for i, unit in enumerate(DRIVING_UNITS) if BLENDSHAPES[unit].startswith("brow")]
BROW_PLACES = [place for brow in BROWS for place in brow]
BROW_RIDGE = 0.3  # cm²; of five units three directions move landmarks by more than that
STEADY = 1.0  # frames, sigma of what landmarks add
OWN_WAY = 0.25  # of a unit, in which two people at rest may differ; more is an expression
SHRINKING = 25.0  # frames; the rest of a shot of so many is believed by half
CLOSED_PHOTO = (0.05, 0.3)  # cm of inner-lip gap: lips are closed; their shape tells of talking
SMILES = tuple(BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right"))
SMILING = (0.1, 0.4)  # of those units' mean: lips at rest, nine in ten of which have less, and lips that smile
BROADER = 1.15  # times the estimate, which falls short of smiles as regressions do: their width after closing tells


@dataclass(frozen=True, eq=False)
class ExpressionBasis:
    """Fitted by `mggdub.train.expression`. V = 478 vertices, R vertices of the mouth region, F triangles."""

    triangles: Array  # [F, 3] int64, irises included
    mirror: Array  # [V] int64, the vertex on the other side
    canonical: Array  # [V, 3] canonical face; the irises' vertices are people's mean
    mean_rest: Array  # [V, 3] people's mean face at rest, placed like the canonical one
    motion: Array  # [32, V, 3] cm per driver
    region: Array  # [R] int64, the mouth region: only the lip modes move it
    analysis: Array  # [R * 3, 8] displacement of the region to modes (x and y only; depth follows)
    mode_std: Array  # [8] in talking faces
    opening: Array  # [8] modes per cm of inner-lip gap, as mouths open
    unit_rest: Array  # [52] what the face runtime says of a face at rest
    unit_gain: Array  # [24] makes a closed eye's blink 1; 1 elsewhere
    units_to_modes: Array  # [28, 8]
    modes_to_units: Array  # [8, 28]
    closed_gap: Array  # [] cm, inner-lip landmarks of closed lips
    rest_mesh_weights: Array  # [V * 3, 8] the rest estimate: mesh minus mean_rest ...
    rest_unit_weights: Array  # [104, 8] ... units minus their rest, and their squares
    rest_bias: Array  # [8]


def load_expression() -> ExpressionBasis:
    """The shipped basis. Raises InputError if it is missing or damaged."""
    return from_tensors(load(NAME)[0])


def from_tensors(tensors: dict[str, torch.Tensor]) -> ExpressionBasis:
    """A basis from what `mggdub.weights` keeps."""
    rows = {
        name: int(tensors[name].shape[0]) if tensors.get(name, EMPTY).ndim else 0 for name in ("triangles", "region")
    }
    wanted = _shapes(rows["triangles"], rows["region"])
    for field in fields(ExpressionBasis):
        if field.name not in tensors:
            raise InputError(f"The weight file {NAME} has no {field.name!r}; reinstall mggdub.")
        tensor = tensors[field.name]
        index = field.name in INDICES
        fits = tuple(tensor.shape) == wanted[field.name] and tensor.dtype == (torch.int64 if index else torch.float32)
        if not fits or (index and not bool(((tensor >= 0) & (tensor < LANDMARKS)).all())):
            raise InputError(f"The weight file {NAME} is damaged at {field.name!r}; reinstall mggdub.")
    return ExpressionBasis(**{field.name: tensors[field.name].numpy() for field in fields(ExpressionBasis)})


def _shapes(triangles: int, region: int) -> dict[str, tuple[int, ...]]:
    """Of a basis's fields."""
    drivers, units = DRIVERS, len(BLENDSHAPES)
    return {
        "triangles": (triangles, 3),
        "mirror": (LANDMARKS,),
        "canonical": (LANDMARKS, 3),
        "mean_rest": (LANDMARKS, 3),
        "motion": (drivers, LANDMARKS, 3),
        "region": (region,),
        "analysis": (3 * region, LIP_MODES),
        "mode_std": (LIP_MODES,),
        "opening": (LIP_MODES,),
        "unit_rest": (units,),
        "unit_gain": (len(DRIVING_UNITS),),
        "units_to_modes": (len(MOUTH_UNITS), LIP_MODES),
        "modes_to_units": (LIP_MODES, len(MOUTH_UNITS)),
        "closed_gap": (),
        "rest_mesh_weights": (3 * LANDMARKS, LIP_MODES),
        "rest_unit_weights": (2 * units, LIP_MODES),
        "rest_bias": (LIP_MODES,),
    }


def vertex_motion(basis: ExpressionBasis, drivers: Array) -> Array:
    """Displacement from rest [..., 478, 3] cm of drivers [..., 32]."""
    return np.tensordot(np.asarray(drivers, np.float32), basis.motion, 1)


def lip_modes(basis: ExpressionBasis, displacement: Array) -> Array:
    """Modes [..., 8] of a displacement from rest [..., 478, 3] cm."""
    mouth = displacement[..., basis.region, :]
    return mouth.reshape(*mouth.shape[:-2], -1) @ basis.analysis


def gap_of_modes(basis: ExpressionBasis) -> Array:
    """[8]: cm of inner-lip gap per unit of each mode."""
    modes = basis.motion[len(DRIVING_UNITS) :]
    return modes[:, INNER_LOWER_LIP, 1] - modes[:, INNER_UPPER_LIP, 1]


def lip_gap(basis: ExpressionBasis, modes: Array) -> Array:
    """Height of the mouth's opening [...] cm; 0 is closed, less is pressed together. Linear in the modes."""
    return np.asarray(modes) @ gap_of_modes(basis)


def close_lips(basis: ExpressionBasis, modes: Array, minimum: float = 0.0) -> Array:
    """Modes [..., 8] whose gap is at least `minimum` cm, moved the way mouths open."""
    return with_gap(basis, modes, np.maximum(minimum, lip_gap(basis, modes)))


def with_gap(basis: ExpressionBasis, modes: Array, gap: Array | float) -> Array:
    """Modes [..., 8] moved the way mouths open until their gap is `gap` [...] cm."""
    return modes + (gap - lip_gap(basis, modes))[..., None] * basis.opening


def driving_units(basis: ExpressionBasis, blendshapes: Array) -> Array:
    """The 24 driving units [..., 24], 0 at rest and blink 1 closed, of what the face runtime measures [..., 52]."""
    units = list(DRIVING_UNITS)
    return (blendshapes[..., units] - basis.unit_rest[units]) * basis.unit_gain


def followed_units(basis: ExpressionBasis, blendshapes: Array, meshes: Array, calm: Array) -> Array:
    """The driving units [T, 24] of a clip whose brows go where its meshes have them.

    blendshapes [T, 52] and meshes [T, 478, 3] cm in head space; `calm` are frames at rest. What the runtime says of
    brows goes half as far as they do and not quite with them, so least squares over their landmarks put it right.
    """
    units = driving_units(basis, blendshapes)
    moved = meshes[:, BROW_PLACES, :2] - np.median(meshes[calm][:, BROW_PLACES, :2], 0)
    motion = basis.motion[: len(DRIVING_UNITS), BROW_PLACES, :2].reshape(len(DRIVING_UNITS), -1)
    missing = moved.reshape(len(units), -1) - (units - np.median(units[calm], 0)) @ motion
    brows = motion[BROW_UNITS]
    more = np.linalg.solve(brows @ brows.T + BROW_RIDGE * np.eye(len(brows)), brows @ missing.T).T
    units[:, BROW_UNITS] += gaussian_filter1d(more, STEADY, axis=0, mode="nearest")
    return units


def from_rest(units: Array, first: Array) -> Array:
    """Units [T, 52] of a shot, counted from its own rest as the `first` shot's [T', 52] are from theirs.

    Another person's brows lie elsewhere at rest. How far eyes are closed is absolute at its end: 1 stays 1.
    """
    believed = len(units) / (len(units) + SHRINKING)
    rest, other = np.median(first, 0), np.median(units, 0)
    offset = believed * np.clip(rest - other, -OWN_WAY, OWN_WAY)
    share = np.where(IS_BLINK, np.clip((1 - units) / np.maximum(1 - other, 0.1), 0, 1), 1)
    mouth = np.isin(np.arange(len(BLENDSHAPES)), MOUTH_UNITS)
    return (units + np.where(mouth, 0, offset * share)).astype(np.float32)


def rest_drivers(basis: ExpressionBasis, mesh: Array, blendshapes: Array) -> Array:
    """The photo's own state [32]: mesh [478, 3] (placed like the canonical face) and units [52] of one picture.

    The modes are estimated, then moved the way mouths open until they account for the gap that is measured.
    """
    modes = estimate_modes(basis, mesh, blendshapes)
    gap = mesh[..., INNER_LOWER_LIP, 1] - mesh[..., INNER_UPPER_LIP, 1] - basis.closed_gap
    return np.concatenate([driving_units(basis, blendshapes), with_gap(basis, modes, gap)], -1).astype(np.float32)


def estimate_modes(basis: ExpressionBasis, mesh: Array, blendshapes: Array) -> Array:
    """Lip modes [..., 8] of single pictures, by regression over people."""
    shape = (mesh - basis.mean_rest).reshape(*mesh.shape[:-2], -1)
    return (
        shape @ basis.rest_mesh_weights + unit_features(basis, blendshapes) @ basis.rest_unit_weights + basis.rest_bias
    )


def unit_features(basis: ExpressionBasis, blendshapes: Array) -> Array:
    """[..., 104]: units minus their rest, and the squares."""
    units = blendshapes - basis.unit_rest
    return np.concatenate([units, units**2], -1)


def modes_from_units(basis: ExpressionBasis, blendshapes: Array) -> Array:
    """Lip modes [..., 8] for a track that has only units [..., 52], zero at rest."""
    return (blendshapes[..., list(MOUTH_UNITS)] @ basis.units_to_modes).astype(np.float32)


def units_from_modes(basis: ExpressionBasis, modes: Array) -> Array:
    """The 28 jaw, mouth and tongue units [..., 28] in 0..1 that come nearest to lip modes."""
    assert modes.shape[-1] == LIP_MODES, modes.shape
    return np.clip(modes @ basis.modes_to_units, 0, 1).astype(np.float32)


def photo_state(basis: ExpressionBasis, head: Portrait) -> Array:
    """[32] drivers of the photo. Closed lips that do not smile are that person's lips at rest, whatever their shape."""
    drivers = rest_drivers(basis, head_mesh(head.landmarks, head.camera), head.blendshapes)
    modes = drivers[-LIP_MODES:]
    gap = float(lip_gap(basis, modes))
    closed, shaped = CLOSED_PHOTO
    opened = float(np.clip((gap - closed) / (shaped - closed), 0, 1))
    smiling = float(np.clip((head.blendshapes[list(SMILES)].mean() - SMILING[0]) / (SMILING[1] - SMILING[0]), 0, 1))
    shape = max(opened, smiling) * (1 + (BROADER - 1) * smiling) * modes
    drivers[-LIP_MODES:] = with_gap(basis, shape, gap * opened * (2 - opened))
    return drivers
