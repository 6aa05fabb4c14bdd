"""The head's crop, its fixed camera, and the head's pose from landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggdub.geometry.rotation import cross_matrix, rotvec_to_matrix
from mggdub.types import CROP_SIZE, FOCAL, Array, Camera, Crop

FOREHEAD, CHIN = 10, 152
OUTER_EYES = (33, 263)
EYE_CHIN_BOX = (33, 133, 159, 145, 263, 362, 386, 374, CHIN)
FACE_FRACTION = 0.5  # of the crop's side is the face's height
LEAN = 20.0  # degrees that a head may lean in its crop; the networks were trained on as much
# Landmarks that expressions hardly move: forehead and temples, nose bridge, eye corners, cheekbones.
RIGID = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 109, 67, 103, 54, 21, 162, 127, 234),
    *(151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 116, 345, 117, 346),
)
OUTLIER = 2.0  # px of error, from which on a landmark counts less
RIGID_DEPTH = -2.531  # cm, mean z of the rigid landmarks on the canonical face


def head_crop(landmarks: Array) -> Crop:
    """The square around a head: centred on the eye-chin box, twice as high as the face, turned with the head.

    landmarks [478, 2 or 3], px of the picture. A head that leans a little does so in its crop; one that lies in a
    picture turned by a quarter has the crop that it had in the upright picture, turned by that quarter.
    """
    angle = crop_angle(landmarks)
    upright = upright_crop(Crop(0, 0, 0).turned(np.asarray(landmarks), -angle))
    if angle == 0:
        return upright
    half = upright.side / 2
    x, y = Crop(0, 0, 0).turned(np.array([upright.left + half, upright.top + half]), angle).tolist()
    return replace(upright, left=x - half, top=y - half, angle=angle)


def upright_crop(landmarks: Array) -> Crop:
    """`head_crop` of landmarks [478, >=2] px that stands as the picture does, however the head stands."""
    box = np.asarray(landmarks)[list(EYE_CHIN_BOX), :2]
    centre = (box.min(0) + box.max(0)) / 2
    side = face_height(landmarks) / FACE_FRACTION
    return Crop(float(centre[0] - side / 2), float(centre[1] - side / 2), float(side))


def crop_angle(landmarks: Array) -> float:
    """Degrees, clockwise: the nearest quarter turn of a face [478, 2 or 3], or its own turn if it leans from that."""
    turn = face_turn(landmarks)
    quarter = 90.0 * round(turn / 90)
    if abs(turn - quarter) > LEAN:
        return turn
    return quarter if quarter > -180 else 180.0


def face_turn(landmarks: Array) -> float:
    """Degrees, clockwise, -180 to 180, by which a face [478, 2 or 3] is turned in its picture."""
    marks = np.asarray(landmarks, np.float64)[:, :2] @ [1, 1j]
    across, down = marks[OUTER_EYES[1]] - marks[OUTER_EYES[0]], marks[CHIN] - marks[FOREHEAD]
    return float(np.degrees(np.angle(across / max(abs(across), 1e-9) - 1j * down / max(abs(down), 1e-9))))


def face_height(landmarks: Array) -> float:
    """Distance from the hairline (10) to the chin (152) of landmarks [478, >=2], px as they are."""
    return float(np.linalg.norm(landmarks[CHIN, :2] - landmarks[FOREHEAD, :2]))


def crop_matrix(size: int = CROP_SIZE) -> Array:
    """K of a crop [3, 3]: focal length four times its width, principal point in its middle."""
    focal = FOCAL * size / CROP_SIZE
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], np.float32)


def crop_camera(rotation: Array, translation: Array, size: int = CROP_SIZE) -> Camera:
    """The camera of a crop for a head pose: rotation [3, 3], translation [3] cm, head space to camera."""
    viewmat = np.eye(4, dtype=np.float32)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, translation
    return Camera(crop_matrix(size), viewmat, size, size)


def project(points: Array, camera: Camera) -> Array:
    """Head space [..., 3] cm to px [..., 2]."""
    return project_with(points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3], camera.K)


def project_with(points: Array, matrix: Array) -> Array:
    """Camera space [..., 3] to px [..., 2]."""
    scale = np.array([matrix[0, 0], matrix[1, 1]])
    return points[..., :2] / points[..., 2:] * scale + matrix[:2, 2]


def projection_slopes(points: Array) -> Array:
    """[..., 2, 3]: how x / z and y / z of camera-space points [..., 3] change with them."""
    x, y, z = np.moveaxis(points, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], -2)


def cm_per_px(camera: Camera) -> float:
    """Of the picture, at the distance of head space's origin."""
    return float(camera.viewmat[2, 3]) / float(camera.K[0, 0])


