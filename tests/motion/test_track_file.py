"""Tracks as CSV: what is written comes back, what other programs write is understood, what is wrong is named."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mggdub.errors import InputError, OutputError, UsageError
from mggdub.motion.track_file import (
    COLUMNS,
    LONGEST,
    read_track,
    track_notes,
    unplayable_notes,
    write_track,
)
from mggdub.types import BLENDSHAPES, ExpressionTrack

JAW, BLINK = BLENDSHAPES.index("jawOpen"), BLENDSHAPES.index("eyeBlinkLeft")
Write = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write text to a track file."""

    def write(text: str) -> Path:
        path = tmp_path / "track.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 1, (7, size)).astype(np.float32) for size in (52, 8, 3, 3, 4)]
    track = ExpressionTrack((np.arange(7) + 0.5) / 25, *parts)
    path = tmp_path / "track.csv"
    write_track(path, track)
    back = read_track(path)
    assert back.missing == () and back.has_lips and not back.live_link
    for name in ("times", "blendshapes", "lip_modes", "rotation", "translation", "torso"):
        assert np.allclose(getattr(back.track, name), getattr(track, name), atol=1e-6), name
    assert tuple(path.read_text().splitlines()[0].split(",")) == COLUMNS
    with pytest.raises(OutputError, match="--force"):
        write_track(path, track)
    write_track(path, track, force=True)
    with pytest.raises(UsageError, match=r"\.csv"):
        write_track(tmp_path / "track.txt", track)
    assert [p.name for p in tmp_path.iterdir()] == ["track.csv"]


def test_missing_columns_are_zero_and_named(written: Write) -> None:
    file = read_track(written("jawOpen,note,time_s\n0.5,a,0.02\n\n0.75,b,0.06\n"))
    assert file.track.blendshapes[:, JAW].tolist() == [0.5, 0.75]
    assert np.count_nonzero(file.track.blendshapes) == 2 and not file.track.rotation.any()
    assert "jawOpen" not in file.missing and len(file.missing) == len(COLUMNS) - 2
    assert not file.has_lips


@pytest.mark.parametrize("name", ["eyeBlinkLeft", "EyeBlinkLeft", "eyeBlink_L", "eye_blink_left", "eye-blink-l"])
def test_units_are_known_however_they_are_written(written: Write, name: str) -> None:
    file = read_track(written(f"Time_S,{name},jaw_open,Pitch-Deg\n0.02,0.5,0.25,3\n"))
    assert (file.track.blendshapes[0, BLINK], file.track.blendshapes[0, JAW]) == (0.5, 0.25)
    assert file.track.rotation[0, 0] == 3 and len(file.missing) == len(COLUMNS) - 4


def test_empty_cells_at_the_end_of_lines_are_none(written: Write) -> None:
    assert read_track(written("time_s,jawOpen\n0.02,0.5,,\n0.06,0.25, \n")).track.blendshapes[:, JAW].tolist() == [
        0.5,
        0.25,
    ]


