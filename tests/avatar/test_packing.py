"""Arrays come back from a file as they were rounded, and a file cannot ask for more memory than it names."""

import tracemalloc
import zlib

import numpy as np
import pytest

from mggdub.avatar.bounds import TENSORS
from mggdub.avatar.packing import CODINGS, pack, rounded, unpack
from mggdub.types import Array

SIZES = {"N": 50, "N+1": 51, "S": 90, "L": 6, "O": 0, "M": 20, "M+1": 21, "T": 33, "h": 7, "w": 9, "H": 11, "W": 10,
         "y": 4, "x": 5, "motions": 2, "shades": 3}  # fmt: skip


def some(name: str) -> Array:
    """Anything that the table allows, its ends included."""
    kind, shape, low, high = TENSORS[name]
    sizes = [size if isinstance(size, int) else SIZES[size] for size in shape]
    drawn = np.random.default_rng(0).uniform(low, high, sizes)
    if drawn.size:
        drawn.flat[0], drawn.flat[-1] = low, high
    return drawn.astype(kind)


def test_every_array_has_a_coding() -> None:
    assert CODINGS.keys() == TENSORS.keys()


@pytest.mark.parametrize("name", TENSORS)
def test_what_was_packed_comes_back(name: str) -> None:
    array = some(name)
    again = unpack(name, pack(name, array), TENSORS[name][0], array.shape)
    assert again.dtype == array.dtype and again.shape == array.shape and again.flags.c_contiguous
    np.testing.assert_array_equal(again, rounded(name, array))
    np.testing.assert_array_equal(again, rounded(name, again))  # twice is once
    bits = CODINGS[name].bits
    if bits is None:
        np.testing.assert_array_equal(again, array)
    else:
        finest = np.spacing(np.abs(array).max())
        assert 0 < np.abs(again.astype(np.float64) - array).max() <= max(0.5**bits, finest) / 2


def test_packing_leaves_an_array_as_it_is() -> None:
    array = some("image")
    before = array.copy()
    pack("image", array)
    rounded("image", array)
    np.testing.assert_array_equal(array, before)


def test_like_neighbours_are_small() -> None:
    down, across = np.mgrid[:64, :64]
    smooth = np.stack([down + across, 2 * across, 255 - down], -1).astype(np.uint8)
    assert len(pack("image", smooth)) < smooth.nbytes / 50
    rough = np.random.default_rng(0).integers(0, 256, smooth.shape, np.uint8)
    assert len(pack("image", rough)) < rough.nbytes * 1.01


@pytest.mark.parametrize("kept", [0, 9, 10**8])
def test_a_stream_takes_no_more_memory_than_its_array(kept: int) -> None:
    bomb = zlib.compress(bytes(kept), 9)
    tracemalloc.start()
    with pytest.raises(ValueError, match="another size"):
        unpack("photo_drivers", bomb, "float32", (32,))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000 + len(bomb)  # what was not read of it is kept
