"""What a sound or video file holds, as FFmpeg's demuxers have it (PyAV): facts from structures, never from prose.

The file is taken apart in this process, but only the first picture is decoded in it; the rest is for ffmpeg's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.format import Flags
from av.stream import Disposition

from mggdub.types import Array

# What may be read: formats that hold sound and pictures themselves. Left out are playlists and manifests, which open
# other files (hls, dash, concat, imf, sdp ...), devices, single pictures, text, and samples without a header (s16le,
# alaw, mulaw ...), whose rate nobody can tell.
FORMATS = (
    "3dostr,3g2,3gp,4xm,aa,aac,aax,ac3,ac4,ace,acm,act,adp,ads,adx,aea,afc,aiff,aix,amr,amrnb,amrwb,apac,apc,ape,apm,"
    "apng,aptx,aptx_hd,apv,argo_asf,argo_brp,asf,ast,au,av1,avi,avr,avs,avs2,avs3,bethsoftvid,bfi,bfstm,bink,binka,"
    "bit,bmv,boa,bonk,brstm,c93,caf,cavsvideo,cdxl,cine,codec2,daud,dcstr,derf,dfa,dhav,dirac,dnxhd,dsf,dsicin,dss,"
    "dts,dtshd,dv,dxa,ea,eac3,epaf,evc,film_cpk,filmstrip,flac,flic,flv,fsb,fwse,g722,g723_1,g729,gdv,genh,gif,gsm,"
    "gxf,h261,h263,h264,hca,hcom,hevc,hnm,iamf,idcin,iff,ifv,ilbc,ingenient,ipmovie,ipu,ircam,iss,iv8,ivf,ivr,jv,kux,"
    "kvag,laf,lc3,live_flv,lmlm4,loas,luodat,lvf,lxf,m4a,m4v,matroska,mca,mcc,mgsts,mj2,mjpeg,mjpeg_2000,mlp,mlv,mm,"
    "mmf,moflex,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mpegvideo,msf,msnwctcp,mtaf,mtv,musx,mv,mvi,mxf,mxg,nc,nistsphere,"
    "nsp,nsv,nut,nuv,obu,ogg,oma,osq,paf,pmp,pp_bnk,psxstr,pva,pvf,qcp,qoa,r3d,redspark,rka,rl2,rm,roq,rpl,rsd,rso,"
    "s337m,sbc,sdns,sdr2,sds,sdx,ser,sga,shn,siff,simbiosis_imx,sln,smjpeg,smk,smush,sol,sox,spdif,svag,svs,swf,tak,"
    "thp,tiertexseq,tmv,truehd,tta,ty,usm,vag,vc1,vc1test,vividas,vivo,vmd,voc,vpk,vqf,vvc,w64,wady,wav,wavarc,"
    "wc3movie,webm,webp_anim,wsaud,wsd,wsvqa,wtv,wv,wve,xa,xmd,xmv,xvag,xwma,yop,yuv4mpegpipe"
)
MOST_PIXELS = 8192 * 4320  # of a frame; more is taken for a bomb
PATIENCE = 300  # packets in which the first picture must come
SIMPLE = 1001  # the largest denominator of a rate that is taken as it is; others are measured, and NTSC's is meant
FLOATS = ("pcm_f", "wavpack")  # codecs whose samples may be anything; of others a decoder makes what can be played
NO_TIME = 2e-6  # s, between clocks that are rounded
ANY_BYTES = "latin-1"  # tags may hold anything; they are not looked at
BUFFER = 1 << 20  # bytes that are read from a pipe at once


class NotMedia(Exception):
    """A file that FFmpeg cannot take apart; `refused` if it is of a kind that is not read."""

    def __init__(self, refused: bool) -> None:
        super().__init__(refused)
        self.refused = refused


@dataclass(frozen=True)
class SoundTrack:
    """What the container says of one sound."""

    index: int  # of the stream in the file
    sample_rate: int  # Hz
    channels: int
    layout: str  # mono, stereo, 5.1 ...; empty if the file says of more than two channels only that they are there
    floats: str = ""  # fltp or dblp where samples are stored as such: they may be above full scale, or no numbers
    alone: bool = False  # no other sound or picture shares its clock
    shift: float = 0.0  # s to add to ffmpeg's stamps, see `_shift`


@dataclass(frozen=True)
class PictureTrack:
    """What the container says of one moving picture."""

    index: int  # of the stream in the file
    fps: Fraction | None
    shift: float = 0.0  # s, as of a sound


@dataclass(frozen=True)
class Contents:
    """Tracks in the order in which players choose them: the marked default, then as they come."""

    duration: float  # s, as claimed; 0 if the file does not say
    sounds: tuple[SoundTrack, ...]
    pictures: tuple[PictureTrack, ...]


@dataclass(frozen=True)
class FirstPicture:
    """What decoding shows of a track."""

    width: int  # px as stored
    height: int
    aspect: Fraction  # of a pixel, width over height
    rotation: int  # degrees, counterclockwise, by which a viewer turns it
    colours: tuple[int, int]  # code points (H.273) of primaries and transfer, 2 if they are not told
    interlaced: bool  # its lines are of two moments


def contents(path: Path) -> Contents:
    """The tracks of a file. Raises NotMedia."""
    with _opened(path) as file:
        sounds, pictures = _as_players_choose(file.streams.audio), _as_players_choose(_moving(file.streams.video))
        alone = len(sounds) + len(pictures) == 1
        return Contents(
            duration=max(0.0, (file.duration or 0) / av.time_base),
            sounds=tuple(_sound(stream, alone, _shift(file, stream)) for stream in sounds),
            pictures=tuple(PictureTrack(stream.index, _rate(stream), _shift(file, stream)) for stream in pictures),
        )


def first_picture(path: Path, index: int) -> FirstPicture | None:
    """What the first picture of a track is, None if none can be decoded within MOST_PIXELS. Raises NotMedia."""
    with _opened(path) as file:
        stream = file.streams[index]
        if stream.codec_context is None:
            return None
        frame = _first_frame(file, stream)
        if frame is None:
            return None
        aspect = max(Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1), Fraction(0))
        colours = int(frame.color_primaries), int(frame.color_trc)
        return FirstPicture(
            frame.width, frame.height, aspect or Fraction(1), _turn(frame), colours, bool(frame.interlaced_frame)
        )


def lasts(path: Path, index: int, seconds: float) -> bool:
    """Whether the packets of a track, not the container's claim, go on for longer. Raises NotMedia."""
    with _opened(path) as file:
        return any(end > seconds for _, end in _packet_ends(file, [file.streams[index]]))


