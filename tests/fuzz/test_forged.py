"""Avatar files with a right digest that somebody has forged: refused in one sentence, or frames come of them.

For thousands: python tests/fuzz/test_forged.py, which lets the kernels check every index.
"""

import argparse
import copy
import faulthandler
import os
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before numba is imported; what is compiled so must not be taken for the usual
    os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"mggdub-bounds-{os.getuid()}")
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # for `forging`

import numpy as np
import pytest
import torch
from forging import About, Tensors, as_stream, packed, read_parts, shapes_of, write_parts

from mggdub.animation import animate
from mggdub.avatar import build, file
from mggdub.avatar.bounds import TENSORS
from mggdub.avatar.file import load_avatar
from mggdub.avatar.values import HeadAvatar
from mggdub.checks import FrameStats
from mggdub.errors import InputError
from mggdub.media.image import read_image
from mggdub.models import Models, load_models
from mggdub.options import RenderOptions
from mggdub.types import ExpressionTrack

ROOT = Path(__file__).resolve().parents[2]
HANG = 120  # s, after which a single file counts as a hang and ends the process
LONGEST = 500  # characters of a sentence, the path's own left out
ESCAPES = "\x1b[31mred\x1b[0m\x07\r\n\u2028\u202edrawkcab" + "x" * 5000
REALS = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 3.4e38, 1e-38, 0.0, -1.0, 1.0, 2.0, 1000.0, -0.001)
WHOLES = (-(2**31), 2**31 - 1, -1, 0, 1, 2, 477, 478, 255, 1_000_000)
DTYPES = (torch.float64, torch.float16, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.float32,
          torch.uint16, torch.complex64)  # fmt: skip
BOMB = 64 << 20  # bytes
JSONS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 63, 64, 65, 5000, 2**31, 2**63, 10**400, -(10**30), 0.5, 1e308, float("nan"),
    float("inf"), "", "0", "Path", "array", ESCAPES, {}, [], [[]], {"is": "array"}, {"is": "tensor"}, {"is": "csr"},
    {"is": "slice", "of": [0, 1, 1]}, {"is": "slice", "of": [0, 1]}, {"is": "csr", "of": [5, "5"]},
    {"is": "tuple", "of": []}, {"is": "Gaussians", "of": {}}, {"is": ["array"]}, {"is": ESCAPES, "of": ESCAPES},
)  # fmt: skip
Forgery = Callable[[np.random.Generator, Tensors, About], None]


# --- forgeries -------------------------------------------------------------------------------------------------------


