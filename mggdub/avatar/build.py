"""Act 1: a photo becomes an avatar. The paper's DSGR and SGP, and what is drawn around the head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from PIL import Image
from scipy import ndimage, sparse

from mggdub import inpainting
from mggdub.avatar import shares
from mggdub.avatar.appearance import measure_face, warnings
from mggdub.avatar.background import Painted, add_detail, is_worthwhile, paint_background, patched_background, seen_size
from mggdub.avatar.beyond import beyond_layer
from mggdub.avatar.box import (
    PREVIEW_SIZE,
    RENDER_SIZE,
    RenderView,
    WiderView,
    check_box,
    edge_distance,
    look_wider,
    lowest_rows,
    output_size,
    over_crop,
    reach_beyond,
    render_box,
    render_view,
)
from mggdub.avatar.collars import skin_spreads, with_collars
from mggdub.avatar.creases import keep_creases
from mggdub.avatar.eyeballs import eyeball_layer, turn_irises
from mggdub.avatar.eyelids import eyelid_layers
from mggdub.avatar.file import as_saved
from mggdub.avatar.hidden import color_hidden, hidden_layer, still_hidden, with_layer
from mggdub.avatar.learned import enlarge_grid, motion_bases, predict_grids
from mggdub.avatar.lower_lids import cover_white, find_lower_lids
from mggdub.avatar.mouth import build_mouth, mouth_points
from mggdub.avatar.outline import above_crown, background_share, crop_room, stands_out
from mggdub.avatar.parting import find_parting, lips_behind
from mggdub.avatar.plate import (
    bare_throat,
    behind_jaw,
    below_shoulders,
    head_hole,
    make_plate,
    neck_column,
    plate_alpha,
    soft_hole,
    veiled_opacity,
    visible_body,
)
from mggdub.avatar.rims import covered_when_turned, hair_rim
from mggdub.avatar.spots import DRAWN, Spots, fading_last, find_spots
from mggdub.avatar.strands import strand_film
from mggdub.avatar.transparency import Veil, cut_alpha, opaque_colors, unveiled, without_ghost
from mggdub.avatar.values import HeadAvatar, MouthLayer, PointLayer, RenderBox, join_layers
from mggdub.avatar.visible import (
    coarse_surface,
    first_looks,
    head_matte,
    person_and_depth,
    photo_mouth,
    surface_gaussians,
    undressed,
    visible_gaussians,
    with_wisps,
)
from mggdub.face.expression import photo_state, vertex_motion
from mggdub.face.mesh import CHIN_TIP
from mggdub.face.portrait import check_face, choose_face, company, cut_off, holes, portrait, see_through
from mggdub.face.skin import skin_weights
from mggdub.geometry.camera import cm_per_px, face_height, head_mesh, project, unproject
from mggdub.geometry.sampling import sample_crop
from mggdub.media.image import WHITE, lay_over, resize
from mggdub.models import Models
from mggdub.networks.geometry import clothes_share, estimate_geometry, torso_matte
from mggdub.networks.head import Grids
from mggdub.options import AvatarOptions
from mggdub.types import CROP_SIZE, HAIR, SKIN, Array, Camera, Gaussians, GeometryMaps, Photo, Portrait, as_tensor


def build_avatar(photo: Photo, models: Models, options: AvatarOptions) -> HeadAvatar:
    """The moving head of a photo. Raises InputError if no usable face is found."""
    study = study_photo(photo, models, options)
    head = replace(assemble(study, models), advice=(*study.remarks, *warnings(measure_face(study.head, study.maps))))
    return as_saved(head)  # so that a photo and the file of its avatar give the same frames


@dataclass(frozen=True, eq=False)
class PhotoStudy:
    """What is known of a photo before a point of its head is made."""

    head: Portrait
    maps: GeometryMaps
    coarse: Array  # [512, 512] camera z, cm, before what was learned
    grids: Grids
    drivers: Array  # [32] of `photo_state`
    picture: Array  # [H, W, 3] uint8, at the size of the output
    scale: float  # output px per photo px
    box: RenderBox
    wider: WiderView | None = None
    veil: Veil | None = None
    inpainter: str = "fast"
    remarks: tuple[str, ...] = ()  # what to say of where the face is, and of others

    @cached_property
    def surface(self) -> Array:
        """[512, 512] camera z, cm, with the learned depth."""
        return self.coarse + enlarge_grid(self.grids.depth[0, 0].numpy())


def study_photo(photo: Photo, models: Models, options: AvatarOptions) -> PhotoStudy:
    """The face that is dubbed, its maps, surface and expression, and the box it is rendered in. Raises InputError."""
    faces = models.faces.find(photo.pixels)
    face = choose_face(faces, options.face)
    check_face(face, photo.size)
    behind = see_through(photo, options.background)
    photo = without_ghost(photo, face.landmarks, options.background_color or WHITE)
    size = output_size(photo.size, face_height(face.landmarks), options)
    head = portrait(photo, face, models.faces)
    maps = estimate_geometry(models.geometry, head)
    picture, veil = resize(photo.pixels, size, reducing_gap=3.0), None
    if photo.alpha is not None:
        inside = cut_alpha(photo.alpha, head.crop)
        head, maps = unveiled(inside, head, maps)
        veil = Veil(resize(photo.alpha, size, reducing_gap=3.0), inside, options.background_color or WHITE)
    scale = picture.shape[1] / photo.size[0]  # output px per photo px
    wider = look_wider(photo, head, maps, models.geometry)
    reach = reach_beyond(head, maps, photo.size, wider)
    box = render_box(head, scale, picture, PREVIEW_SIZE if options.preview else RENDER_SIZE, reach)
    check_box(box)
    coarse, drivers = coarse_surface(head, maps), photo_state(models.expression, head)
    grids = predict_grids(models, head, maps, coarse, drivers)
    remarks = (*cut_off(face, photo.size), *holes(face, photo), *company(faces, options.face), *behind)
    return PhotoStudy(head, maps, coarse, grids, drivers, picture, scale, box, wider, veil, options.inpainter, remarks)


@dataclass(frozen=True, eq=False)
class Regions:
    """What belongs to what: maps of the rendered box [h, w] and of the crop [512, 512], float32."""

    person: Array  # [h, w] matte
    depth: Array  # [h, w] cm
    clothes: Array  # [h, w] probability
    share: Array  # [512, 512] of the head's motion
    head_share: Array  # [h, w] the same in the box
    torso_share: Array  # [512, 512] of the torso's motion
    matte: Array  # [h, w] of what is drawn as the head
    film: Array  # [h, w] of `strand_film`, which takes strands along that the matte lacks
    spreads: Array | None  # [h, w] of the face's colours, how far a colour lies from them


def find_regions(study: PhotoStudy, view: RenderView) -> Regions:
    """Person, head, clothes and torso, and the share that each place has of their motion."""
    head, maps, px_cm = study.head, study.maps, cm_per_px(study.head.camera)
    dressed = ndimage.zoom(with_collars(head, maps, px_cm), 2, order=1)
    person, depth = person_and_depth(view, maps, study.surface, study.wider)
    hair = ndimage.zoom(maps.labels[..., HAIR], 2, order=1)
    share = shares.neck_weights(head.landmarks, dressed, hair, lowest_rows(view), px_cm)
    torso = torso_matte(head.landmarks, clothes_share(maps.labels), maps.matte, px_cm)
    head_share, clothes = sample_crop(share, view.crop_px), sample_crop(dressed, view.crop_px)
    image, room = _target(study), crop_room(view) if study.wider else np.full(person.shape, np.inf, np.float32)
    bare = undressed(person, clothes, head_share, view.cm_per_px)
    standing = stands_out(image, person, bare, view.cm_per_px)
    standing = standing * (view.crop_px[..., 1] < head.landmarks[CHIN_TIP, 1])
    if study.veil:  # beyond a cut a picture's last colours go on
        standing = standing * study.veil.of(study.box)
    person = person - bare * background_share(image, bare, person, room, above_crown(view), standing, view.cm_per_px)
    matte = head_matte(view, person, clothes, head_share)
    matte = with_wisps(image, matte, person, standing, head_share, view.cm_per_px)
    film = strand_film(image, matte, person, float(standing.max()), view.cm_per_px)
    if study.veil:
        film = film * study.veil.of(study.box)
    unlike = skin_spreads(head, maps)
    spreads = None if unlike is None else sample_crop(unlike, view.crop_px / 2)
    return Regions(person, depth, clothes, share, head_share, shares.torso_shares(torso, px_cm), matte, film, spreads)


@dataclass(frozen=True, eq=False)
class Behind:
    """What lies behind a head, maps of the rendered box [h, w]."""

    hole: Array  # bool, where the head is drawn
    filled: Array  # bool, what of it is filled
    jaw: Array  # what lies behind the jaw
    plate: Array  # [h, w, 3]
    painted: Painted | None  # what LaMa painted


def find_behind(study: PhotoStudy, view: RenderView, target: Array, regions: Regions) -> Behind:
    """Body, throat and background where the head is taken away; target [h, w, 3] is the photo in the rendered box."""
    hole = head_hole(view, np.maximum(regions.matte, regions.film))
    column = neck_column(view, regions.person, regions.head_share, regions.clothes)
    body = visible_body(target, regions.person, hole, view.cm_per_px)
    jaw = np.maximum(behind_jaw(view, body, regions.clothes, column), below_shoulders(view, body, hole))
    filled = hole & (regions.head_share > 0.02)
    throat = bare_throat(view, regions.person, regions.clothes, regions.spreads)
    painted, background = _behind_head(study, target, filled, body, view.cm_per_px)
    return Behind(hole, filled, jaw, make_plate(target, filled, body, jaw, throat, background, column), painted)


def _mouth(study: PhotoStudy, mesh: Array, at_rest: Array) -> MouthLayer:
    """The mouth's inside; meshes [478, 3] cm of the photo and of the same face at rest."""
    head, marks = study.head, study.head.landmarks[:, :2]
    on_surface = unproject(marks, sample_crop(study.surface, marks), head.camera)
    return build_mouth(head, mesh, at_rest, on_surface[:, 2])


