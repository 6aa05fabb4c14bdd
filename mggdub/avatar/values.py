"""What a head that can be moved consists of. Frozen values that check their shapes when they are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mggdub.types import DRIVERS, LANDMARKS, MOST_ADVICE, Array, Camera, Gaussians, check_shape, is_sentence

SOLID = 0.95  # opacity of points that are no pixels of the photo


@dataclass(frozen=True, eq=False)
class PointLayer:
    """N points in head space at the photo's own expression."""

    means: Array  # [N, 3] float32, cm
    colors: Array  # [N, 3] float32, 0..1
    radius: Array  # [N] float32, cm, standard deviation of the splats
    skin: sparse.csr_matrix  # [N, 478]
    neck: Array  # [N] float32, share of the head's rigid motion
    opacity: Array  # [N] float32
    shows_photo: bool | Array = False  # [N], whether they look like the place of the photo in which they lie

    @property
    def photo(self) -> Array:
        """[N] bool of `shows_photo`."""
        return np.broadcast_to(self.shows_photo, len(self))

    def __len__(self) -> int:
        return len(self.means)

    def where(self, keep: Array) -> PointLayer:
        """The points of a mask [N] bool."""
        columns = (self.means, self.colors, self.radius, self.skin, self.neck, self.opacity, self.photo)
        return PointLayer(*(values[keep] for values in columns))


def join_layers(layers: list[PointLayer]) -> PointLayer:
    """One layer of several, in their order."""
    return PointLayer(
        np.concatenate([layer.means for layer in layers]).astype(np.float32),
        np.concatenate([layer.colors for layer in layers]).astype(np.float32),
        np.concatenate([layer.radius for layer in layers]).astype(np.float32),
        sparse.vstack([layer.skin for layer in layers], format="csr").astype(np.float32),
        np.concatenate([layer.neck for layer in layers]).astype(np.float32),
        np.concatenate([layer.opacity for layer in layers]).astype(np.float32),
        np.concatenate([layer.photo for layer in layers]),
    )


@dataclass(frozen=True, eq=False)
class MouthLayer:
    """The inside of one person's mouth. N points, ROWS by COLUMNS and their margins, row by row."""

    means: Array  # [N, 3] float32 cm, at the photo's own expression
    skin: sparse.csr_matrix  # [N, 478]
    mesh: Array  # [478, 3] cm, the photo's own
    rest: Array  # [478, 3] cm, the same person's with closed lips
    size: float  # of this mouth's width over the usual one
    tone: Array  # [3] float32 sRGB of front teeth in full light
    levels: (
        Array  # [2] float32 cm, in a mouth of usual width, where teeth end: below the closed lips, from the lower lip
    )
    own: Array  # [3, rows, columns] float32 0..1, the photo's own mouth, laid out by its lips
    own_share: Array  # [rows, columns] float32 0..1, where the photo shows it


@dataclass(frozen=True)
class RenderBox:
    """Where the moving head sits in the picture that is put out."""

    left: int  # px of the output picture, the box the head may cover
    top: int
    width: int
    height: int
    render_width: int  # px, what is rendered for that box
    render_height: int

    def cut(self, picture: Array) -> Array:
        """What of a picture [H, W, ...] lies in the box."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, eq=False)
class Bases:
    """What expression and pose add to a head, on grids over its crop; points take what lies at their place."""

    motion: Array  # [K, 3, G, G] float32, cm
    shade: Array  # [K', 3, 2 G, 2 G] float32, sRGB

    def __post_init__(self) -> None:
        size = self.motion.shape[-1]
        check_shape("motion", self.motion, None, 3, size, size)
        check_shape("shade", self.shade, None, 3, 2 * size, 2 * size)


@dataclass(frozen=True, eq=False)
class HeadAvatar:
    """A head that can be moved: everything that is done once per photo.

    Gaussians are those of the photo's own expression and pose; the first `pixels` of them are pixels of the photo,
    the last of these a rim of hair and a film over strands; then come the hidden side, the mouth and the two lids.
    """

    gaussians: Gaussians
    mesh_weights: sparse.csr_matrix  # [N, 478] how points follow the mesh
    head_share: Array  # [N] float32, share of the head's rigid motion
    torso_share: Array  # [N] float32, share of the torso's motion
    crop_uv: Array  # [N, 2] float32 0..1, where in the crop a point lies
    shows_photo: Array  # [N] bool, whether it looks like the place of the photo in which it lies
    hidden: slice  # the points of the side the photo does not show; those before it are its pixels
    film: slice  # those of its pixels that show a wall with hair before it: the rim of hair, and single strands
    bases: Bases
    mesh: Array  # [478, 3] float32, cm, the photo's own mesh in head space
    photo_drivers: Array  # [32] float32, the photo's own expression
    photo_mouth: Array  # [M] int64, those of the photo's own open mouth
    lids: tuple[slice, slice]  # the points of the left and the right lid
    lid_places: Array  # [L, 2] float32, px of the rendered box, whose detail the points of both lids have
    mouth: slice  # the points of the mouth's inside
    mouth_layer: MouthLayer  # what colours them in every frame
    camera: Camera  # of the rendered box
    box: RenderBox
    plate: Array  # [height, width, 3] uint8, the box without the head
    image: Array  # [H, W, 3] uint8, the whole picture at its output size
    torso_share_map: Array  # [h, w] float32, the share of the torso's motion all over the picture, in coarse cells
    angle: float  # degrees, clockwise, by which the head's crop is turned in the picture, and its torso with it
    advice: tuple[str, ...] = ()  # sentences about the photo: what to expect of its videos
    inpainter: str = "fast"  # or lama: who painted the background behind it

    def __post_init__(self) -> None:
        check_shape("mesh", self.mesh, LANDMARKS, 3)
        check_shape("photo_drivers", self.photo_drivers, DRIVERS)
        check_shape("head_share", self.head_share, len(self.gaussians))
        check_shape("torso_share", self.torso_share, len(self.gaussians))
        check_shape("crop_uv", self.crop_uv, len(self.gaussians), 2)
        check_shape("shows_photo", self.shows_photo, len(self.gaussians))
        check_shape("lid_places", self.lid_places, sum(lid.stop - lid.start for lid in self.lids), 2)
        check_shape("plate", self.plate, self.box.height, self.box.width, 3)
        if len(self.advice) > MOST_ADVICE or not all(is_sentence(line) for line in self.advice):
            raise ValueError("advice is no list of sentences")
