"""What is drawn between lips: two rows of teeth, gums, tongue and dark, in the light that lips let in.

How teeth are shaped is anatomy; where they stand to the lips and how light falls on them are medians of people. So it
is nobody's mouth, and as sharp as it is drawn. Upper teeth keep their place on the skull, lower ones to the lower lip.
All places are cm in a mouth of usual width, counted from the middle of the closed lips, y down.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mggdub.compiled import compiled
from mggdub.types import LUMA, Array

SOFT = 0.03  # cm, width of an edge


class Row(NamedTuple):
    """Six teeth from the middle to either side; cm."""

    widths: tuple[float, ...]  # as seen from the front
    shorter: tuple[float, ...]  # than the first ones
    tips: tuple[float, ...]  # how far they are pointed
    corners: float  # how far they are round
    level: float  # where the first ones usually end: upper teeth, from the closed lips; lower ones, from the lower lip
    rise: float  # per cm² towards the sides


UPPER = Row(
    (0.84, 0.64, 0.60, 0.50, 0.42, 0.36),
    (0.0, 0.05, 0.0, 0.03, 0.05, 0.07),
    (0.0, 0.0, 0.1, 0.0, 0.0, 0.0),
    corners=0.09,
    level=0.28,
    rise=0.03,
)
LOWER = Row(
    (0.52, 0.56, 0.60, 0.50, 0.42, 0.36),
    (0.0, 0.0, -0.04, 0.02, 0.04, 0.06),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    corners=0.05,
    level=-0.2,
    rise=0.03,
)
CROWN, SCALLOP = 1.0, 0.18  # cm of an upper tooth, and how much higher gums stand in its middle
BETWEEN, THIN = 0.2, 0.04  # darkness between two teeth, and cm from its middle to where it is much less
# Colours, of the luma of front teeth in full light.
GUMS, DARK, TONGUE = (0.80, 0.50, 0.48), (0.21, 0.09, 0.09), (0.95, 0.56, 0.55)
LOWER_LIGHT = 0.85  # of lower teeth
TONGUE_HEIGHT, TONGUE_TOP = 0.7, 0.4  # cm, above the lower teeth in an open mouth, and its highest place
SIDES = (0.6, 1.9, 0.7)  # cm from where and over how far upper teeth darken towards the cheeks, and how much
BACK = (0.5, 1.5, 0.8)  # the same of lower ones
LIP_SHADOW, LIP_REACH = (0.72, 0.28), (0.38, 0.13)  # how dark the upper lip's shadow is, and cm: of lips that hardly
SHADOW_ENDS = 0.9  # part, and of those that are so many cm open
HARDLY, WIDE = 0.58, 1.5  # light in a mouth that hardly opens; cm of opening that let in all
CORNER, NARROW = 0.45, 0.55  # light where lips meet, and the share of the opening from which on there is all
REDDER = (0.92, 1.03, 1.05)  # exponents of that light: lips colour it
SHOULDER, WHITEST = 0.65, 0.93  # of a colour's range, where highlights begin to be compressed, and their end
FADES = 0.04  # cm within the lips' edges, where all is seen; nothing is at them, which splats reach beyond
DRAWN = 0.09  # cm beyond the lips' edges, as far as is drawn
STEPS = 64  # along a lip, of which the levels are known
SKIN_LIGHT, SKIN_OFFSET = 0.55, 0.0  # exponent of skin's luma, and logarithm, that front teeth have
SKIN_TINT, TINT = 0.55, (0.03, -0.02, -0.03)  # share of the skin's tint, and logarithms of their own


f4 = np.float32
_fast: dict[str, Any] = {
    "boundscheck": False,
    "fastmath": {"contract", "arcp", "nsz", "reassoc"},
    "error_model": "numpy",
}
_kernel: Any = compiled(**_fast)
_inner: Any = compiled(**_fast, forceinline=True)  # else who was compiled first decides how sums are rounded


def tooth_tone(skin: Array) -> Array:
    """[3] sRGB of front teeth in full light beside lit skin [3] sRGB 0..1."""
    luma = np.array(LUMA)
    level = skin @ luma + 0.02
    colour = np.exp(SKIN_TINT * np.log((skin + 0.02) / level) + TINT)
    return np.asarray(colour / (colour @ luma) * level**SKIN_LIGHT * np.exp(SKIN_OFFSET), np.float32)


@_inner
def _smooth(x):
    x = min(max(x, f4(0)), f4(1))
    return x * x * (f4(3) - f4(2) * x)


@_inner
def _fall(x):
    """Nearly exp(-x) of what is not negative, in a fraction of the time."""
    y = max(f4(1) - f4(0.125) * x, f4(0))
    y *= y
    y *= y
    return y * y


@_inner
def opening_light(opening):
    """Of full light, what reaches teeth in a mouth of usual width that is so many cm open."""
    return f4(HARDLY) + f4(1 - HARDLY) * _smooth(f4(opening) / f4(WIDE))


@_inner
def on_film(color):
    """A colour 0..1 whose highlights keep their shading: above SHOULDER they are compressed."""
    over, room = color - f4(SHOULDER), f4(WHITEST - SHOULDER)
    return color if over <= 0 else color + room * (f4(1) - np.exp(-over / room)) - over


@_kernel
def draw_inside(at, lips, opening, low, levels, tone):
    """[N, 3] sRGB of the places at [N, 2], as a film shows them; all float32.

    lips [N, 2] are the levels of the upper and the lower lip above and below each place, opening is how far the mouth
    is open, low the level of the lower lip's middle, levels where the first upper and lower teeth end: from the closed
    lips, from the lower lip; tone [3] of `tooth_tone`.
    """
    out, light = np.empty((len(at), 3), f4), mouth_light(opening)
    for k in range(len(at)):
        color = inside_color(at[k, 0], at[k, 1], lips[k, 0], lips[k, 1], light, f4(low), levels, tone)
        out[k, 0], out[k, 1], out[k, 2] = on_film(color[0]), on_film(color[1]), on_film(color[2])
    return out


@_inner
def mouth_light(opening):
    """What `inside_color` needs to know of a mouth that is so far open.

    Its light, how narrow it is in a corner, how dark the upper lip's shadow is, and one over its cm.
    """
    wide = _smooth(f4(opening) * f4(1 / SHADOW_ENDS))
    dark = f4(LIP_SHADOW[0]) + f4(LIP_SHADOW[1] - LIP_SHADOW[0]) * wide
    reach = f4(LIP_REACH[0]) + f4(LIP_REACH[1] - LIP_REACH[0]) * wide
    return opening_light(opening), max(f4(NARROW) * f4(opening), f4(0.12)), dark, f4(1) / reach


@_inner
def inside_color(x, y, upper, lower, light, low, levels, tone):
    """Red, green and blue of one place; `light` of `mouth_light`, otherwise as for `draw_inside`."""
    aside = abs(x)
    ends = low + f4(levels[1])  # lower teeth
    tongue, tongue_light = _tongue(aside, y, low, ends)
    below, below_light = _lower_tooth(aside, y, ends)
    above, gums, above_light, gums_light = _upper_tooth(aside, y, f4(levels[0]))
    here = light[0] * _between_lips(y, upper, lower, light[1:])
    redder = (here - f4(1)) / np.sqrt(here)  # nearly its logarithm
    luma = f4(LUMA[0]) * tone[0] + f4(LUMA[1]) * tone[1] + f4(LUMA[2]) * tone[2]
    lit = (tongue, tongue_light, below, below_light, above, gums, above_light, gums_light)
    red = here + here * f4(REDDER[0] - 1) * redder
    green = here + here * f4(REDDER[1] - 1) * redder
    blue = here + here * f4(REDDER[2] - 1) * redder
    return _mixed(0, lit, luma, tone) * red, _mixed(1, lit, luma, tone) * green, _mixed(2, lit, luma, tone) * blue


@_inner
def _mixed(c, lit, luma, tone):
    """One channel of what lies in a mouth, of how much each part covers and its light."""
    tongue, tongue_light, below, below_light, above, gums, above_light, gums_light = lit
    colour = luma * (f4(DARK[c]) + (f4(TONGUE[c]) * tongue_light - f4(DARK[c])) * tongue)
    colour += (tone[c] * below_light - colour) * below
    tooth = tone[c] * above_light
    tooth += (f4(GUMS[c]) * luma * gums_light - tooth) * gums
    return colour + (tooth - colour) * above


@_inner
def _tooth(aside, row):
    """Of a place so far aside: -1..1 across its tooth, cm that the row is shorter there, its light."""
    tooth, end = 0, f4(row.widths[0])
    while aside > end and tooth < 5:
        tooth += 1
        end += f4(row.widths[tooth])
    width = f4(row.widths[tooth])
    across = min(max(f4(1) - (end - aside) / width * f4(2), f4(-1.1)), f4(1.1))
    out = abs(across)
    less = f4(row.rise) * aside * aside + f4(row.shorter[tooth]) + f4(row.tips[tooth]) * out
    beside = (f4(1) - out) * width * f4(0.5 / THIN)
    light = (f4(1) - f4(0.1) * out * out) * (f4(1) - f4(BETWEEN) * _fall(beside * beside))
    return across, less + f4(row.corners) * out**5, light


@_inner
def _upper_tooth(aside, y, level):
    """What a tooth covers of a place, what gums cover of the tooth, light of both."""
    across, less, light = _tooth(aside, UPPER)
    end = level - less
    top = level - f4(CROWN) - f4(UPPER.rise) * aside * aside + f4(SCALLOP) * across * across
    along = (y - top) / (end - top)
    middle = (along - f4(0.55)) / f4(0.35)
    light *= (f4(0.88) + f4(0.12) * _fall(middle * middle)) * (f4(1) - f4(0.1) * _smooth(f4(5) * along - f4(4)))
    depth = _darker(aside, SIDES)
    gums = _smooth((top - y) / f4(2 * SOFT) + f4(0.5))
    return _smooth((end - y) / f4(SOFT) + f4(0.5)), gums, light * depth, depth


@_inner
def _lower_tooth(aside, y, ends):
    """What a tooth covers of a place, and its light."""
    _, less, light = _tooth(aside, LOWER)
    cover = _smooth((y - ends - less) / f4(SOFT) + f4(0.5))
    return cover, f4(LOWER_LIGHT) * light * _darker(aside, BACK)


@_inner
def _tongue(aside, y, low, ends):
    """What the tongue covers of a place, and its light."""
    raised = f4(TONGUE_HEIGHT) * min(max(low - f4(0.25), f4(0)), f4(1))
    top = max(ends - raised, f4(TONGUE_TOP)) + f4(0.1) * aside * aside
    furrow = aside / f4(0.12)
    light = (f4(0.5) + f4(0.5) * _smooth((y - top) / f4(0.55))) * (f4(1) - f4(0.1) * _fall(furrow * furrow))
    cover = _smooth((y - top) / f4(0.25)) * _smooth(f4(1.6) - aside / f4(1.3))
    return cover, light * (f4(1) - f4(0.5) * _smooth((aside - f4(0.4)) / f4(1.4)))


@_inner
def _between_lips(y, upper, lower, given):
    """What lips leave of the light that the opening lets in; `given` is the rest of `mouth_light`."""
    narrow, dark, reach = given
    shadow = f4(1) - dark * _fall(max(y - upper, f4(0)) * reach)
    near = f4(1) - f4(0.15) * _fall(max(lower - y, f4(0)) * f4(1 / 0.08))
    return shadow * near * (f4(CORNER) + f4(1 - CORNER) * _smooth(max(lower - upper, f4(0)) / narrow))


@_inner
def _darker(aside, fall):
    return f4(1) - f4(fall[2]) * _smooth((aside - f4(fall[0])) / f4(fall[1]))


@_inner
def _row(coefficients, y, line):
    """Fill line [2, 4]: polynomials [2, 10] of one row, in x alone."""
    for k in range(2):
        c = coefficients[k]
        line[k, 0], line[k, 1] = c[0] + y * (c[2] + y * (c[5] + y * c[9])), c[1] + y * (c[4] + y * c[8])
        line[k, 2], line[k, 3] = c[3] + y * c[7], c[6]


@_inner
def _at(line, x):
    """A polynomial's value."""
    return line[0] + x * (line[1] + x * (line[2] + x * line[3]))