def unproject(pixels: Array, depth: Array, camera: Camera) -> Array:
    """Px [..., 2] at camera z [...] cm to head space [..., 3]."""
    scale = np.array([camera.K[0, 0], camera.K[1, 1]])
    rays = (pixels - camera.K[:2, 2]) / scale
    points = np.concatenate([rays * depth[..., None], depth[..., None]], -1)
    return (points - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]


def head_mesh(landmarks: Array, camera: Camera) -> Array:
    """Landmarks [478, 3] in crop px as a mesh [478, 3] in head space, cm; it projects back onto them."""
    rotation, translation = camera.viewmat[None, :3, :3], camera.viewmat[None, :3, 3]
    return head_meshes(landmarks[None], rotation, translation, camera.K)[0]


def head_meshes(landmarks: Array, rotations: Array, translations: Array, matrix: Array) -> Array:
    """`head_mesh` of T frames at once: [T, 478, 3] from landmarks [T, 478, 3] and poses [T, 3, 3], [T, 3].

    Depth is the landmark's own z at the head's distance; its unknown zero is set so that the rigid
    landmarks lie as deep as the canonical face's.
    """
    rotations, translations = np.asarray(rotations, np.float64), np.asarray(translations, np.float64)
    landmarks = np.asarray(landmarks, np.float64)
    distance = translations[:, 2:]  # [T, 1]
    rays = (landmarks[..., :2] - matrix[:2, 2]) / np.array([matrix[0, 0], matrix[1, 1]])
    rays = np.concatenate([rays, np.ones_like(rays[..., :1])], -1)  # [T, 478, 3]
    depth = distance + landmarks[..., 2] * distance / matrix[0, 0]  # [T, 478]
    for _ in range(3):
        meshes = (rays * depth[..., None] - translations[:, None]) @ rotations
        depth = depth + ((RIGID_DEPTH - meshes[:, list(RIGID), 2].mean(1)) / rotations[:, 2, 2])[:, None]
    return meshes.astype(np.float32)


def solve_pose(points: Array, pixels: Array, matrix: Array, iterations: int = 12) -> tuple[Array, Array]:
    """Rotations [T, 3, 3] and translations [T, 3] that put points [K, 3] (or [T, K, 3]) onto pixels [T, K, 2].

    Gauss-Newton on the reprojection error with Huber weights, from a scaled orthographic start; every frame is solved
    at once. `matrix` is K [3, 3].
    """
    count = pixels.shape[0]
    points = np.broadcast_to(np.asarray(points, np.float64), (count, pixels.shape[1], 3))
    focal = np.array([matrix[0, 0], matrix[1, 1]], np.float64)
    target = (np.asarray(pixels, np.float64) - matrix[:2, 2]) / focal  # [T, K, 2]
    rotation, translation = _orthographic_pose(points, target)
    for _ in range(iterations):
        turned = points @ rotation.transpose(0, 2, 1)  # [T, K, 3]
        in_camera = turned + translation[:, None]
        error = in_camera[..., :2] / in_camera[..., 2:] - target
        length = np.linalg.norm(error * focal, axis=-1)
        weight = np.sqrt(np.minimum(1.0, OUTLIER / np.maximum(length, 1e-9)))[..., None]  # [T, K, 1]
        by_point = projection_slopes(in_camera)
        by_rotation = -by_point @ cross_matrix(turned)  # [T, K, 2, 3]
        jacobian = np.concatenate([by_rotation, by_point], -1) * weight[..., None]
        jacobian = jacobian.reshape(count, -1, 6)
        residual = (error * weight).reshape(count, -1, 1)
        normal = jacobian.transpose(0, 2, 1)
        step = -np.linalg.solve(normal @ jacobian, normal @ residual)[..., 0]  # [T, 6]
        rotation = rotvec_to_matrix(step[:, :3]) @ rotation
        translation = translation + step[:, 3:]
    return rotation, translation


def _orthographic_pose(points: Array, target: Array) -> tuple[Array, Array]:
    """Pose under scaled orthographic projection: the linear fit, its rows made orthonormal."""
    middle = points.mean(1, keepdims=True)
    flat = target - target.mean(1, keepdims=True)
    affine = (np.linalg.pinv(points - middle) @ flat).transpose(0, 2, 1)  # [T, 2, 3]
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = np.concatenate([rows, np.cross(rows[:, :1], rows[:, 1:])], 1)
    depth = 1 / singular.mean(1)
    centre = np.concatenate([target.mean(1) * depth[:, None], depth[:, None]], 1)
    return rotation, centre - (rotation @ middle.transpose(0, 2, 1))[..., 0]