def ends(path: Path) -> tuple[int, float, float | None]:
    """(pictures, s at which the last one ends, s at which the sound ends or None) by the packets of a video.

    (0, 0.0, None) of what is no video.
    """
    shown: list[float] = []
    heard: list[float] = []
    with suppress(NotMedia), _opened(path) as file:
        pictures, sounds = file.streams.video[:1], file.streams.audio[:1]
        for index, end in _packet_ends(file, [*pictures, *sounds]):
            (heard if sounds and index == sounds[0].index else shown).append(end)
    return len(shown), max(shown, default=0.0), max(heard, default=None)


def raw_frames(pipe: IO[bytes], width: int, height: int) -> Iterator[tuple[float, Array]]:
    """(s, frame [H, W, 3] uint8) of an ffmpeg that writes rgb24 of one size as NUT into a pipe."""
    try:
        with av.open(pipe, "r", format="nut", buffer_size=BUFFER, metadata_encoding=ANY_BYTES) as file:
            for packet in file.demux(video=0):
                if packet.size == width * height * 3 and packet.pts is not None:
                    pixels = np.frombuffer(memoryview(packet), np.uint8)  # of the packet, not a copy
                    yield float(packet.pts * packet.time_base), pixels.reshape(height, width, 3)
    except (av.FFmpegError, IndexError):  # an ffmpeg that decodes nothing writes nothing, or half a header
        return


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """`concat:`, `http:` and the like in a name mean nothing."""
    try:
        with av.open(
            f"file:{path}",
            options={"max_pixels": str(MOST_PIXELS), "threads": "1"},
            container_options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
            metadata_encoding=ANY_BYTES,
        ) as file:
            yield file
    except av.FFmpegError as error:
        raise NotMedia(isinstance(error, av.ArgumentError)) from error