@_inner
def _levels(lips):
    """[2, STEPS + 1] float32: levels of lips [2, 11, 2] from their left to their right end."""
    found, first = np.empty((2, STEPS + 1), f4), lips[0, 0, 0]
    for lip in range(2):
        k = 1
        for n in range(STEPS + 1):
            across = first + (lips[0, -1, 0] - first) * n / STEPS
            while k < lips.shape[1] - 1 and lips[lip, k, 0] < across:
                k += 1
            t = (across - lips[lip, k - 1, 0]) / max(lips[lip, k, 0] - lips[lip, k - 1, 0], 1e-4)
            found[lip, n] = lips[lip, k - 1, 1] + (lips[lip, k, 1] - lips[lip, k - 1, 1]) * min(max(t, 0.0), 1.0)
    return found


@_inner
def _level(levels, share):
    """Of a lip whose levels are [STEPS + 1], at a share 0..1 of its way; its ends go on."""
    at = min(max(share * f4(STEPS), f4(0)), f4(STEPS - 1e-3))
    before = np.int32(at)
    return levels[before] + (levels[before + 1] - levels[before]) * (at - f4(before))


@_inner
def _mouth_frame(lips):
    """Room for a row's polynomials, levels of lips [2, 11, 2], their left end and how wide they are."""
    return np.empty((2, 4), f4), _levels(lips), lips[0, 0, 0], lips[0, -1, 0] - lips[0, 0, 0]