def test_a_live_link_face_export_is_recognised(written: Write) -> None:
    file = read_track(
        written(
            "Timecode,BlendShapeCount,EyeBlinkLeft,JawOpen,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw\r\n"
            "23:59:59:28.500,61,0.1,0.2,0.0,0.0,0.0,0.3\r\n"
            "23:59:59:29.500,61,0.9,0.3,0.1,0.2,0.3,0.3\r\n"
            "00:00:00:00.500,61,0.1,0.4,0.1,0.2,0.3,0.3\r\n"
            "00:00:01:00.500,61,0.1,0.4,0.1,0.2,0.3,0.3\r\n"
        )
    )
    assert file.live_link and not file.has_lips
    assert np.allclose(file.track.times - file.track.times[0], np.array([0, 1, 2, 32]) / 30)
    assert file.track.times[0] == pytest.approx(1 / 60)
    assert np.allclose(file.track.blendshapes[:, BLINK], [0.1, 0.9, 0.1, 0.1])
    assert np.allclose(file.track.rotation[1], np.rad2deg([0.2, -0.1, 0.3]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jawOpen\n0.5\n", "no column time_s"),
        ("time_s,a,b\n0,1,2\n", "browDownLeft"),
        ("time_s,jawOpen\n", "no lines"),
        ("", "no column time_s"),
        ("time_s,jawOpen,JAWOPEN\n0,1,1\n", "JAWOPEN twice"),
        ("time_s,jawOpen,mouthLeft\n0,0,0\n1,0,open\n", "line 3: .*mouthLeft"),
        ("time_s,jawOpen\n0,nan\n", "line 2: .*jawOpen"),
        ("time_s,jawOpen\n0,1e30\n", "line 2: .*jawOpen"),
        ("time_s,jawOpen\ninf,1\n", "time_s"),
        ("time_s,jawOpen\n0,\n", "line 2: .*jawOpen"),
        ("time_s,jawOpen\n0,1,2\n", "line 2 has 3 cells for 2 columns"),
        ("time_s,jawOpen\n0,1\n1,1\n1,1\n", "line 4: time_s does not increase"),
        ("time_s,jawOpen\n-1,1\n", "line 2: time_s is below 0; count from the start"),
        ("time_s,jawOpen\n" + "".join(f"{33 * k},1\n" for k in range(90)), "a line every 33 s; time_s counts seconds"),
        (f"time_s,jawOpen\n0,1\n{LONGEST + 1},1\n", "longer than 30 minutes"),
        ("time_s,jawOpen\n0,1\n1,50\n", "line 3: jawOpen is 50, .*percents"),
        ("time_s,jawOpen,jaw_open\n0,1,1\n", "jawOpen, jaw_open, which mean the same"),
        ("Timecode,JawOpen\n12:00:00,1\n", "line 2: .*Timecode"),
        ('time_s,jawOpen\n0,"1\n', "not a CSV"),
        ('time_s,jawOpen\n0,"1' + "\n" * 200_000, "not a CSV"),
        ("time_s,jawOpen\n0,1\0\n", "zero bytes"),
        ("time_s,jawOpen" + " " * 500 + "\n0,1\0\n", "line 2: .*jawOpen"),
        ("time_s,jawOpen\n0,1\n\n\n0.5,x\n", "line 5: .*jawOpen"),
        ("time_s,jawOpen\n0,1\n\n\n0,1\n", "line 5: time_s"),
        ("sep=;\ntime_s;jawOpen\n0;x\n", "line 3: .*jawOpen"),
        ("sep=;\n\n;\ntime_s;jawOpen\n0;x\n", "line 5: .*jawOpen"),
        ("time_s,jawOpen\n0,1,0,5\n", "line 2 has 4 cells .*decimal commas"),
        ("time_s,jawOpen" + ",x" * 100_000, "100002 columns"),
        ("time_s,jawOpen" + "".join(f",x{i}" for i in range(100_000)), "100002 columns"),
        ("time_s,jawOpen,x\x1b[31m\u202e" + "y" * 500 + ",X\x1b[31m\u202e" + "Y" * 500, "twice"),
        ("time_s,jawOpen\n0," + "1" * 2_000_000, "line 2 is longer than"),
        ("time_s,jawOpen\n0," + "1" * 200_000, "not a CSV"),
        ("time_s,jawOpen\n0,1\n" + "\n" * 900_000, "lines; cut it"),
        ("time_s,jawOpen\n0,1\n1e-9,1\n2e-9,1\n", "240 lines a second"),
        ("time_s,jawOpen\n0,1\n" + "".join(f"{i / 2000:.5f},1\n" for i in range(1, 50)), "240 lines a second"),
        ("Timecode,JawOpen\n" + "9" * 400 + ":00:00:00,1\n", "line 2: .*Timecode"),
        ("Timecode,JawOpen\n12:00:00:999,1\n", "line 2: .*Timecode"),
        ("Timecode,JawOpen\n12:75:00:00,1\n", "line 2: .*Timecode"),
        ("Timecode,JawOpen\n12:00:00:00,1\n13:00:00:00,1\n", "longer than 30 minutes"),
        ("Timecode,JawOpen\n" + "23:00:00:00,1\n01:00:00:00,1\n" * 40, "longer than 30 minutes"),
    ],
)
def test_bad_files_are_named_in_one_sentence(written: Write, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_track(written(text) if text else written("\n"))
    assert str(caught.value).isprintable() and len(str(caught.value).replace(str(written("")), "")) < 400


TABLE = "time_s,jawOpen,note\n0.25,0.5,grün\n0.5,-0.75,rot\n"
SEMICOLONS = TABLE.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("latin-1"),
        TABLE.encode("utf-16"),
        TABLE.encode("utf-16-le"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        TABLE.replace(",", "\t").encode(),
        TABLE.replace(",", " ; ").encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.removesuffix("\n").encode(),
        SEMICOLONS.encode(),
        SEMICOLONS.encode("utf-16"),
        ("sep=;\r\n" + SEMICOLONS).encode("utf-8-sig"),
        ("\n \n" + TABLE).encode("utf-8-sig"),
        (";;\r\n" + SEMICOLONS).encode("utf-16"),
        TABLE.replace("\n0.5,", "\n# from here on he smiles\n#,,\n0.5,").encode(),
        f"# made by hand, today\n#\n{TABLE}".encode(),
        f"# {TABLE}".encode(),  # as numpy.savetxt writes it
        TABLE.replace("0.5,", '"0,5",').replace("time_s", '"time_s"').encode(),
        SEMICOLONS.replace(";", "\t").encode("cp1252"),
    ],
)
def test_every_dialect_of_spreadsheets_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "track.csv"
    path.write_bytes(data)
    track = read_track(path).track
    assert track.times.tolist() == [0.25, 0.5] and track.blendshapes[:, JAW].tolist() == [0.5, -0.75]


