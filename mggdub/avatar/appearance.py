"""How well a face shows in its portrait: light, sharpness, pose, and what covers it. Nothing here runs a network.

`measure_face` reads numbers off the portrait and the maps that every avatar needs anyway; `warnings` turns them into
sentences. `mggdub inspect` prints all of them, `mggdub render` makes one line of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from mggdub import srgb
from mggdub.face.mesh import IRISES, OVAL, canonical_face, ring_mask
from mggdub.face.portrait import SMALLEST_FACE
from mggdub.geometry.camera import RIGID, face_height
from mggdub.geometry.rotation import matrix_to_euler
from mggdub.metrics.landmarks import eye_openness, lip_aperture
from mggdub.metrics.pixels import sharpness
from mggdub.types import HAIR, Array, GeometryMaps, Portrait

# Landmarks in patches of one colour; left is the person's own. The first six stay free under a mask.
PATCHES = {
    "forehead": (151, 9, 108, 337),
    "brows": (9, 8, 107, 336),
    "bridge": (168, 6, 197, 193, 417),
    "left lid": (347, 330, 348),
    "right lid": (118, 101, 119),
    "nose": (5, 4, 1, 45, 275),
    "left cheek": (280, 425, 411, 427),
    "right cheek": (50, 205, 187, 207),
    "lower left cheek": (411, 427, 434),
    "lower right cheek": (187, 207, 214),
    "upper lip": (164, 167, 393),
    "lips": (0, 37, 267, 17, 84, 314),
    "chin": (199, 200, 18, 175),
    "left jaw": (365, 379, 394, 430, 434),
    "right jaw": (136, 150, 169, 210, 214),
}
UPPER_SKIN = ("forehead", "brows", "bridge", "left lid", "right lid")  # the median of these is the face's skin ...
LOWER_SKIN = ("forehead", "nose", "left cheek", "right cheek", "chin")  # ... and of these, where the eyes are covered
# What a mask may cover, and the patches of which one tells.
BELOW = {
    "nose": ("nose",),
    "mouth": ("lips",),
    "left cheek": ("left cheek", "lower left cheek"),
    "right cheek": ("right cheek", "lower right cheek"),
    "chin": ("chin",),
}
JAWS = {"left cheek": ("left jaw",), "right cheek": ("right jaw",), "chin": ("left jaw", "right jaw")}
AROUND_LIPS = ("upper lip", "lips", "chin")
SIDES = (("left lid", "right lid"), ("left cheek", "right cheek"), ("left jaw", "right jaw"))
LIP_LINES = ((164, 18), (167, 83), (393, 313))  # from above the lips to below them
EYES = ((33, 133), (362, 263))  # corners
SMALL = 2 * SMALLEST_FACE  # px
SOFT, BLURRED = 5.0, 1.0  # sharpness; 164 sharp portraits have 13 and more, one blurred by 1 px has 2
OPEN_MOUTH = 0.03  # of the outer-eye distance: about 3 mm
CLOSED_EYE = 0.15  # height over width; open eyes have 0.26 and more
STRETCHED = 1.22  # of some 960 faces of photos and clips two have more; of 82 that were stretched by half, all
TURNED = 20.0  # degrees of yaw or pitch from which the far side suffers
HAIRY = 0.1  # of the face's outline; of 164 portraits the only one above has a fringe down to the brows
DARK = 50.0  # median luma; 164 portraits of people of every colour have 69 and more
FLAT = 45.0  # luma from the 5th to the 95th percentile; the same portraits have 55 and more
USUAL_CONTRAST = 80.0
HALF_LIT, SHADOW = 2.5, 0.05  # log2 of the light of one side over the other's; linear light of the darker one
WHITE, GLARING = 252, 0.25  # values from which two channels are burnt out; share of the face where they are
NOISY = 4.0  # luma, standard deviation; the same portraits have less than 2
FAINT_LIGHT = 0.004  # linear; added before a logarithm, or the rounding of dark pixels would count
# In log2 of light. Lips and eyes have a relief of 0.4 and 0.8 and more in the same portraits, masks and dark glasses
# of less than 0.1; patches of uncovered skin differ by up to 0.6 in colour, and by less in one person's lower face.
NO_LIPS, NO_EYES = 0.12, 0.2
ODD = {"forehead": 1.0, "left cheek": 0.75, "right cheek": 0.75, "chin": 0.75}  # colour; hair may edge the forehead
OTHER = 0.45  # of all patches around the mouth at once
ALIKE = 0.3  # colour of lips and what is around them, under one cloth
BEARD_DARKER, BEARD_VARIES = 0.7, 2.0
BRIGHTER, HAIR_BRIGHTER = 1.0, 1.5  # or darker than skin: another thing
# log2 of light. Of 456 faces, 155 of them in grey, too, the skin of all but two has 0.24 more red than blue, and the
# darker iris is 0.34 and more darker than skin; of 227 negatives 222 have less red and brighter irises.
NO_RED, BRIGHT_EYES, PUPIL = 0.2, 0.1, 0.6  # the last: of an iris, what is looked at
LINEAR = srgb.light_of(np.arange(256) / 255).astype(np.float32)  # light of a picture's values


@dataclass(frozen=True)
class Appearance:
    """One face as its portrait shows it."""

    height: float  # px of the photo, hairline to chin
    pitch: float  # degrees, down
    yaw: float  # to the viewer's right
    roll: float  # clockwise as the viewer sees it
    sharpness: float  # variance of the Laplacian in the portrait of 512 px, brought to a usual contrast
    mouth: str  # open, closed
    eyes: str
    stretch: float  # how much longer a length is one way than across, of a usual head; 1 and more
    brightness: float  # median luma of its skin, 0..255
    contrast: float  # luma between the 5th and the 95th percentile
    uneven_light: float  # log2 of the light of one side over the other's, never negative
    shadow: float  # linear light of the darker side, 0..1
    glare: float  # share of the face that is white
    noise: float  # luma, standard deviation
    hair: float  # share of hair that the geometry network sees inside the outline of the landmarks
    odd_color: float  # log2 units that forehead, a cheek or the chin differs from the face's skin in colour, at most
    covered: tuple[str, ...]  # forehead, eyes, nose, mouth, left cheek, right cheek, chin
    negative: bool  # colours and light are the wrong way round

    @property
    def dark(self) -> bool:
        """Too dark to tell much more."""
        return self.brightness < DARK

    @property
    def half_lit(self) -> bool:
        """One side lies in shadow."""
        return self.uneven_light > HALF_LIT and self.shadow < SHADOW


def measure_face(head: Portrait, maps: GeometryMaps) -> Appearance:
    """What is measured of a face; takes some 20 ms."""
    marks = head.landmarks[:, :2]
    low, high = np.clip([marks.min(0), np.maximum(marks.max(0), marks.min(0) + 8)], 0, head.crop.size).astype(int)
    face = head.image[low[1] : high[1], low[0] : high[0]]
    inside = ring_mask(marks - low, OVAL, face.shape[:2])
    luma = Image.fromarray(face).convert("L")
    levels = np.bincount(np.asarray(luma)[inside], minlength=256).cumsum() / max(1, int(inside.sum()))
    dim, median, bright = (int(np.searchsorted(levels, share)) for share in (0.05, 0.5, 0.95))
    patches = _patches(head)
    sides = np.array([[2 ** patches[name].mean() for name in pair] for pair in SIDES])  # [3, 2]
    uneven = abs(float(np.median(np.log2(sides[:, 0] / sides[:, 1]))))
    shadow = float(np.median(sides.min(1))) - FAINT_LIGHT
    glare = float(((face[inside] >= WHITE).sum(1) >= 2).mean()) if inside.any() else 0.0
    half_lit = uneven > HALF_LIT and shadow < SHADOW
    reliefs = _reliefs(np.asarray(luma.filter(ImageFilter.GaussianBlur(2))), marks - low)
    hidden = [r < least * min(1.0, (bright - dim) / 60) for r, least in zip(reliefs, (NO_LIPS, NO_EYES), strict=True)]
    odd, covered = _cover(patches, hidden[0], hidden[1], half_lit)
    pitch, yaw, roll = (float(angle) for angle in matrix_to_euler(head.camera.viewmat[:3, :3]))
    return Appearance(
        height=face_height(head.landmarks) / head.crop.scale,
        pitch=pitch,
        yaw=yaw,
        roll=roll,
        sharpness=sharpness(face) * (USUAL_CONTRAST / max(bright - dim, 1) if bright - dim < FLAT else 1.0) ** 2,
        mouth="open" if float(lip_aperture(marks[None])[0]) > OPEN_MOUTH else "closed",
        eyes="open" if eye_openness(marks) > CLOSED_EYE else "closed",
        stretch=_stretch(head.landmarks),
        brightness=max(float(median), _upper_luma(patches)),
        contrast=float(bright - dim),
        uneven_light=uneven,
        shadow=shadow,
        glare=glare,
        noise=_noise(np.asarray(luma, np.int16), inside),
        hair=_hair(head, maps, patches),
        odd_color=odd,
        covered=() if glare > GLARING else covered,
        negative=_negative(head, patches),
    )


def warnings(face: Appearance) -> tuple[str, ...]:
    """What to expect of a video of this face, one sentence each, the gravest first.

    What bad light explains is put down to it: in the dark everything looks blurred and like hair.
    """
    light = face.dark or face.half_lit or face.glare > GLARING
    masked = "mouth" in face.covered
    what = "A mask or something like it" if {"mouth", "chin"} <= set(face.covered) else "Something"
    flat = face.contrast < FLAT and not (light or masked)
    noisy = face.noise > NOISY
    if face.negative:  # nothing else is what it looks like
        return ("The picture seems to be a negative; use the photo made of it, with its colours inverted.",)
    sentences = {
        "The picture seems to be stretched; use it in its own proportions.": face.stretch > STRETCHED,
        "The face is dark; use a picture with more light on it.": face.dark,
        "One side of the face lies in shadow and will stay dark; use a picture with even light.": (
            face.half_lit and not face.dark
        ),
        "The face is overexposed and has lost its shades; use a darker picture.": face.glare > GLARING,
        "The face has little contrast, and the video will be pale.": flat,
        f"{what} seems to cover the {listed(face.covered)}; it will move with the skin.": bool(face.covered),
        "Hair seems to lie over the face; it will move with the skin.": face.hair > HAIRY and not light,
        f"The face is small ({face.height:.0f} px high); a larger picture gives a sharper video.": face.height < SMALL,
        "The face is blurred; use a sharper picture.": face.sharpness < BLURRED and not (face.dark or noisy),
        "The face is a little soft, and the video will be.": (
            BLURRED <= face.sharpness < SOFT and not (light or flat or noisy or masked)
        ),
        "The picture is noisy, and the video will be; use one with more light.": noisy,
        f"The head is turned ({face.yaw:.0f} degrees); its far side is guessed.": abs(face.yaw) > TURNED,
        f"The head is tilted ({face.pitch:.0f} degrees); one more from the front works better.": (
            abs(face.pitch) > TURNED
        ),
        "The eyes are closed and will stay so; use a picture with open eyes.": (
            face.eyes == "closed" and "eyes" not in face.covered
        ),
    }
    return tuple(sentence for sentence, applies in sentences.items() if applies)


def listed(parts: tuple[str, ...]) -> str:
    """`mouth`, `mouth and chin`, `nose, cheeks and chin`."""
    names = list(parts)
    if {"left cheek", "right cheek"} <= set(names):
        at = names.index("left cheek")
        names = [*names[:at], "cheeks", *(name for name in names[at:] if not name.endswith("cheek"))]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _stretch(landmarks: Array) -> float:
    """How much more a view [L, 3] px of a head is drawn out one way than across it: 1 for one from afar.

    The rows of an affine camera that sees the canonical face so would be equally long, and square to each other.
    """
    points = canonical_face()[0][list(RIGID)]
    seen = landmarks[list(RIGID), :2]
    camera = np.linalg.lstsq(points - points.mean(0), seen - seen.mean(0), rcond=None)[0]  # [3, 2]
    longer, shorter = np.linalg.svd(camera, compute_uv=False)
    return float(longer / max(shorter, 1e-6))


def _patches(head: Portrait) -> dict[str, Array]:
    """log2 of the linear light [3] of every patch."""
    smooth = np.asarray(Image.fromarray(head.image).filter(ImageFilter.BoxBlur(3)))
    colors = {}
    for name, patch in PATCHES.items():
        at = np.clip(head.landmarks[list(patch), :2], 0, head.crop.size - 1).astype(int)
        colors[name] = np.median(np.log2(LINEAR[smooth[at[:, 1], at[:, 0]]] + FAINT_LIGHT), 0)
    return colors


def _negative(head: Portrait, patches: dict[str, Array]) -> bool:
    """Whether skin has no red in it and both irises are brighter than it: a photo's negative."""
    skin, eyes = np.median([patches[name] for name in UPPER_SKIN], 0), []
    rows, columns = np.mgrid[: head.crop.size, : head.crop.size] + 0.5
    for middle, *rim in IRISES:
        x, y = head.landmarks[middle, :2]
        radius = float(np.linalg.norm(head.landmarks[rim, :2] - (x, y), axis=1).mean())
        iris = head.image[(columns - x) ** 2 + (rows - y) ** 2 < max(1.5, PUPIL * radius) ** 2]  # [N, 3]
        eyes.append(np.log2(LINEAR[iris] + FAINT_LIGHT).mean() if len(iris) else skin.mean())
    return bool(skin[0] - skin[2] < NO_RED and min(eyes) - skin.mean() > BRIGHT_EYES)


