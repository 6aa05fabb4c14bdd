"""What sentences are made of."""

import pytest

from mggdub.errors import plain

NUMBERS = {
    0.0: "0", 1e20: "1" + "0" * 20, 12345.6: "12346", 999.96: "1000", 0.7: "0.7", -3.14159: "-3.142",
    0.00012: "0.00012", 1e-9: "0", -1e-9: "0", 29.97: "29.97", float("inf"): "inf",
}  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_in_sentences_are_plain(value: float) -> None:
    assert plain(value) == NUMBERS[value]
