"""What is not read as a photo, a recording or a video, but can be named by its first bytes; and HEIF."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from mggdub.errors import InputError
from mggdub.media.files import check_input

START = 4096  # bytes that are looked at
PICTURES = frozenset(
    ".apng .avif .avifs .bmp .dds .dib .gif .heic .heics .heif .heifs .hif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg "
    ".jpf .jpg .jpx .mpo .pbm .pcx .pgm .png .pnm .ppm .psd .qoi .sgi .tga .tif .tiff .webp".split()
)
RAW = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 "
    ".rwl .sr2 .srf .srw .x3f".split()
)
NAMED = frozenset({".ai", ".eps", ".jxl", ".livp", ".pdf", ".psb", ".svg", ".svgz", ".xcf", *RAW})  # suffixes, too
HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs".split())
HEIF_BRANDS = frozenset({*HEIC_BRANDS, b"mif1", b"msf1", b"mif2"})
SOUND_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUB_IFDS, PHOTOMETRIC, DNG_VERSION = 330, 262, 50706
SHORT, LONG = 3, 4  # types of values
SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw


@dataclass(frozen=True)
class Kind:
    """Something that is not read as a picture by Pillow."""

    name: str  # as in "it is ..."
    advice: str  # {} is what should be there: "picture", "recording", "video"
    family: str  # heif (read by `media.heif`), picture, video, sound, other


HEIF = Kind("a HEIF picture", "export it as JPEG or PNG", "heif")
VIDEO = Kind("a video", "give a photo of the person", "video")
SOUND = Kind("a recording", "give a photo of the person", "sound")
_EXPORT = "export it as JPEG or PNG"


def _picture(name: str, advice: str = _EXPORT) -> Kind:
    return Kind(name, advice, "picture")


SVG = _picture("an SVG drawing")
POSTSCRIPT = _picture("a PostScript drawing (EPS)")
AVATAR = Kind("an avatar file", "give the photo it was made of", "other")
PLY = Kind("a PLY file for 3-D viewers", "render takes heads as .mgg", "other")
TEXT = Kind("a text", "give the {} itself", "other")
TO_SPEAK = "let somebody, or a program that reads texts out, speak it, and give that recording"
MANIFEST = Kind("a manifest", "mggdub batch renders its rows", "other")
TRACK = Kind("a track", "render plays it with --drive", "other")
ODD_LETTERS = 0.1  # share of a text that may be of another encoding than UTF-8
ICLOUD = _picture("a placeholder of a picture that lies in iCloud", "download the picture first")
UNKNOWN_RAW = _picture(
    "a camera's raw file or samples without a header (RAW)", "export it as JPEG or PNG, or as WAV if it is sound"
)
LIVE = _picture("a packed Live Photo (LIVP, a ZIP archive)", "unpack it and give the HEIC or JPEG inside")
MAGICS: tuple[tuple[bytes, Kind], ...] = (
    (b"8BPS\0\2", _picture("a large Photoshop document (PSB)")),
    (b"\xff\x0a", _picture("a JPEG XL picture")),
    (b"\0\0\0\x0cJXL ", _picture("a JPEG XL picture")),
    (b"gimp xcf", _picture("a GIMP document (XCF)")),
    (b"\xc5\xd0\xd3\xc6", POSTSCRIPT),
    (b"%!PS", POSTSCRIPT),
    (b"v/1\x01", _picture("an OpenEXR picture")),
    (b"#?R", _picture("a Radiance HDR picture")),
    (b"II\xbc", _picture("a JPEG XR picture")),
    (b"BPG\xfb", _picture("a BPG picture")),
    (b"AT&TFORM", _picture("a DjVu document")),
    (b"\xd7\xcd\xc6\x9a", _picture("a Windows metafile (WMF)")),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"FLV\x01", VIDEO),
    (b"\0\0\1\xba", VIDEO),
    (b"\0\0\1\xb3", VIDEO),
    (b"0&\xb2u\x8ef\xcf\x11", VIDEO),  # ASF
    (b".RMF", VIDEO),
    (b"fLaC", SOUND),
    (b"ID3", SOUND),
    (b"caff", SOUND),
    (b"#!AMR", SOUND),
    (b".snd", SOUND),
    (b"OggS", SOUND),
    (b"wvpk", SOUND),
    (b"NIST_1A", SOUND),
    (b"TTA1", SOUND),
    (b"MPCK", SOUND),
    (b"MAC ", SOUND),
    (b"ply\n", PLY),
    (b"ply\r", PLY),
    (b"Rar!", Kind("a RAR archive", "unpack it first", "other")),
    (b"7z\xbc\xaf", Kind("a 7z archive", "unpack it first", "other")),
)
RAW_MAGICS = ((b"FUJIFILMCCD-RAW", "RAF"), (b"IIU\0", "RW2"), (b"IIRO", "ORF"), (b"IIRS", "ORF"), (b"MMOR", "ORF"),
              (b"FOVb", "X3F"), (b"\0MRM", "MRW"))  # fmt: skip


def kind_of(path: Path) -> Kind | None:
    """What a file is if Pillow is not to read it, by its bytes and, where these say nothing, by its suffix.

    None for pictures that Pillow may know, and for what nobody knows. Raises UsageError or InputError if there is no
    such file.
    """
    check_input(path)
    suffix = path.suffix.lower()
    if suffix == ".mgg":
        return AVATAR
    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    return kind_of_start(path, start, suffix)


def kind_of_start(path: Path, start: bytes, suffix: str = "") -> Kind | None:
    """What a file that begins so is; with its suffix, in small letters, also what its bytes do not say.

    Of START bytes; raw files of cameras are opened again.
    """
    magic = next((kind for magic, kind in MAGICS if start.startswith(magic)), None)
    return magic or _boxed(start) or _riff(start) or _raw(path, start, suffix) or _packed(start, suffix) or _text(start)


def not_read(path: Path, kind: Kind) -> InputError:
    """What to say of it."""
    return InputError(f"{path} is {kind.name}, which is not read as a photo; {kind.advice.format('picture')}.")


def no_media(path: Path, wanted: str) -> InputError | None:
    """What to say of a file that is no `wanted` (recording, video), if it is known to be something else.

    Raises UsageError or InputError if there is no such file.
    """
    kind = kind_of(path) or plain_text(path)
    if kind is None or kind.family != "other" or kind is AVATAR:
        return None
    advice = TO_SPEAK if kind is TEXT and wanted == "recording" else kind.advice.format(wanted)
    return InputError(f"{path} is {kind.name} and no {wanted}; {advice}.")


def plain_text(path: Path) -> Kind | None:
    """What a file is that nothing could read, if people can: some pictures are written in letters, too."""
    with path.open("rb") as file:
        start = file.read(START)
    wide = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(start[:2])
    text = start.decode(wide or "utf-8", "replace").lstrip("\ufeff")
    odd = sum(not (letter.isprintable() or letter in "\t\r\n\f") for letter in text)
    if not text.strip() or odd or text.count("\ufffd") > ODD_LETTERS * len(text) + 1:
        return None
    words = set(re.findall(r"\w+", text.split("\n", 1)[0].lower()))
    if words & {"time_s", "timecode"}:
        return TRACK
    return MANIFEST if {"photo", "output"} <= words else TEXT


def check_sound(path: Path) -> None:
    """Raises InputError if a file is known to be neither a picture nor something that may hold sound."""
    kind = kind_of(path) or plain_text(path)
    if kind and kind.family == "other":
        advice = TO_SPEAK if kind is TEXT else kind.advice.format("picture or the recording")
        raise InputError(f"{path} is {kind.name}, neither a picture nor a recording; {advice}.")


def _boxed(start: bytes) -> Kind | None:
    """ISO base media files, by their brands."""
    if start[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return VIDEO  # QuickTime of old
    if start[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[at : at + 4] for at in (8, *range(16, end - 3, 4))}
    if b"crx " in brands:
        return _camera("CR3")
    if start[8:12] in (b"avif", b"avis") or (b"avif" in brands and start[8:12] not in HEIC_BRANDS):
        return None  # Pillow knows it
    if start[8:12] in HEIF_BRANDS or (b"mif1" in brands and brands & HEIC_BRANDS):
        return HEIF
    return SOUND if start[8:12] in SOUND_BRANDS else VIDEO


def _riff(start: bytes) -> Kind | None:
    """RIFF and IFF files, and streams that begin with a packet."""
    if start[:4] in (b"RIFF", b"RF64", b"RIFX", b"FORM"):
        return {b"AVI ": VIDEO, b"WAVE": SOUND, b"AIFF": SOUND, b"AIFC": SOUND}.get(start[8:12])
    if len(start) > 3 and start[0] == 0xFF:
        layer, adts = start[1] & 0xE6, start[1] & 0xF6 == 0xF0
        if adts or (layer in (0xE2, 0xE4, 0xE6) and start[1] != 0xFE and start[2] < 0xF0):  # FF FE marks UTF-16
            return SOUND  # AAC, MPEG audio
    if start[:1] == b"\x47" and start[:3] != b"GIF" and start[188:189] == start[376:377] == b"\x47":
        return VIDEO  # MPEG-TS
    return None


def _camera(name: str) -> Kind:
    return _picture(f"a camera's raw file ({name})", "develop it and export it as JPEG or PNG")


def _raw(path: Path, start: bytes, suffix: str) -> Kind | None:
    """Raw files of cameras; most are TIFF files, whose first page is a thumbnail."""
    if name := next((name for magic, name in RAW_MAGICS if start.startswith(magic)), None):
        return _camera(name)
    named = UNKNOWN_RAW if suffix == ".raw" else _camera(suffix[1:].upper()) if suffix in RAW else None
    if start[:4] not in TIFF_MAGIC:
        known = start[:2] in (b"\xff\xd8", b"\x89P", b"BM", b"GI") or start[4:8] == b"ftyp"
        return None if known else named
    if named or start[8:10] == b"CR":
        return named or _camera("CR2")
    try:
        tags = _tiff_tags(path)
    except (struct.error, LookupError, OverflowError, OSError):  # a damaged or a big TIFF, which Pillow may try
        return None
    if DNG_VERSION in tags:
        return _camera("DNG")
    return _camera("TIFF") if tags.get(PHOTOMETRIC) in SENSOR else None


def _tiff_tags(path: Path) -> dict[int, int]:
    """Tags and first short values of the first directory of a classic TIFF file; a sensor in its children counts."""
    with path.open("rb") as file:
        order = {b"I": "<", b"M": ">"}[file.read(4)[:1]]

        def directory(at: int) -> dict[int, tuple[int, int, bytes]]:
            file.seek(at)
            count = int.from_bytes(file.read(2), "little" if order == "<" else "big")
            cells = file.read(12 * count)
            entries = struct.iter_unpack(f"{order}HHI4s", cells[: len(cells) // 12 * 12])
            return {tag: (kind, number, value) for tag, kind, number, value in entries}

        def number(entry: tuple[int, int, bytes]) -> int:
            kind, width = ("H", 2) if entry[0] == SHORT else ("I", 4)
            return int(struct.unpack(f"{order}{kind}", entry[2][:width])[0])

        first = directory(number((LONG, 1, file.read(4))))
        tags = {tag: number(entry) for tag, entry in first.items()}
        if SUB_IFDS in first:
            places = [tags[SUB_IFDS]]
            if first[SUB_IFDS][1] > 1:
                file.seek(places[0])
                places = [number((LONG, 1, cell)) for cell in _fours(file.read(4 * min(first[SUB_IFDS][1], 16)))]
            for place in places:
                below = directory(place).get(PHOTOMETRIC)
                if below and number(below) in SENSOR:
                    tags[PHOTOMETRIC] = number(below)
    return tags


def _fours(data: bytes) -> list[bytes]:
    return [data[at : at + 4] for at in range(0, len(data) - 3, 4)]


def _packed(start: bytes, suffix: str) -> Kind | None:
    """Archives and what lies in them."""
    if start.startswith(b"PK\3\4"):
        if suffix == ".livp":
            return LIVE
        return Kind("a ZIP archive or an office document", "give the {} itself", "other")
    if start.startswith(b"bplist"):
        return ICLOUD if suffix == ".icloud" else Kind("a property list", "give the {} itself", "other")
    if start.startswith(b"\x1f\x8b"):
        try:
            inside = zlib.decompressobj(31).decompress(start, START)
        except zlib.error:
            inside = b""
        kind = _text(inside) if inside else None
        return kind or Kind("a GZIP archive", "unpack it first", "other")
    if b"%PDF-" in start[:1024]:
        return _picture("a PDF document", "export the picture in it as JPEG or PNG")
    if start[128:132] == b"DICM":
        return _picture("a DICOM picture")
    if start[:4] == b"\1\0\0\0" and start[40:44] == b" EMF":
        return _picture("a Windows metafile (EMF)")
    return None


def _text(start: bytes) -> Kind | None:
    """Drawings, pages and other text."""
    encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(start[:2], "utf-8")
    text = start.decode(encoding, "ignore").lstrip("\ufeff \t\r\n").lower()
    if text.startswith(("<!doctype html", "<html", "<head", "<body")):
        return Kind("a web page", "save the {} itself", "other")
    if text.startswith("<") and ("<svg" in text or ":svg" in text):
        return SVG
    if text.startswith("version https://git-lfs"):
        return Kind("a pointer of Git LFS to a file", "fetch that with git lfs pull", "other")
    return None
