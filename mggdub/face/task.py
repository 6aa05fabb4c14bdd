"""The weight file of the face networks: what is in it, unpacked with care."""

from __future__ import annotations

import zipfile
import zlib

from mggdub.errors import InputError, excerpt
from mggdub.weights import locate

TASK = "face_landmarker.task"
LARGEST_PART = 64 << 20  # bytes


def unpack_task(*names: str) -> list[bytes]:
    """Parts of the task. Raises InputError if it is missing, damaged or would unpack to far more than it should."""
    try:
        with zipfile.ZipFile(locate(TASK)) as task:
            if any(task.getinfo(name).file_size > LARGEST_PART for name in names):
                raise ValueError("a part of it is too large")
            return [task.read(name) for name in names]
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"The weight file {TASK} is damaged ({excerpt(error)}); reinstall mggdub.") from error


def protobuf_fields(message: bytes):  # type: ignore[no-untyped-def]
    """(number, value) of every field of a protobuf message; fixed32 and nested ones as bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        length = 4 if key & 7 == 5 else varint()
        place += length
        yield key >> 3, message[place - length : place]