def _upper_luma(skin: dict[str, Array]) -> float:
    """0..255: what the upper face is like, since a black mask makes no dark photo."""
    light = max(0.0, 2 ** float(np.median([skin[name] for name in UPPER_SKIN])) - FAINT_LIGHT)
    return float(255 * srgb.values_of(np.array(light)))


def _noise(luma: Array, inside: Array) -> float:
    """Standard deviation of what changes from pixel to pixel (Immerkaer 1996, by the median instead of the mean)."""
    rows = luma[:-2] - 2 * luma[1:-1] + luma[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    within = inside[1:-1, 1:-1]
    return float(1.4826 * np.median(np.abs(both[within])) / 6) if within.any() else 0.0


def _reliefs(luma: Array, marks: Array) -> tuple[float, float]:
    """How far lips and eyes stand out of a smooth picture [h, w] uint8, log2 units: what lies over them hides them."""
    log, end = np.log2(np.arange(256) + 8.0)[luma], np.array(luma.shape[::-1]) - 1

    def between(a: Array, b: Array, count: int) -> Array:
        at = np.clip(a + np.linspace(0, 1, count)[:, None] * (b - a), 0, end).astype(int)
        return log[at[:, 1], at[:, 0]]

    line = np.mean([between(marks[a], marks[b], 40) for a, b in LIP_LINES], 0)
    place = np.arange(len(line))
    lips = float(np.ptp(line - np.polyval(np.polyfit(place, line, 1), place)))
    eyes = []
    for a, b in EYES:
        reach = float(np.linalg.norm(marks[a] - marks[b])) * np.array([0.5, 0.3])
        low, high = np.clip([(marks[a] + marks[b]) / 2 + way * reach for way in (-1, 1)], 0, end).astype(int)
        dim, bright = np.percentile(log[low[1] : high[1] + 1, low[0] : high[0] + 1], [5, 95])
        eyes.append(float(bright - dim))
    return lips, max(eyes)


def _cover(patches: dict[str, Array], no_lips: bool, no_eyes: bool, half_lit: bool) -> tuple[float, tuple[str, ...]]:
    """How much the oddest patch differs in colour from the face's skin, and what seems to be covered."""
    skin = np.median([patches[name] for name in (LOWER_SKIN if no_eyes and not no_lips else UPPER_SKIN)], 0)
    odd = {name: _apart(color, skin) for name, color in patches.items()}
    for cheek, lid in (("left cheek", "left lid"), ("right cheek", "right lid")):
        odd[cheek] = min(odd[cheek], _apart(patches[cheek], patches[lid]))  # or else that side has light of its own
    over = [name for name, limit in ODD.items() if odd[name] > limit and not half_lit]
    over = [name for name in over if not _bearded(name, patches, skin)]
    parts = ["eyes"] if no_eyes else []
    lips = patches["lips"]
    one_cloth = all(odd[name] > OTHER and _alike(patches[name], lips, odd[name]) for name in AROUND_LIPS)
    beyond_beard = odd["nose"] > OTHER or min(odd["left cheek"], odd["right cheek"]) > OTHER
    if no_lips or (one_cloth and beyond_beard):
        same = {name for name, patch in patches.items() if name == "lips" or _same_cover(patch, lips, skin)}
        below = [part for part, names in BELOW.items() if same & set(names)]
        parts = [*parts, *below]
    else:
        parts = [*over[: over.count("forehead")], *parts, *(name for name in over if name != "forehead")]
    return max(odd[name] for name in ODD), tuple(parts)


def _apart(a: Array, b: Array) -> float:
    """log2 units between two colours, whatever their brightness."""
    return float(np.hypot((a[0] - a[1]) - (b[0] - b[1]), (a[2] - a[1]) - (b[2] - b[1])))


def _bearded(name: str, patches: dict[str, Array], skin: Array) -> bool:
    """Whether a patch is like the jaw beside it and darker than skin."""
    beside = [patches[jaw] for jaw in JAWS.get(name, ()) if (patches[jaw] - skin).mean() < -BEARD_DARKER]
    darker = float((patches[name] - skin).mean()) < -BEARD_DARKER
    return darker and any(np.linalg.norm(patches[name] - jaw) < BEARD_VARIES for jaw in beside)


def _alike(patch: Array, cloth: Array, odd: float) -> bool:
    """Whether two patches have the colour of one cloth, where the first is `odd` from skin."""
    return _apart(patch, cloth) < max(ALIKE, ALIKE * odd)


def _same_cover(patch: Array, cloth: Array, skin: Array) -> bool:
    """Whether a patch looks like what covers the mouth and not like skin."""
    other = _apart(patch, skin) > ALIKE or abs(float((patch - skin).mean())) > BRIGHTER
    return other and float(np.linalg.norm(patch - cloth)) < float(np.linalg.norm(patch - skin))


def _hair(head: Portrait, maps: GeometryMaps, patches: dict[str, Array]) -> float:
    """Share of the face that the network takes for hair and that does not look like its skin."""
    size = maps.labels.shape[0]
    inside = ring_mask(head.landmarks * (size / head.crop.size), OVAL, (size, size))
    picture = np.asarray(Image.fromarray(head.image).resize((size, size), Image.Resampling.BOX))
    hair = picture[inside][maps.labels[inside].argmax(-1) == HAIR]  # [N, 3]
    apart = np.log2(LINEAR[hair] + FAINT_LIGHT) - np.median([patches[name] for name in UPPER_SKIN], 0)
    colour = np.hypot(apart[:, 0] - apart[:, 1], apart[:, 2] - apart[:, 1])
    other = (np.abs(apart.mean(1)) > HAIR_BRIGHTER) | (colour > OTHER)
    return float(other.sum() / max(1, int(inside.sum())))