def _hidden_side(
    study: PhotoStudy, models: Models, share: Array, covered: Array, visible: Gaussians, camera: Camera, overlap: bool
) -> PointLayer:
    """`hidden_layer` behind visible splats, in its own colours, as transparent as the photo beside it."""
    head = study.head
    hidden = hidden_layer(head, study.maps, study.surface, share, models.expression.triangles, overlap, covered)
    hidden = still_hidden(hidden, visible, camera)  # by what is not learned yet: the learning has the same points
    hidden = color_hidden(models.head, hidden, study.grids.features[0], head)
    if not study.veil:
        return hidden
    return replace(hidden, opacity=_veiled(study.veil, hidden.opacity, project(hidden.means, head.camera)))


def _spots(
    study: PhotoStudy,
    models: Models,
    view: RenderView,
    regions: Regions,
    hair: Array,
    looks: Array,
    pictures: tuple[Array, Array],
    covered: Array,
    overlap: bool,
) -> Spots:
    """`find_spots`, whose last, which fade as a film does, begin with the rim of hair.

    hair [h, w], looks [h, w, 4], pictures [h, w, 3] with and without the head, covered [512, 512]. All is as it was
    before learning: the learning has the same spots in the same order.
    """
    head, maps = study.head, study.maps
    spots = find_spots(view, regions.matte, regions.film, regions.head_share, maps.normals)
    skin = sample_crop(maps.labels[..., SKIN], view.crop_px / 2)
    rim = hair_rim(spots, *pictures, regions.matte, hair, skin, view.cm_per_px)
    if not rim.any():
        return spots
    _, depth = person_and_depth(view, maps, study.coarse, study.wider)
    hidden = hidden_layer(head, maps, study.coarse, regions.share, models.expression.triangles, overlap, covered)
    coarse = surface_gaussians(view, spots, looks, depth)
    hidden = still_hidden(hidden, coarse, view.camera)
    middle = head_mesh(head.landmarks, head.camera).mean(0)
    rim[rim] = covered_when_turned(coarse.means.numpy()[rim], hidden.means, middle, view.camera)
    return fading_last(spots, rim)


