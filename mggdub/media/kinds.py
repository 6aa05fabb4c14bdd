"""What a file is by its first bytes, so that arguments in a wrong place are noticed before anything is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from mggdub.errors import InputError, UsageError
from mggdub.media.files import check_input
from mggdub.media.table import DELIMITERS, text_encoding
from mggdub.media.unread import START, kind_of_start

HEAD = 1 << 16  # bytes that are looked at
HEADER = 5  # lines in which a table may name its columns
PICTURES = (  # that Pillow reads; `unread` knows the others
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"8BPS"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\1\0", b"qoif"),
)
AVIF = (b"avif", b"avis")  # brands
FAMILIES = {"heif": "picture", "picture": "picture", "sound": "sound"}
SOUND_NAMES = frozenset((".m4a", ".mka", ".weba", ".wma", ".oga", ".ra", ".m4b"))  # whose containers hold either


def kind(path: Path) -> str | None:
    """'picture', 'sound', 'video', 'avatar' or 'track', None if the first bytes do not tell. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if _is_picture(head):
        return "picture"
    if re.match(rb".{8}\{\s*\"__metadata__\"\s*:\s*\{\s*\"mggdub\"", head, re.S):
        return "avatar"
    if known := kind_of_start(path, head[:START]):
        return _either(path) if known.family == "video" else FAMILIES.get(known.family)
    return "track" if _is_track(head) else None


def _is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture that Pillow may read."""
    boxed = (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (head[4:8] == b"ftyp" and head[8:12] in AVIF)
    plain = re.match(rb"P[1-7]\s+(#|\d|WIDTH)", head) or re.match(rb"BM.{4}\0{4}", head, re.S)
    return head.startswith(PICTURES) or boxed or plain is not None


def _either(path: Path) -> str:
    return "sound" if path.suffix.lower() in SOUND_NAMES else "video"


def _is_track(head: bytes) -> bool:
    lines = head.decode(text_encoding(head), "replace").lower().splitlines()[:HEADER]
    rows = ({cell.strip('# "') for cell in re.split(f"[{DELIMITERS}]", line)} for line in lines)
    return any(cells & {"time_s", "timecode"} and len(cells) > 1 for cells in rows)


def named_track(path: Path) -> bool:
    """Whether a driver is read as a track by its name, as a video otherwise."""
    return path.suffix.lower() == ".csv"


def moves(path: Path) -> bool:
    """Whether a picture may hold several: GIFs, and PNG, WebP and AVIF where they say so. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"GIF"):
        return True
    if head.startswith(b"\x89PNG"):
        return b"acTL" in head
    if head[8:12] == b"WEBP":
        return head[12:16] == b"VP8X" and bool(head[20] & 2)
    return head[8:12] in (b"avis", b"msf1", b"hevc")


def check_render(photo: Path, speech: Path | None, drive: Path | None) -> None:
    """Raises UsageError if the files of a render are mixed up, InputError if one of them cannot play its part."""
    _check_photo(photo, "picture" if speech and kind(speech) == "picture" else None, speech)
    if speech:
        check_speech(speech)
    if drive:
        _check_drive(drive)


def check_portrait(photo: Path) -> None:
    """Raises InputError if what an avatar is to be made of is no picture."""
    if _is_avatar(photo):
        raise InputError(f"{photo} is an avatar already; give the photo itself.")
    _check_photo(photo)


def check_source(source: Path) -> None:
    """Raises InputError if a track cannot be made of a file."""
    source_kind = kind(source)
    if _is_avatar(source):
        raise InputError(f"{source} is an avatar; a track is made of a video or a recording.")
    if source_kind == "track":
        raise InputError(f"{source} is a track already; play it with mggdub render PHOTO --drive {source}.")
    if source_kind == "picture" and not moves(source):
        raise InputError(f"{source} is a picture; a track is made of a video or a recording.")


def check_inspected(source: Path) -> None:
    """Raises InputError if a file is neither a photo nor has sound."""
    if _is_avatar(source):
        raise InputError(f"{source} is an avatar; inspect looks at photos and recordings, so give its photo.")
    if kind(source) == "track":
        raise InputError(f"{source} is a track; inspect looks at photos and recordings.")


def check_measured(video: Path, reference: Path | None, photo: Path | None) -> None:
    """Raises UsageError or InputError if one of the files of an evaluation is of another kind."""
    for clip in (video, reference):
        clip_kind = kind(clip) if clip else None
        if clip and (
            _is_avatar(clip) or clip_kind in ("track", "sound") or (clip_kind == "picture" and not moves(clip))
        ):
            what = {"sound": "a recording without pictures", "picture": "a picture", "track": "a track"}
            hint = f" {clip} goes with --photo." if clip_kind == "picture" and clip == video and not photo else ""
            raise InputError(f"{clip} is {what.get(str(clip_kind), 'an avatar')}; give a video.{hint}")
    if photo and (_is_avatar(photo) or kind(photo) in ("track", "sound", "video")):
        raise InputError(f"{photo} is no picture; give the photo that the video was made from.")


def _is_avatar(path: Path) -> bool:
    return path.suffix.lower() == ".mgg" or kind(path) == "avatar"


def _check_photo(photo: Path, other: str | None = None, speech: Path | None = None) -> None:
    """`other`: the kind of what was given as speech, if it could be the photo."""
    photo_kind = kind(check_input(photo))
    named_avatar = photo.suffix.lower() == ".mgg"
    if photo_kind in ("sound", "video"):
        what = "a video" if photo_kind == "video" else "a recording"
        if other == "picture":
            raise UsageError(f"{photo} is {what}; the photo comes first, so write {speech} {photo}.")
        if photo_kind == "video":
            raise InputError(
                f"{photo} is a video; the photo comes first: save one of its frames as a picture, or let it move a "
                f"photo with --drive {photo}."
            )
        raise InputError(f"{photo} is a recording; the photo comes first.")
    if photo_kind == "track":
        raise UsageError(f"{photo} is a track; the photo comes first, and the track after --drive.")
    if photo_kind == "avatar" and not named_avatar:
        raise InputError(f"{photo} is an avatar; let its name end in .mgg.")
    if photo_kind == "picture" and named_avatar:
        raise InputError(f"{photo} is a picture and no avatar; let its name end as pictures' do.")


def check_speech(speech: Path) -> None:
    """Raises UsageError or InputError if what is to be heard is of another kind."""
    speech_kind = kind(speech)
    if _is_avatar(speech):
        raise UsageError(f"{speech} is an avatar; it comes first, in place of the photo.")
    if speech_kind == "track":
        raise UsageError(f"{speech} is a track; give it with --drive {speech}.")
    if speech_kind == "picture":
        raise InputError(f"{speech} is a picture and holds no sound; give a recording of speech.")


def _check_drive(drive: Path) -> None:
    drive_kind = kind(drive)
    if _is_avatar(drive):
        raise UsageError(f"{drive} is an avatar; it comes first, in place of the photo.")
    if drive_kind == "picture" and not moves(drive):
        raise InputError(f"{drive} is a picture; a photo is driven with a video or a track.")
    if drive_kind == "track" and not named_track(drive):
        raise InputError(f"{drive} is a track; let its name end in .csv.")
    if drive_kind == "video" and named_track(drive):
        raise InputError(f"{drive} is a video; let its name end as videos' do.")