def _moving(streams: Any) -> list[Any]:
    """Without covers and thumbnails, which look like videos; a single picture, as of an AVIF sequence, comes last."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return sorted((one for one in streams if not one.disposition & still), key=lambda stream: bool(stream.frames == 1))


def _as_players_choose(streams: Any) -> list[Any]:
    """What can be decoded, the marked default, what is for everybody, then as they come."""
    special = Disposition.hearing_impaired | Disposition.visual_impaired | Disposition.comment

    def rank(stream: Any) -> tuple[bool, bool, bool]:
        marks = stream.disposition
        return stream.codec_context is None, not marks & Disposition.default, bool(marks & special)

    return sorted(streams, key=rank)  # a stable sort


def _shift(file: Any, stream: Any) -> float:
    """S after the start of the file at which a track starts, where ffmpeg does not count them.

    In formats whose clock may jump, as transport streams, it counts from the first of the tracks that it is asked for.
    """
    jumps = file.format.flags & Flags.ts_discont.value
    if not jumps or stream.start_time is None or file.start_time is None:
        return 0.0
    late = float(stream.start_time * stream.time_base) - file.start_time / av.time_base
    return late if late > NO_TIME else 0.0


def _sound(stream: Any, alone: bool, shift: float) -> SoundTrack:
    codec = stream.codec_context
    if codec is None:
        return SoundTrack(stream.index, 0, 0, "", "", alone, shift)
    name = codec.layout.name
    plain = {1: "mono", 2: "stereo"}.get(codec.channels, "")
    layout = plain if "channels" in name else name
    floats = f"{codec.format.name[:3]}p" if codec.name.startswith(FLOATS) and codec.format.name[0] in "fd" else ""
    return SoundTrack(stream.index, codec.sample_rate or 0, codec.channels, layout, floats, alone, shift)


def _rate(stream: Any) -> Fraction | None:
    rate = next((r for r in (stream.average_rate, stream.guessed_rate, stream.base_rate) if r and r > 0), None)
    return None if rate is None else Fraction(rate)


def _packets(file: Any, streams: list[Any]) -> Iterator[Any]:
    """Those up to where the file is damaged."""
    with suppress(av.FFmpegError, IndexError):  # a packet of a stream that was not there at the start
        yield from file.demux(streams)


def _packet_ends(file: Any, streams: list[Any]) -> Iterator[tuple[int, float]]:
    """(stream, s at which it ends) of every packet, counted from the start of the file."""
    start = (file.start_time or 0) / av.time_base
    for packet in _packets(file, streams):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and stamp is not None and packet.time_base:
            yield packet.stream.index, float((stamp + (packet.duration or 0)) * packet.time_base) - start


def _first_frame(file: Any, stream: Any) -> Any:
    stream.codec_context.thread_type = ThreadType.NONE
    for count, packet in enumerate(_packets(file, [stream])):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = []
        if frames or count > PATIENCE:
            return frames[0] if frames else None
    return None


def _turn(frame: Any) -> int:
    """Degrees, by the display matrix that comes with a frame: nine 32-bit integers, its scale in 16.16."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(float)
    if not math.hypot(a, c) or not math.hypot(b, d):
        return 0
    return round(-math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c))))