def assemble(study: PhotoStudy, models: Models, overlap: bool = False) -> HeadAvatar:
    """The head of a photo that was studied; `overlap` as in `hidden_layer`."""
    head, eyes, basis = study.head, find_lower_lids(study.head), models.expression
    view = render_view(eyes, study.scale, study.box)
    target, regions = _target(study), find_regions(study, view)
    behind = find_behind(study, view, target, regions)

    mesh = head_mesh(head.landmarks, head.camera)
    hair = sample_crop(study.maps.labels[..., HAIR], view.crop_px / 2)
    looks = first_looks(view, target, behind.plate, regions.matte, regions.film, regions.person, regions.clothes)
    covered = over_crop(view, np.where(regions.matte > DRAWN, looks[..., 3], 0))
    spots = _spots(study, models, view, regions, hair, looks, (target, behind.plate), covered, overlap)
    pixels = spots.of(view.crop_px)  # [N, 2] crop px
    mouth_pixels, parting = photo_mouth(head, mesh, pixels), find_parting(head, mesh, view.cm_per_px)
    drawn = np.maximum(regions.matte, regions.film) > DRAWN
    visible = visible_gaussians(view, spots, looks, target, behind.plate, drawn, regions.depth, hair, mouth_pixels)

    mouth = _mouth(study, mesh, mesh - vertex_motion(basis, study.drivers))
    hidden = _hidden_side(study, models, regions.share, covered, visible, view.camera, overlap)
    beyond = beyond_layer(view, looks[..., :3], regions.matte, regions.head_share, regions.depth, basis.triangles)
    if study.veil:
        visible = replace(visible, opacities=as_tensor(_veiled(study.veil, visible.opacities.numpy(), pixels)))
    skin = skin_weights(pixels, eyes.landmarks, basis.triangles, cm_per_px(head.camera))
    stray = np.setdiff1d(np.nonzero(parting.holds(pixels))[0], mouth_pixels)
    lips = lips_behind(head, study.surface, parting, pixels[stray], skin[stray], view.cm_per_px)
    lids, lid_sources = eyelid_layers(head, study.surface)
    eyeballs, hidden = eyeball_layer(eyes, study.surface), join_layers([hidden, lips])
    layers = [beyond, eyeballs, hidden, mouth_points(mouth), *lids]
    rest = join_layers(layers)
    ends = np.cumsum([len(visible), *(len(layer) for layer in layers)]).tolist()
    hidden_at, mouth_at, left_lid, right_lid = (slice(a, b) for a, b in pairwise(ends[2:]))
    skin = turn_irises(cover_white(keep_creases(skin, head), head, eyes), eyes, pixels)
    head_share = np.concatenate([spots.of(regions.head_share), rest.neck]).astype(np.float32)
    places = np.concatenate([pixels, project(rest.means, head.camera)])  # [N, 2] crop px
    picture, plate = _over_background(study, regions.person, behind)
    return HeadAvatar(
        gaussians=with_layer(visible, rest),
        mesh_weights=sparse.vstack([skin, rest.skin], format="csr").astype(np.float32),
        head_share=head_share,
        shows_photo=np.concatenate([np.ones(len(pixels), bool), rest.photo]),
        torso_share=(1 - head_share) * _torso_share(study, regions, places),
        crop_uv=(places / CROP_SIZE).astype(np.float32),
        hidden=hidden_at,
        film=slice(len(pixels) - spots.film, len(pixels)),
        bases=motion_bases(study.grids, edge_distance(view), head),
        mesh=mesh,
        photo_drivers=study.drivers,
        photo_mouth=np.union1d(mouth_pixels, stray),
        lids=(left_lid, right_lid),
        lid_places=project(lid_sources, view.camera).astype(np.float32),
        mouth=mouth_at,
        mouth_layer=mouth,
        camera=view.camera,
        box=study.box,
        plate=plate,
        image=picture,
        torso_share_map=_share_over_picture(study, regions.torso_share),
        angle=head.crop.angle,
        inpainter="lama" if behind.painted else "fast",
    )