@_inner
def _place(frame, x):
    """Right and down, cm, of the place at x of a row, and the levels of the upper and the lower lip there."""
    line, levels, left, width = frame
    across, down = _at(line[0], x), _at(line[1], x)
    along = (across - left) / width
    return across, down, _level(levels[0], along), _level(levels[1], along)


@_kernel
def find_places(coefficients, centre, unit, first, step, lips, places):
    """Fill places [R, C, 3]: where cells lie, cm, and how far on the way from the upper to the lower lip."""
    frame = _mouth_frame(lips)
    for i in range(places.shape[0]):
        _row(coefficients, (first[1] + (i + 0.5) * step - centre[1]) / unit, frame[0])
        for j in range(places.shape[1]):
            across, down, upper, lower = _place(frame, f4((first[0] + (j + 0.5) * step - centre[0]) / unit))
            places[i, j, 0], places[i, j, 1] = across, down
            places[i, j, 2] = (down - upper) / max(lower - upper, f4(0.02))


@_kernel
def draw_cells(coefficients, centre, unit, first, step, lips, size, open_by, low, levels, tone, own, share, finer, out):
    """Add to out [R, C, 4] the means of `finer` squared places in each cell: colours as a film shows them, and how far
    they lie within lips [2, 11, 2]: 0 at their edges, 1 FADES within them.

    own [R F, C F, 4], or nothing: the photo's own mouth and where it is seen, of which there is a share.
    """
    one, light, frame = f4(1), mouth_light(open_by), _mouth_frame(lips)
    left, width = frame[2:]
    each, unsized = f4(1 / finer**2), one / size
    for i in range(out.shape[0] * finer):
        _row(coefficients, (first[1] + (i + 0.5) * step - centre[1]) / unit, frame[0])
        for j in range(out.shape[1] * finer):
            across, down, upper, lower = _place(frame, f4((first[0] + (j + 0.5) * step - centre[0]) / unit))
            beyond = max(max(upper - down, down - lower), max(left - across, across - left - width))
            if beyond > f4(DRAWN):
                continue
            cell = out[i // finer, j // finer]
            cell[3] += each * min(max(-beyond * f4(1 / FADES), f4(0)), one)
            place = across * unsized, down * unsized
            given = light, f4(low), levels, tone
            found = inside_color(*place, upper * unsized, lower * unsized, *given)
            for c in range(3):
                color = on_film(found[c])
                if own.shape[0]:
                    color += share * own[i, j, 3] * (own[i, j, c] - color)
                cell[c] += each * color
