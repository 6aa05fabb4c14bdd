"""An avatar file is the head that was built, whoever hands it over."""

import copy
import errno
import shutil
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from forging import About, Tensors, as_stream, packed, read_parts, shapes_of, write_parts
from safetensors.torch import save_file

from mggdub import jobs, weights
from mggdub.avatar import box
from mggdub.avatar.file import KEY, appearing_ply, check_given, load_avatar, save_avatar
from mggdub.avatar.values import HeadAvatar, RenderBox
from mggdub.errors import InputError, OutputError, UsageError
from mggdub.models import Models
from mggdub.options import RenderOptions
from mggdub.progress import silent

SMALL = RenderOptions(size=256, preview=True)
ABOUT = {"options": {"preview": True, "size": 256, "face": "largest", "background": "keep", "inpainter": "auto"}}


@pytest.fixture(scope="session")
def head_mgg(avatar: HeadAvatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "head.mgg"
    save_avatar(path, avatar, ABOUT)
    return path


@pytest.fixture(scope="session")
def honest(head_mgg: Path) -> tuple[Tensors, About]:
    """What is in it."""
    return read_parts(head_mgg)


def leaves(value: Any) -> list[Any]:
    if hasattr(value, "__dataclass_fields__"):
        return [leaf for field in fields(value) for leaf in leaves(getattr(value, field.name))]
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    if hasattr(value, "indptr"):
        return [value.shape, value.data, value.indices, value.indptr]
    return [value]


def test_every_field_comes_back(avatar: HeadAvatar, head_mgg: Path) -> None:
    again, about = load_avatar(head_mgg)
    assert about["options"] == ABOUT["options"] and about["weights"] == weights.fingerprint()
    kept, given = leaves(again), leaves(avatar)
    assert len(kept) == len(given) > 25
    for one, other in zip(kept, given, strict=True):
        assert type(one) is type(other)
        if isinstance(one, (np.ndarray, torch.Tensor)):
            assert one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
        else:
            assert one == other


def test_a_file_is_a_fraction_of_what_it_holds(avatar: HeadAvatar, head_mgg: Path) -> None:
    kept = sum(leaf.nbytes for leaf in leaves(avatar) if isinstance(leaf, (np.ndarray, torch.Tensor)))
    assert head_mgg.stat().st_size < kept / 4


def test_reading_asks_for_no_more_room_than_the_file_fills(head_mgg: Path) -> None:
    tracemalloc.start()
    try:
        load_avatar(head_mgg)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 200 << 20, most


def test_an_avatar_renders_like_its_photo(head_png: Path, head_mgg: Path, speech_wav: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(speech_wav)
    soundfile.write(tmp_path / "s.wav", samples[rate : rate + rate // 4], rate)
    plain = RenderOptions()
    jobs.render_file(head_png, tmp_path / "s.wav", tmp_path / "photo.mp4", SMALL, lambda *_: None)
    jobs.render_file(head_mgg, tmp_path / "s.wav", tmp_path / "mgg.mp4", plain, lambda *_: None)
    assert (tmp_path / "photo.mp4").read_bytes() == (tmp_path / "mgg.mp4").read_bytes()
    changes: list[dict[str, Any]] = [{"size": 128}, {"face": "1"}, {"background": "#00ff00"}, {"inpainter": "fast"}]
    for other in (replace(plain, **change) for change in changes):
        with pytest.raises(UsageError, match="was made with"):
            jobs.render_file(head_mgg, tmp_path / "s.wav", tmp_path / "x.mp4", other, lambda *_: None)


@pytest.mark.parametrize(
    ("name", "was", "given", "said"),
    [("face", "largest", "0", ""), ("face", "0", "largest", ""), ("face", "largest", "1", "with --face largest;"),
     ("face", "2", "largest", "with --face 2;"), ("preview", False, True, "without --preview;"),
     ("preview", True, False, "with --preview;"), ("size", None, 512, "without --size;")],
)  # fmt: skip
def test_what_contradicts_an_avatar_is_named_as_it_is_written(name: str, was: Any, given: Any, said: str) -> None:
    """The largest face is face 0, whichever of the two it is called."""
    about = {"options": ABOUT["options"] | {name: was}}
    if not said:
        check_given(Path("a.mgg"), about, {name: given})
        return
    with pytest.raises(UsageError, match=f"a.mgg was made {said} leave out --{name} "):
        check_given(Path("a.mgg"), about, {name: given})


def test_the_same_avatar_is_the_same_bytes(avatar: HeadAvatar, head_mgg: Path, tmp_path: Path) -> None:
    save_avatar(tmp_path / "again.mgg", avatar, ABOUT)
    assert (tmp_path / "again.mgg").read_bytes() == head_mgg.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        save_avatar(tmp_path / "again.mgg", avatar, ABOUT)


def test_any_flipped_bit_and_any_cut_is_seen(head_mgg: Path, tmp_path: Path) -> None:
    data = head_mgg.read_bytes()
    bad = tmp_path / "bad.mgg"
    places = np.random.default_rng(0).integers(0, len(data), 12).tolist()
    for place in [0, 3, 7, 9, 40, 300, 1500, len(data) - 1, *places]:
        bad.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(InputError) as told:
            load_avatar(bad)
        assert str(told.value).endswith(".") and str(bad) in str(told.value)
    for cut in (0, 5, 8, 2000, len(data) // 2, len(data) - 1):
        bad.write_bytes(data[:cut])
        with pytest.raises(InputError):
            load_avatar(bad)
    bad.write_bytes((1 << 62).to_bytes(8, "little") + data[8:])
    with pytest.raises(InputError):
        load_avatar(bad)


Spoil = Callable[[Tensors, About], None]


# What somebody might write on purpose, its digest being right.
FORGED: dict[str, Spoil] = {
    "no number": lambda t, _: t["gaussians.means"].__setitem__((5, 0), float("nan")),
    "an index too far": lambda t, _: t["mesh_weights.indices"].__setitem__(7, 478),
    "an index below": lambda t, _: t["mesh_weights.indices"].__setitem__(7, -1),
    "own mouth beyond": lambda t, _: t.update({"photo_mouth": torch.tensor([10**6])}),
    "fewer colours": lambda t, _: t.update({"gaussians.colors": t["gaussians.colors"][:-1].clone()}),
    "grids of one": lambda t, _: t.update(
        {"bases.motion": torch.zeros(16, 3, 1, 1), "bases.shade": torch.zeros(8, 3, 2, 2)}
    ),
    "grids of none": lambda t, _: t.update(
        {"bases.motion": torch.zeros(16, 3, 0, 0), "bases.shade": torch.zeros(8, 3, 0, 0)}
    ),
    "other ranks": lambda t, _: t.update({"bases.motion": t["bases.motion"][:5].clone()}),
    "rows that fall": lambda t, _: t["mesh_weights.indptr"].__setitem__(len(t["mesh_weights.indptr"]) // 2, 0),
    "a row of everything": lambda t, _: t["mesh_weights.indptr"].__setitem__(
        slice(1, -1), int(t["mesh_weights.indptr"][-1])
    ),
    "heavy weights": lambda t, _: t["mesh_weights.data"].mul_(1000),
    "giant splats": lambda t, _: t["gaussians.scales"].fill_(50),
    "no turns": lambda t, _: t["gaussians.quats"].zero_(),
    "behind the camera": lambda t, _: t["gaussians.means"].sub_(torch.tensor([0, 0, 400.0])),
    "a camera inside": lambda t, _: t["camera.viewmat"].__setitem__((2, 3), 1.0),
    "a camera that shears": lambda t, _: t["camera.viewmat"].__setitem__((0, 1), 0.7),
    "a camera without a focal length": lambda t, _: t["camera.K"].__setitem__(slice(0, 2), 0.0),
    "a face without width": lambda t, _: t["mesh"].zero_(),
    "a face behind the camera": lambda t, _: t["mesh"].__setitem__((300, 2), -200.0),
    "no pinhole": lambda t, _: t["camera.K"].__setitem__((2, 0), 1.0),
    "a wide mouth": lambda t, _: (t["mouth_layer.mesh"].mul_(100), t["mouth_layer.rest"].mul_(100)),
    "one tensor more": lambda t, _: t.update({"more": torch.zeros(1)}),
    "ranges that overlap": lambda _, a: a["fields"]["of"]["hidden"]["of"].__setitem__(1, 5),
    "an option of text": lambda _, a: a["options"].update(preview="yes"),
    "teeth like lamps": lambda t, _: t["mouth_layer.tone"].mul_(50),
    "teeth of a darkness": lambda t, _: t["mouth_layer.tone"].neg_(),
    "a giant's mouth": lambda _, a: a["fields"]["of"]["mouth_layer"]["of"].update(size=1e9),
    "a fine mouth": lambda t, _: t.update({"mouth_layer.own_share": torch.zeros(900, 900)}),
    "a missing field": lambda t, _: t.update({"other": t.pop("head_share")}),
    "a line of sway": lambda t, _: t.update({"torso_share_map": t["torso_share_map"][0].clone()}),
    "a fine sway": lambda t, _: t.update({"torso_share_map": torch.zeros(2000, 2000)}),
    "a giant camera": lambda _, a: a["fields"]["of"]["camera"]["of"].update(width=10**9),
    "a giant frame": lambda _, a: a["fields"]["of"]["box"]["of"].update(width=10**9),
    "a frame of yes": lambda _, a: a["fields"]["of"]["box"]["of"].update(left=False),
    "an angle of text": lambda _, a: a["fields"]["of"].update(angle="0"),
    "another kind": lambda _, a: a["fields"]["of"]["mesh"].update({"is": "tensor"}),
    "a film beyond the photo": lambda _, a: a["fields"]["of"]["film"]["of"].__setitem__(1, 10**6),
    "a film that ends before it begins": lambda _, a: a["fields"]["of"]["film"].update(of=[9, 5, None]),
    "a step": lambda _, a: a["fields"]["of"]["hidden"]["of"].__setitem__(2, 1),
    "a word of advice": lambda _, a: a["fields"]["of"]["advice"].update(of="advice"),
    "a frame of text": lambda _, a: a["fields"]["of"]["box"]["of"].update(left="0"),
    "a range beyond": lambda _, a: a["fields"]["of"]["mouth"].update(of=[0, 10**9, None]),
    "another class": lambda _, a: a["fields"].update({"is": "Path"}),
    "another field": lambda _, a: a["fields"]["of"].update(tail=1),
    "a turn beyond all": lambda _, a: a["fields"]["of"].update(angle=1e9),
    "another version": lambda _, a: a.update(format=99),
    "other weights": lambda _, a: a.update(weights="0" * 64),
    "other options": lambda _, a: a["options"].update(seed=3),
    "a wrong option": lambda _, a: a["options"].update(size=3),
    "only its fields": lambda _, a: a.update({"other": a.pop("options")}),
    "another's bytes": lambda t, _: t.update({"crop_uv": as_stream(packed("head_share", t["head_share"]))}),
    "bytes that are not packed": lambda t, _: t.update({"mesh": as_stream(t["mesh"].numpy().tobytes())}),
    "bytes that end early": lambda t, _: t.update({"plate": as_stream(packed("plate", t["plate"])[:-9])}),
    "bytes after the end": lambda t, _: t.update({"plate": as_stream(packed("plate", t["plate"]) + b"x")}),
    "zeros without end": lambda t, _: t.update({"image": as_stream(zlib.compress(bytes(64 << 20)))}),
    "too few zeros": lambda t, _: t.update({"image": as_stream(zlib.compress(bytes(9)))}),
    "a picture of everything": lambda t, a: (
        a["shapes"].update(image=[100_000, 100_000, 3]),
        t.update({"image": as_stream(zlib.compress(bytes(64 << 20)))}),
    ),
    "a shape of text": lambda _, a: a["shapes"].update(mesh="478 3"),
    "a shape of halves": lambda _, a: a["shapes"].update(mesh=[478.0, 3]),
    "a shape below": lambda _, a: a["shapes"].update(photo_mouth=[-1]),
    "no shapes": lambda _, a: a.update(shapes=None),
    "a shape too few": lambda _, a: a["shapes"].pop("plate"),
    "entries without end": lambda _, a: a["shapes"].update(
        {"mesh_weights.data": [10**9], "mesh_weights.indices": [10**9]}
    ),
    "a tuple": lambda _, a: a.update(fields={"is": "tuple", "of": [a["fields"]]}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_one_sentence(honest: tuple[Tensors, About], tmp_path: Path, name: str) -> None:
    tensors, told = copy.deepcopy(honest)
    before = shapes_of(tensors, told["shapes"])
    FORGED[name](tensors, told)
    if shapes_of(tensors, before) != before:
        told["shapes"] = shapes_of(tensors, before)
    bad = tmp_path / "bad.mgg"
    write_parts(bad, tensors, told)
    with pytest.raises(InputError) as error:
        load_avatar(bad)
    assert str(error.value).isprintable() and "make it again" in str(error.value)


def test_what_a_file_says_is_shown_without_escapes(honest: tuple[Tensors, About], tmp_path: Path) -> None:
    tensors, about = honest
    text = "\x1b[31m\r\n\u202e" + "x" * 5000
    for key, other in (("format", {}), ("mggdub", {"weights": "0"}), ("weights", {}), ("options", {}), (text, {})):
        write_parts(tmp_path / "bad.mgg", tensors, about | other | {key: text})
        with pytest.raises(InputError) as error:
            load_avatar(tmp_path / "bad.mgg")
        assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_a_head_of_one_pixel_is_refused_before_it_is_built() -> None:
    box.check_box(RenderBox(43, 32, 2, 2, 2, 2))
    for frame in (RenderBox(43, 32, 1, 2, 1, 2), RenderBox(43, 32, 2, 0, 2, 1), RenderBox(0, 0, 4000, 3, 640, 1)):
        with pytest.raises(InputError, match="larger --size"):
            box.check_box(frame)


def test_faces_are_for_their_owner_alone(avatar: HeadAvatar, tmp_path: Path) -> None:
    save_avatar(tmp_path / "head.mgg", avatar, ABOUT)
    with appearing_ply(tmp_path / "head.ply", avatar):
        pass
    assert {(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {0o600}


def test_an_avatar_and_its_ply_appear_both_or_none(
    avatar: HeadAvatar, models: Models, head_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = Path.write_bytes, [""]

    def write_if_possible(path: Path, data: bytes) -> int:
        if path.suffix in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(jobs, "build_avatar", lambda *_: avatar)
    monkeypatch.setattr(Path, "write_bytes", write_if_possible)
    for full[0] in (".mgg", ".ply"):
        with pytest.raises(OutputError, match="No space left"):
            jobs.avatar_file(head_png, tmp_path / "head.mgg", tmp_path / "head.ply", SMALL, silent, models)
        assert not list(tmp_path.iterdir())


def test_other_files_are_no_avatars(head_png: Path, tmp_path: Path) -> None:
    for name in ("speech.safetensors", "head.safetensors"):
        shutil.copy(weights.locate(name), tmp_path / "x.mgg")
        with pytest.raises(InputError, match="no avatar"):
            load_avatar(tmp_path / "x.mgg")
    save_file({}, tmp_path / "deep.mgg", {KEY: "[" * 100_000})
    with pytest.raises(InputError, match="no avatar"):
        load_avatar(tmp_path / "deep.mgg")
    shutil.copy(head_png, tmp_path / "y.mgg")
    with pytest.raises(InputError, match="no avatar"):
        load_avatar(tmp_path / "y.mgg")


def test_missing_weights_are_not_put_down_to_the_avatar(
    head_mgg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGGDUB_WEIGHTS", str(tmp_path / "gone"))
    weights.fingerprint.cache_clear()
    with pytest.raises(UsageError, match=r"^MGGDUB_WEIGHTS names .*gone, which is not a folder"):
        load_avatar(head_mgg)


def test_a_ply_is_read_back(avatar: HeadAvatar, tmp_path: Path) -> None:
    with appearing_ply(tmp_path / "head.ply", avatar) as count:
        pass
    head, _, body = (tmp_path / "head.ply").read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    names = [line.split()[2] for line in lines[3:]]
    assert names == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3".split()
    )
    rows = np.frombuffer(body, np.dtype([(name, "<f4") for name in names]))
    g, first = avatar.gaussians, slice(0, avatar.lids[0].start)
    assert len(rows) == count == len(g) - sum(lid.stop - lid.start for lid in avatar.lids)
    np.testing.assert_array_equal(np.stack([rows["x"], rows["y"], rows["z"]], 1)[first], g.means[first])
    np.testing.assert_allclose(1 / (1 + np.exp(-rows["opacity"][first])), g.opacities[first], atol=1e-5)
    np.testing.assert_allclose(np.exp(rows["scale_1"][first]), g.scales[first, 1], rtol=1e-4)
    np.testing.assert_allclose(rows["f_dc_2"][first] * 0.28209479 + 0.5, g.colors[first, 2], atol=1e-5)
    lengths = np.sqrt(sum(rows[f"rot_{k}"] ** 2 for k in range(4)))
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_file_keeps_what_most_avatars_leave_at_its_default(avatar: HeadAvatar, tmp_path: Path) -> None:
    own = {"advice": ("A sentence.",), "inpainter": "lama"}
    assert own.keys() == {field.name for field in fields(HeadAvatar) if field.default is not MISSING}
    save_avatar(tmp_path / "head.mgg", replace(avatar, **own), ABOUT)
    read, _ = load_avatar(tmp_path / "head.mgg")
    assert {name: getattr(read, name) for name in own} == own