def _behind_head(
    study: PhotoStudy, target: Array, hole: Array, person: Array, cm: float
) -> tuple[Painted | None, Array | None]:
    """What LaMa paints behind the head, and the background at the size that is rendered; cm of a pixel there.

    LaMa paints if it is asked for, or is there and worthwhile. Else the background goes on in patches, where smooth
    colours would show and patches show less; else neither is known.
    """
    box = study.box
    varied = is_worthwhile(target, hole, person, cm, box.width / box.render_width)
    if study.inpainter == "lama" or (study.inpainter == "auto" and varied and inpainting.usable()):
        painted = paint_background(_target(study, seen_size(box)), box, hole, person, cm)
        if painted:
            return painted, painted.small
    if study.veil:  # where a photo is transparent its colours are invented
        person = np.maximum(person, 1 - study.veil.of(box))
    return None, patched_background(target, hole, person, cm) if varied else None


def _target(study: PhotoStudy, box: RenderBox | None = None) -> Array:
    """[h, w, 3] float32 0..1: the photo in the render box (at another size, if given), opaque."""
    box = box or study.box
    size = (box.render_width, box.render_height)
    target = resize(box.cut(study.picture), size, reducing_gap=3.0).astype(np.float32) / 255
    return opaque_colors(target, study.veil.of(box)) if study.veil else target


