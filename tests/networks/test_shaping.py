"""The compiled way of a window of the lower face is the one that the network learned with."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mggdub.networks.lower_face import INPUTS, SIZE, LowerFaceNet
from mggdub.networks.shaping import BETWEEN, CELL, fold, shape_change


@pytest.fixture
def windows() -> torch.Tensor:
    x = torch.rand(2, INPUTS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    x[:, 7] = 0
    x[0, 7, 40:60, :50] = 1  # lips that reach the edge
    x[:, 8] = 0
    x[0, 8, 46:54, :40] = 1
    return x


def test_cells_are_pixels_unshuffled(windows: torch.Tensor) -> None:
    folded = np.empty((SIZE // CELL, SIZE // CELL, INPUTS * CELL**2), np.float32)
    fold(windows[0].numpy(), folded)
    assert np.array_equal(folded, F.pixel_unshuffle(windows[0], CELL).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("strength", [0.02, 0.2])  # of changes: hardly decided, and in places
def test_a_change_is_shaped_as_when_it_was_learned(windows: torch.Tensor, strength: float) -> None:
    rng = np.random.default_rng(0)
    change = (rng.normal(size=(3, SIZE, SIZE)) * strength + rng.normal(size=(3, 1, 1)) * 0.08).astype(np.float32)
    expected = LowerFaceNet()._shaped(torch.from_numpy(change)[None], windows[:1])[0].numpy()
    assert np.abs(expected - change).max() > strength
    shape_change(change, *(windows[0, k].numpy() for k in (slice(3), 7, 8)))
    assert np.abs(change - expected).max() < 1e-6


def test_one_window_is_changed_as_several_are(windows: torch.Tensor) -> None:
    net = LowerFaceNet()
    with torch.no_grad():
        for parameter in net.leave.parameters():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
        both, first = net(windows), net(windows[:1])
    assert both.abs().max() > 0.1
    assert (both[:1] - first).abs().max() < 1e-5


def test_teeth_stay_light_and_keep_their_colour() -> None:
    x, change = torch.zeros(1, INPUTS, SIZE, SIZE), torch.full((1, 3, SIZE, SIZE), 0.0)
    x[:, 7:9] = 1
    teeth, dark = (0.9, 0.85, 0.8), (0.2, 0.1, 0.1)
    x[0, :3, :48], x[0, :3, 48:] = (torch.tensor(colour)[:, None, None] for colour in (teeth, dark))
    change[0, 0], change[0, 1:] = -0.4, -0.2  # red is taken
    lit = (x[:, :3] + LowerFaceNet()._shaped(change, x))[0]
    share = 1 - 0.1 * BETWEEN
    assert torch.allclose(lit[:, 20, 48], share * torch.tensor(teeth), atol=1e-3)
    assert torch.allclose(lit[:, 70, 48], (1 - BETWEEN) * torch.tensor(dark), atol=0.01)  # to black, but for its share


def test_no_change_between_the_lips_stays_none() -> None:
    x = torch.rand(1, INPUTS, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    assert LowerFaceNet()._shaped(torch.zeros(1, 3, SIZE, SIZE), x).abs().max() < 1e-6
