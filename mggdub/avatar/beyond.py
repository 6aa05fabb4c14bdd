"""The head where the picture cuts it off."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mggdub.avatar.box import FLAT, RenderView
from mggdub.avatar.values import SOLID, PointLayer, join_layers
from mggdub.avatar.visible import SPLAT
from mggdub.face.mesh import CHIN_TIP, HAIRLINE
from mggdub.face.skin import skin_weights
from mggdub.geometry.camera import cm_per_px, head_mesh, project, unproject
from mggdub.types import Array, Camera, Portrait

CUT_OFF = 4.0  # cm that a head goes on beyond the picture's edge
CROWN = 0.36  # of the face's height, from the hairline up
ROUND = 9.0  # cm, half of a head's width with its hair
COARSE = 2  # rendered px between points beyond the picture
LONGEST_TURN = 1.4  # radians of the dome


def beyond_layer(
    view: RenderView, colors: Array, matte: Array, head_share: Array, deep: Array, triangles: Array
) -> PointLayer:
    """The head where the picture cuts it off, for as far as motion brings it into view.

    colors [h, w, 3], matte, head_share and deep [h, w] of the rendered box, whose upper and outer edges are the
    picture's if the head touches them. Above the picture the head closes like a dome, beside it parts go on that end
    round; colours are those near the edge.
    """
    camera = view.camera
    cm = float(np.median(deep)) / float(camera.K[0, 0])  # of a rendered px
    place = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1)
    none = np.zeros((0, 3), np.float32)
    skin = skin_weights(none[:, :2], view.head.landmarks, triangles, cm_per_px(view.head.camera))
    layers = [PointLayer(none, none, none[:, 0], skin, none[:, 0], none[:, 0])]
    for maps, out, above in _edges(view.head, (matte, head_share, deep, colors, place, view.crop_px)):
        radius, reach = CUT_OFF / cm, CUT_OFF / 2 / cm
        if above:
            radius, reach = max(_crown(view.head, camera, out), 1.5 / cm), CUT_OFF / cm
        layers += _beyond_edge(view, maps, out, above, radius, reach, cm, triangles)
    return join_layers(layers)


def _beyond_edge(
    view: RenderView,
    maps: list[Array],
    out: tuple[int, int],
    above: bool,
    radius: float,
    reach: float,
    cm: float,
    triangles: Array,
) -> list[PointLayer]:
    """The points beyond one edge, if the head touches it; radius and reach in rendered px of `cm` cm."""
    matte, share, depth, shown, at, crop_at = maps
    solid = matte[0] > 0.5 if above else matte[: max(1, round(0.5 / cm))].min(0) > 0.9
    solid &= share[0] > 0.05
    touching = np.nonzero(solid)[0][::COARSE]  # [P] along the edge
    if above and len(touching):
        radius = min(radius, arc_height(np.ptp(touching) * cm / 2) / cm)
    if len(touching) == 0 or radius < COARSE:
        return []
    if above:
        aside = (touching - touching.mean()) / max(1.0, 0.5 * np.ptp(touching))
        high = 1 - np.clip(aside, -1, 1) ** 2  # [P] of the dome's height
    else:
        high = np.minimum(_round_ends(solid)[touching] / reach, 1)
    furthest = min(LONGEST_TURN, reach / radius)
    turn = np.arange(0.5 * COARSE / radius, furthest, COARSE / radius)[:, None]  # [D, 1] radians
    away, back = radius * np.sin(turn) * high, radius * cm * (1 - np.cos(turn)) * high  # px and cm, [D, P]
    inward = np.minimum(np.minimum(0.35 * away, 0.4 / cm).astype(int), len(matte) - 1)
    source = np.where(matte[inward, touching] > 0.9, inward, 0)  # [D, P] row its colour comes from
    px = at[0, touching] + 0.5 + away[..., None] * np.array(out)
    z = depth[0, touching] + back + 0.2
    outside = away.ravel() > COARSE  # or it would be seen in the photo's own pose
    follow = np.broadcast_to(crop_at[0, touching], px.shape).reshape(-1, 2)[outside]
    head = view.head
    return [
        PointLayer(
            means=unproject(px, z, view.camera).reshape(-1, 3)[outside],
            colors=shown[source, touching].reshape(-1, 3)[outside],
            radius=np.full(outside.sum(), 1.3 * SPLAT * COARSE * cm, np.float32),
            skin=skin_weights(follow, head.landmarks, triangles, cm_per_px(head.camera)),
            neck=np.broadcast_to(share[0, touching], z.shape).ravel()[outside],
            opacity=np.full(outside.sum(), SOLID, np.float32),
        )
    ]


def _round_ends(solid: Array) -> Array:
    """[L] px: how far parts of an edge [L] bool go on beyond it, that end as round as they are wide: ears hardly do."""
    labels, count = ndimage.label(solid)
    at, high = np.arange(len(solid)), np.zeros(len(solid))
    for part in (labels == k + 1 for k in range(count)):
        half = part.sum() / 2
        high[part] = np.sqrt(half**2 - (at[part] - at[part].mean()) ** 2)
    return high


def _edges(head: Portrait, maps: tuple[Array, ...]) -> list[tuple[list[Array], tuple[int, int], bool]]:
    """Maps [h, w] as seen from every edge of the box that is above or beside the head: their first row lies along it.

    With them the way out in the picture, and whether that is above.
    """
    turn = complex(np.exp(-1j * np.radians(head.crop.angle)))
    views = {
        (0, -1): list(maps),
        (-1, 0): [x.swapaxes(0, 1) for x in maps],
        (1, 0): [x[:, ::-1].swapaxes(0, 1) for x in maps],
        (0, 1): [x[::-1] for x in maps],
    }
    down = {out: (turn * complex(*out)).imag for out in views}  # in the crop
    return [(parts, out, down[out] < -FLAT) for out, parts in views.items() if down[out] <= FLAT]


def arc_height(half: float) -> float:
    """How far a round head reaches beyond an edge that cuts it over twice so many cm, and a little more, cm."""
    return 0.2 + 1.5 * (ROUND - (ROUND**2 - min(half, ROUND) ** 2) ** 0.5)


def _crown(head: Portrait, camera: Camera, out: tuple[int, int]) -> float:
    """How far the crown lies beyond the edge of the box in the way `out`, px."""
    ahead = project(head_mesh(head.landmarks, head.camera), camera) @ np.array(out)
    edge = max(out[0] * camera.width, out[1] * camera.height, 0)
    return float(ahead[HAIRLINE] + CROWN * (ahead[HAIRLINE] - ahead[CHIN_TIP]) - edge)