def one_of(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def some_values(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """A few numbers of a tensor."""
    tensor = tensors[one_of(rng, sorted(tensors))].reshape(-1)
    value = one_of(rng, REALS if tensor.is_floating_point() else WHOLES)
    if len(tensor):
        places = torch.from_numpy(rng.integers(0, len(tensor), int(rng.integers(1, 50))))
        tensor[places] = torch.tensor(value).to(tensor.dtype)


def all_values(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Every number of a tensor."""
    name = one_of(rng, sorted(tensors))
    old = tensors[name]
    value = one_of(rng, REALS if old.is_floating_point() else WHOLES)
    scaled = (old.double() * float(one_of(rng, (-1, 0.5, 2, 10, 1000, 1e20)))).to(old.dtype)
    mixed = old.reshape(-1)[torch.from_numpy(rng.permutation(old.numel()))].reshape(old.shape)
    full = torch.tensor(value).to(old.dtype).expand(old.shape)
    tensors[name] = one_of(rng, (full, scaled, mixed, old.flip(0) if old.ndim else old)).contiguous()


def another_type(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    name = one_of(rng, sorted(tensors))
    tensors[name] = tensors[name].to(one_of(rng, DTYPES))


def another_shape(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    name = one_of(rng, sorted(tensors))
    old = tensors[name]
    axis = int(rng.integers(max(old.ndim, 1)))
    size = old.shape[axis] if old.ndim else 0
    rows = [int(n) for n in (0, 1, 2, size - 1, size // 2) if 0 <= n <= size]
    shapes = [old[None], old.reshape(-1), old.transpose(0, -1), old[..., None]] if old.ndim else [old[None]]
    shapes += [old.narrow(axis, 0, n) for n in rows] if old.ndim else []
    shapes += [torch.cat([old, old], axis)] if old.ndim else []
    tensors[name] = one_of(rng, shapes).clone(memory_format=torch.contiguous_format)


def other_names(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    first, second = one_of(rng, sorted(tensors)), one_of(rng, sorted(tensors))
    kind = int(rng.integers(4))
    if kind == 0:
        tensors[first], tensors[second] = tensors[second], tensors[first].clone()
    elif kind == 1:
        del tensors[first]
    elif kind == 2:
        tensors[one_of(rng, ("x", ESCAPES[:60], "gaussians", f"{first}.0"))] = tensors[second].clone()
    else:
        tensors[f"{first} "] = tensors.pop(first)


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [pair for key in keys for pair in nodes(value[key])]


def header(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """A value of the header becomes another, or has another beside it."""
    holder, key = one_of(rng, nodes(about))
    kind, value = int(rng.integers(4)), one_of(rng, JSONS)
    if kind == 0 and isinstance(holder, dict):
        holder[one_of(rng, ("is", "of", "extra", ESCAPES[:60]))] = value
    elif kind == 1:
        del holder[key]
    elif kind == 2 and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * int(rng.integers(-2, 4)) + int(rng.integers(-2, 3))
    else:
        holder[key] = copy.deepcopy(value)


def ranges(rng: np.random.Generator, tensors: Tensors, about: About) -> None:
    """The parts of the points begin and end elsewhere."""
    of, count = about["fields"]["of"], len(tensors["head_share"])
    parts = [of["hidden"], of["mouth"], *of["lids"]["of"]]
    place = int(rng.integers(5))
    shift = int(one_of(rng, (-count, -1, 1, 2, 100, count, 2**40)))
    if place > 0:
        parts[place - 1]["of"][1] += shift
    if place < 4:
        parts[place]["of"][0] += shift


def grids(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Bases of another size that fit each other."""
    side, ranks = int(one_of(rng, (0, 1, 2, 127, 129, 256))), [int(one_of(rng, (0, 1, n))) for n in (16, 8)]
    tensors["bases.motion"] = torch.zeros(ranks[0], 3, side, side)
    tensors["bases.shade"] = torch.zeros(ranks[1], 3, 2 * side, 2 * side)


def fewer(rng: np.random.Generator, tensors: Tensors, about: About) -> None:
    """Some pixels of the photo are left out everywhere."""
    of, count = about["fields"]["of"], len(tensors["head_share"])
    gone = int(one_of(rng, (1, of["hidden"]["of"][0], count - 1, count)))
    for name in [*(f"gaussians.{part}" for part in ("means", "quats", "scales", "opacities", "colors")),
                 "head_share", "torso_share", "crop_uv"]:  # fmt: skip
        tensors[name] = tensors[name][gone:].clone()
    starts = tensors["mesh_weights.indptr"][gone:]
    tensors["mesh_weights.data"] = tensors["mesh_weights.data"][int(starts[0]) :].clone()
    tensors["mesh_weights.indices"] = tensors["mesh_weights.indices"][int(starts[0]) :].clone()
    tensors["mesh_weights.indptr"] = starts - starts[0]
    of["mesh_weights"]["of"][0] = count - gone
    for part in (of["hidden"], of["mouth"], *of["lids"]["of"]):
        part["of"][:2] = [part["of"][0] - gone, part["of"][1] - gone]
    of["film"]["of"][:2] = [max(0, end - gone) for end in of["film"]["of"][:2]]


def rows_of_skin(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Rows that fit their entries, but not the rest."""
    starts = tensors["mesh_weights.indptr"]
    at, kind = int(rng.integers(1, len(starts) - 1)), int(rng.integers(3))
    if kind == 0:
        starts[at] = int(one_of(rng, (0, -5, int(starts[-1]), 2**31 - 1)))
    elif kind == 1:
        starts[1:] = starts[-1].clone()
    else:
        starts[-1] += int(rng.integers(-3, 3))


def boxes(rng: np.random.Generator, tensors: Tensors, about: About) -> None:
    """A frame, a plate and a camera of another size that fit each other; sometimes the picture, too."""
    of = about["fields"]["of"]
    frame, camera = of["box"]["of"], of["camera"]["of"]
    width, height = (int(one_of(rng, (0, 1, 2, 3, 33, 64, 300, 1300))) for _ in range(2))
    if rng.random() < 0.7:
        frame |= {"left": 0, "top": 0}
        tensors["image"] = torch.full((max(height, 2), max(width, 2), 3), 90, dtype=torch.uint8)
    frame |= {"width": width, "height": height, "render_width": width, "render_height": height}
    if rng.random() < 0.3:
        frame |= {"render_width": int(one_of(rng, (1, 2, 10**6))), "render_height": int(one_of(rng, (1, 7, 10**9)))}
    camera |= {"width": frame["render_width"], "height": frame["render_height"]}
    tensors["plate"] = torch.full((height, width, 3), 128, dtype=torch.uint8)


def views(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Another focal length, or another place of the camera."""
    K, view = tensors["camera.K"], tensors["camera.viewmat"]
    kind = int(rng.integers(4))
    if kind == 0:
        K[:2] *= float(one_of(rng, (0, 1e-6, 0.1, 10, 1000, 1e8, -1)))
    elif kind == 1:
        view[int(rng.integers(3)), 3] = float(one_of(rng, (-145, 0, 1, 20, 31, 500, 1e5)))
    elif kind == 2:
        view[:3, :3] = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))))[0].float()
    else:
        view[:3, :3] *= float(one_of(rng, (0, -1, 1.01, 2)))