def _veiled(veil: Veil, opacities: Array, places: Array) -> Array:
    """[N] opacities that are as transparent as the photo at places [N, 2] crop px."""
    return veiled_opacity(opacities, sample_crop(veil.inside, places))


def _over_background(study: PhotoStudy, person: Array, behind: Behind) -> tuple[Array, Array]:
    """The picture [H, W, 3] uint8 and the plate at the box's size, over the background of a transparent photo."""
    picture, box, plate, jaw = study.picture, study.box, behind.plate, behind.jaw
    weight = soft_hole(behind.filled) * (1 - jaw)
    if study.veil:
        solid = plate_alpha(study.veil.of(box), behind.filled, person, jaw)[..., None]
        plate = plate * solid + (1 - solid) * np.array(study.veil.color, np.float32) / 255
        weight = weight * solid[..., 0]
        picture = lay_over(Photo(picture, study.veil.alpha), study.veil.color)
    size, bicubic = (box.width, box.height), Image.Resampling.BICUBIC
    touched, fill = (Image.fromarray(np.rint(255 * x.clip(0, 1)).astype(np.uint8)) for x in (behind.hole, plate))
    whole, fill = Image.fromarray(np.ascontiguousarray(box.cut(picture))), fill.resize(size, bicubic)
    if behind.painted:
        fill = Image.fromarray(add_detail(np.asarray(fill), behind.painted, weight))
    return picture, np.asarray(Image.composite(fill, whole, touched.resize(size, bicubic)))


def _torso_share(study: PhotoStudy, regions: Regions, places: Array) -> Array:
    """[N] float32 share of the torso's motion at places [N, 2], crop px."""
    crop, size = study.head.crop, (study.picture.shape[1] / study.scale, study.picture.shape[0] / study.scale)
    held = shares.held_at_edges(crop.to_picture(places), size, cm_per_px(study.head.camera) * crop.scale)
    return (sample_crop(regions.torso_share, places) * held).astype(np.float32)


def _share_over_picture(study: PhotoStudy, torso_share: Array) -> Array:
    """The torso's shares of motion all over the picture, in coarse cells."""
    crop, scale = study.head.crop, study.scale
    whole = replace(crop, left=crop.left * scale, top=crop.top * scale, side=crop.side * scale)
    return shares.over_picture(torso_share, whole, study.picture.shape[1::-1], cm_per_px(study.head.camera))