@pytest.mark.parametrize(
    ("times", "said"),
    [("0 0.04 0.08", ""), ("0.9 0.94", ""), ("0 0.04 9 9.04", ""), ("600", "begins at 600 s"),
     ("100.02 100.06", "begins at 100 s"), ("0 1 2 3", "every 1 s; .*frames"), ("20 60 100", "every 40 s")],
)  # fmt: skip
def test_times_that_may_not_be_meant_are_told(written: Write, times: str, said: str) -> None:
    path = written("time_s,jawOpen\n" + "".join(f"{time},0\n" for time in times.split()))
    notes = track_notes(path, read_track(path))
    assert len(notes) == bool(said) and re.search(said, " ".join(notes))


@pytest.mark.parametrize(
    ("given", "degrees"),
    [("358 359.5 0.5 2", [-2.0, -0.5, 0.5, 2.0]), ("2 0 359 357", [2.0, 0.0, -1.0, -3.0]),
     ("179 -179 -178", [179.0, 181.0, 182.0]), ("720 725", [0.0, 5.0]), ("30 -40 50", [30.0, -40.0, 50.0])],
)  # fmt: skip
def test_angles_may_be_counted_from_0_to_360(written: Write, given: str, degrees: list[float]) -> None:
    """A head that goes through 0 does not leap by 360 degrees."""
    rows = "".join(f"{0.04 * i},{degree}\n" for i, degree in enumerate(given.split()))
    assert read_track(written(f"time_s,yaw_deg\n{rows}")).track.rotation[:, 1].tolist() == degrees


@pytest.mark.parametrize(
    ("column", "said"),
    [("jawopened", "jawopened (jawOpen?)"), ("bs_jawOpen", "bs_jawOpen (jawOpen?)"), ("yaw", "yaw (yaw_deg?)"),
     ("eyeBlink", "eyeBlink (eyeBlinkLeft?)"), ("note", ""), ("x", ""), ("", ""),
     ("mouthClosed_L", "mouthClosed_L (mouthClose?)")],
)  # fmt: skip
def test_a_column_whose_name_is_mistaken_is_told(written: Write, column: str, said: str) -> None:
    file = read_track(written(f"time_s,browInnerUp,{column}\n0.02,0,1\n0.06,0,1\n"))
    notes = track_notes(Path("a.csv"), file)
    assert len(notes) == bool(said) and said in "".join(notes)


def test_a_column_that_is_there_has_no_namesakes(written: Write) -> None:
    assert not read_track(written("time_s,jawOpen,jawOpenRaw\n0.02,0,1\n")).unused


def test_half_an_hour_of_the_fastest_camera_is_not_held_as_text(tmp_path: Path) -> None:
    path = tmp_path / "track.csv"
    path.write_text("time_s,jawOpen,x\n" + "".join(f"{i / 240:.4f},0.5,{'y' * 40}\n" for i in range(8_000)))
    tracemalloc.start()
    file = read_track(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file.track) == 8_000
    assert most < 4 * sum(part.nbytes for part in vars(file.track).values() if isinstance(part, np.ndarray))


def test_bytes_are_no_track(tmp_path: Path, head_png: Path) -> None:
    path = tmp_path / "track.csv"
    path.write_bytes(head_png.read_bytes())
    with pytest.raises(InputError, match="not a CSV"):
        read_track(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_track(tmp_path / "none.csv")


@pytest.mark.parametrize(("count", "step", "said"), [(9, 0.04, ""), (9, 0.001, "240 lines"), (2002, 0.9, "30 minutes")])
def test_a_track_that_could_not_be_played_is_told_when_it_is_written(
    tmp_path: Path, count: int, step: float, said: str
) -> None:
    times = (np.arange(count) + 0.5) * step
    units, modes = np.zeros((count, 52), np.float32), np.zeros((count, 8), np.float32)
    write_track(tmp_path / "a.csv", ExpressionTrack(times, units, modes))
    notes = unplayable_notes(tmp_path / "a.csv", times)
    assert len(notes) == bool(said) and said in "".join(notes)
    if said:
        with pytest.raises(InputError, match=said):
            read_track(tmp_path / "a.csv")
    else:
        read_track(tmp_path / "a.csv")
