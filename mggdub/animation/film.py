"""Film over single strands, and the rim of hair, fade where their side of a head turns into view: they show wall."""

from __future__ import annotations

import numpy as np

from mggdub.avatar.values import HeadAvatar
from mggdub.geometry.rotation import euler_to_matrix
from mggdub.geometry.sampling import smoothstep
from mggdub.types import Array, Camera

# Sines of the degrees by which a side has turned towards the viewer where its film begins to fade and where it is gone.
FADES = tuple(float(np.sin(np.radians(degrees))) for degrees in (8, 16))


def film_sides(avatar: HeadAvatar) -> Array:
    """[F, 3] float32: to which side of the head each splat of the film lies, in head space, times its head's share.

    Sides lie across the photo's view; below the eyes they are left and right.
    """
    turn = avatar.camera.viewmat[:3, :3]
    away = (avatar.gaussians.means.numpy()[avatar.film] - avatar.mesh.mean(0)) @ turn.T
    away[:, 1], away[:, 2] = np.minimum(away[:, 1], 0), 0
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    return np.asarray(away * avatar.head_share[avatar.film, None] @ turn, np.float32)


def head_view(camera: Camera, rotation: Array) -> Array:
    """[..., 3]: where a camera looks, in the space of a head with this rotation [..., 3] degrees."""
    return np.asarray(camera.viewmat[2, :3] @ euler_to_matrix(rotation))


def film_shown(sides: Array, view: Array) -> Array:
    """[F] float32 0..1: how much is seen of a film with these `film_sides` [F, 3] in a `head_view` [3]."""
    low, high = FADES
    return smoothstep((high + sides @ view) / (high - low)).astype(np.float32)