def splats(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Larger, fainter, nearer."""
    tensors["gaussians.scales"] *= float(one_of(rng, (0, 0.01, 3, 30, 300)))
    if rng.random() < 0.5:
        tensors["gaussians.opacities"][:] = 0.0045
    if rng.random() < 0.3:
        tensors["gaussians.means"][:, 2] += float(one_of(rng, (-130, -50, 50, 400)))


def mouths(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Another mesh, rest, tone or picture of the mouth."""
    name = one_of(rng, ("mesh", "rest", "tone", "own", "own_share"))
    tensors[f"mouth_layer.{name}"] *= float(one_of(rng, (0, 3, 30, 60, 1e4, -1)))


@cache
def bomb() -> bytes:
    """BOMB zeros, packed."""
    return zlib.compress(bytes(BOMB))


def streams(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Packed bytes that are none, too few, too many, another array's, or many times as many as they should be."""
    name, other = one_of(rng, sorted(tensors)), one_of(rng, sorted(tensors))
    right = packed(name, tensors[name])
    kinds = (b"", rng.bytes(50), right[: len(right) // 2], right + b"\0", right + right, packed(other, tensors[other]),
             zlib.compress(right, 1), bomb(), zlib.compress(b""))  # fmt: skip
    tensors[name] = as_stream(one_of(rng, kinds))


def sizes(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """Shapes that are not the arrays'."""
    name = one_of(rng, sorted(TENSORS))
    shape = about["shapes"][name]
    at = int(rng.integers(len(shape)))
    shape[at] = one_of(rng, (*WHOLES, 10**400, 2**63, shape[at] + 1, shape[at] * 2, 1.0, "3", None, True, [3]))


def texts(rng: np.random.Generator, tensors: Tensors, about: About) -> None:  # noqa: ARG001
    """What a sentence repeats of a file."""
    key = one_of(rng, ("format", "mggdub", "weights", "face", "background", "inpainter"))
    holder = about["options"] if key in about["options"] else about
    holder[key] = one_of(rng, (ESCAPES, "9" * 5000, ESCAPES[:7], "\ud800"))
    if key == "mggdub":
        about["weights"] = "0" * 64


FORGERIES: tuple[Forgery, ...] = (some_values, all_values, another_type, another_shape, other_names, header, ranges,
                                  grids, fewer, rows_of_skin, boxes, views, splats, mouths, texts, streams,
                                  sizes)  # fmt: skip


# --- what becomes of them --------------------------------------------------------------------------------------------


@cache
def models() -> Models:
    return load_models()


@cache
def honest() -> tuple[Tensors, About]:
    """What a tiny avatar's file holds."""
    options = {"preview": True, "size": 64, "face": "largest", "background": "keep", "inpainter": "auto"}
    head = build.build_avatar(
        read_image(ROOT / "tests" / "data" / "head.png"), models(), RenderOptions(size=64, preview=True)
    )
    with tempfile.TemporaryDirectory() as folder:
        file.save_avatar(Path(folder) / "head.mgg", head, {"options": options})
        return read_parts(Path(folder) / "head.mgg")


def play(avatar: HeadAvatar) -> None:
    """Two frames with everything in motion, and what a render asks of them."""
    rng = np.random.default_rng(0)
    units, modes = rng.uniform(0, 0.9, (2, 52)), rng.normal(size=(2, 8)) * models().expression.mode_std
    pose = [rng.normal(size=(2, size)) * spread for size, spread in ((3, 8.0), (3, 1.0), (4, 0.5))]
    track = ExpressionTrack(np.array([0.02, 0.5]), *(x.astype(np.float32) for x in (units, modes, *pose)))
    watch = FrameStats.of(avatar, len(track))
    for index, frame in enumerate(animate.animate(avatar, models(), track)):
        assert frame.shape == avatar.image.shape and frame.dtype == np.uint8
        watch.see(index, frame)


def forged(seed: int, index: int) -> tuple[Tensors, About]:
    """What a forged file holds."""
    rng = np.random.default_rng([seed, index])
    tensors, about = honest()
    tensors, about = {name: tensor.clone() for name, tensor in tensors.items()}, copy.deepcopy(about)
    for number in range(int(rng.integers(1, 3))):
        change = FORGERIES[index % len(FORGERIES)] if number == 0 else one_of(rng, FORGERIES)
        before = shapes_of(tensors, honest()[1]["shapes"])
        try:
            change(rng, tensors, about)
            if shapes_of(tensors, before) != before:  # else they may have been forged themselves
                about["shapes"] = shapes_of(tensors, before)
        except (LookupError, RuntimeError, TypeError, AttributeError, ValueError):
            assert number, "a forgery of an honest file must work"  # the second may find nothing to forge
    return tensors, about


def outcome(path: Path) -> tuple[str, str]:
    """What becomes of a file, and what is wrong with that."""
    try:
        avatar, _ = load_avatar(path)
    except InputError as error:
        sentence = str(error)
        plain = sentence.isprintable() and sentence.endswith(".") and str(path) in sentence
        return "refused", "" if plain and len(sentence) < LONGEST + len(str(path)) else f"no sentence: {sentence!r}"
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    try:
        play(avatar)
    except BaseException as error:
        return "late error", f"{type(error).__name__}: {error}"
    return "played", ""


def run(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """How often each outcome came, and the problems, each with what makes it again."""
    outcomes: Counter[str] = Counter()
    problems: list[str] = []
    path = folder / "forged.mgg"
    for index in range(count):
        tensors, about = forged(seed, index)
        write_parts(path, tensors, about)
        faulthandler.dump_traceback_later(HANG, exit=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind, problem = outcome(path)
        faulthandler.cancel_dump_traceback_later()
        outcomes[kind] += 1
        if problem:
            problems.append(f"{seed}/{index} {FORGERIES[index % len(FORGERIES)].__name__}: {kind}: {problem}")
    return outcomes, problems


@pytest.mark.slow
def test_forged_avatars_end_in_a_sentence_or_in_frames(tmp_path: Path) -> None:
    write_parts(tmp_path / "honest.mgg", *honest())
    assert outcome(tmp_path / "honest.mgg") == ("played", "")
    outcomes, problems = run(119, 0, tmp_path)
    assert not problems
    assert outcomes["refused"] > 50 and outcomes["played"] > 5, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, problems = run(chosen.count, chosen.seed, Path(folder))
    took = time.perf_counter() - start
    print(f"forged     {chosen.count} avatars, {dict(outcomes)}, {len(problems)} problems, {took:.0f} s")
    for problem in problems[:20]:
        print(f"  {problem[:300]}")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
