"""Rows are what the file says; whatever is wrong with one is said and stops no other."""

import json
import os
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mggdub.batch.manifest import Problem, Row, check_all_used, left_out, read_rows
from mggdub.errors import InputError, UsageError
from mggdub.options import RenderOptions

BASE: dict[str, Any] = {"preview": True, "crf": 30}


def read(source: Path, speech: Path | None = None, all_pairs: bool = False) -> tuple[list[Row], list[Problem]]:
    return read_rows(source, speech, all_pairs, BASE, frozenset({"crf"}))


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.csv",
        "\ufeffPhoto,speech,output,fps,preview,size,mouth-scale,face,background,inpainter,drive",
        'a.png,"b, c.wav",x.mp4,29.97,no,256,0.5,1,#00FF00,fast,',
        "",
        "/d/e.png,,y/z.m4v,,,,,,,,moves.csv",
    )
    cells = {"photo": "a.png", "speech": "b, c.wav", "output": "x.mp4", "fps": "29.97", "preview": False, "size": 256}
    more = {"mouth_scale": 0.5, "face": 1, "background": "#00FF00", "inpainter": "fast", "drive": None}
    other = {"photo": "/d/e.png", "output": "y/z.m4v", "drive": "moves.csv"}
    second = write(tmp_path / "a.jsonl", json.dumps(cells | more), "", json.dumps(other))
    rows, problems = read(first)
    again, none = read(second)
    assert problems == none == [] and [r.number for r in rows] == [2, 4] and [r.number for r in again] == [1, 3]
    for one, two in zip(rows, again, strict=True):
        assert (one.photo, one.speech, one.output, one.options) == (two.photo, two.speech, two.output, two.options)
    wanted = RenderOptions(
        preview=False, crf=30, fps=Fraction(30000, 1001), size=256, mouth_scale=0.5, face="1", background="#00FF00",
        inpainter="fast",
    )  # fmt: skip
    assert rows[0].options == wanted and rows[0].speech == tmp_path / "b, c.wav"
    assert rows[0].given == {"crf", "fps", "preview", "size", "mouth_scale", "face", "background", "inpainter"}
    assert rows[1].options == RenderOptions(preview=True, crf=30, drive=tmp_path / "moves.csv")
    assert rows[1].inputs == (Path("/d/e.png"), tmp_path / "moves.csv") and rows[1].output == Path("y/z.m4v")


def test_suffixes_of_other_programs_mean_the_same(tmp_path: Path) -> None:
    cells = {"photo": "a.png", "speech": "b.wav", "output": "x.mp4"}
    tabs = write(tmp_path / "a.TSV", "\t".join(cells), "\t".join(cells.values()))
    ((one,), _), ((two,), _) = read(tabs), read(write(tmp_path / "a.ndjson", json.dumps(cells)))
    assert one.inputs == two.inputs == (tmp_path / "a.png", tmp_path / "b.wav") and one.output == two.output


BAD = {
    "../x.mp4": "leaves the folder", "a/../../x.mp4": "leaves the folder", "/x.mp4": "is a whole path",
    "C:\\\\x.mp4": "is a whole path", "..\\\\x.mp4": "leaves the folder", "c:x.mp4": "is a whole path",
    ".mggdub/x.mp4": "leaves the folder", "sub/.MGGDUB/x.mp4": "leaves the folder", "x.avi": "does not end in",
    "": "output is empty", "GOOD.mp4": "taken by row 1", "good.mp4/x.mp4": "taken by row 1", "a\\u0000.mp4": "no name",
    "SUB.mp4": "taken by row 2", "\\ud800.mp4": "no name",
}  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="a colon names a stream of a file there")
def test_a_colon_is_a_letter_of_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "photo,speech,output", "a.png,a.wav,12:30.mp4")
    ((row,), problems) = read(path)
    assert (str(row.output), problems) == ("12:30.mp4", [])


@pytest.mark.parametrize("name", BAD)
def test_an_output_stays_in_its_folder_and_alone(tmp_path: Path, name: str) -> None:
    line = '{{"photo": "a.png", "speech": "a.wav", "output": "{}"}}'.format
    path = write(tmp_path / "a.jsonl", line("good.mp4"), line("sub.mp4/x.mp4"), line(name), line("last.mp4"))
    rows, (problem,) = read(path)
    assert [str(row.output) for row in rows] == ["good.mp4", "sub.mp4/x.mp4", "last.mp4"]
    assert problem.number == 3 and BAD[name] in problem.sentence and problem.exit_code == 2
    assert str(problem).startswith(f"Row 3: {path}: ") and str(problem).endswith(".")


@pytest.mark.parametrize("word", ["TRUE", "1", "1.0", "on", "Y", "WAHR", "VRAI", "VERDADERO", "si\u0301"])
def test_yes_and_no_are_read_as_spreadsheets_write_them(tmp_path: Path, word: str) -> None:
    opposite = {"1.0": "0.0", "WAHR": "FALSCH", "VRAI": "FAUX", "VERDADERO": "FALSO"}.get(word, "off")
    lines = [f"a.png,a.wav,{k}.mp4,{cell}" for k, cell in enumerate((word, opposite))]
    rows, problems = read(write(tmp_path / "a.csv", "photo,speech,output,preview", *lines))
    assert [row.options.preview for row in rows] == [True, False] and not problems


def test_comments_are_no_rows(tmp_path: Path) -> None:
    """What nobody can mean as a row is left out; a photo whose name begins with # is one."""
    write(tmp_path / "a.png", "x")
    write(tmp_path / "#2.png", "x")
    lines = ["photo,speech,output", "# Monday", "a.png,a.wav,a.mp4", "#a.png,a.wav,b.mp4", "# a.png,b.wav,b.mp4", "#,,",
             "#2.png,a.wav,c.mp4", "#gone.png,a.wav,d.mp4"]  # fmt: skip
    rows, problems = read(write(tmp_path / "a.csv", *lines))
    assert [row.number for row in rows] == [3, 7, 8] and not problems  # the last one's photo is told when it is read
    good = json.dumps({"photo": "a.png", "speech": "a.wav", "output": "a.mp4"})
    rows, problems = read(write(tmp_path / "a.jsonl", "# Monday", good, f"// {good}", f"  #{good}"))
    assert [row.number for row in rows] == [2] and not problems


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    """One photo with many recordings, and one recording with many photos, are folders, too."""
    (tmp_path / "many").mkdir()
    photo, sound = write(tmp_path / "a.jpg", "x"), write(tmp_path / "a.wav", "x")
    for source, speech, said in (
        (tmp_path / "many", sound, "a.wav is no folder; put the recording into one"),
        (photo, tmp_path / "many", "a.jpg is no folder; put the photo into one"),
        (tmp_path / "many", tmp_path / "gone", "gone does not exist"),
        (tmp_path / "many", None, "name the folder of recordings"),
    ):
        with pytest.raises(UsageError, match=said):
            read(source, speech)
    write(tmp_path / "many" / "b.txt", "x")
    with pytest.raises(InputError, match=r"many holds no photos \(folders in it are not looked into\)"):
        read(tmp_path / "many", tmp_path / "many")


def test_photos_in_folders_of_a_folder_are_told_and_links_to_nothing_are_rows(tmp_path: Path) -> None:
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    for folder in (photos / "2023", photos / "2024", photos / "texts", photos / ".hidden", sounds / "old"):
        folder.mkdir(parents=True)
        write(folder / ("a.wav" if folder.parent == sounds else "a.txt" if folder.name == "texts" else "a.png"), "x")
    write(sounds / "b.wav", "x")
    (photos / "b.png").symlink_to(tmp_path / "gone.png")
    rows, problems = read(photos, sounds)
    assert [row.photo.name for row in rows] == ["b.png"] and not problems
    assert [sentence.split(": ", 1)[1] for sentence in left_out(photos, sounds)] == [
        "the photos in its folders (2023, 2024) are left out; give such a folder itself.",
        "the recordings in its folders (old) are left out; give such a folder itself.",
    ]
    assert not list(left_out(write(tmp_path / "a.csv", "photo"), None))


def test_names_of_a_pair_may_differ_in_capitals(tmp_path: Path) -> None:
    """And in spaces at their ends; those that are the same come first."""
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    for folder, names in ((photos, ("Anna.JPG", "ben.png", "BEN.png", "cleo .png", "dan.png")),
                          (sounds, ("anna.wav", "ben.wav", "BEN.wav", "Cleo.wav", "dana.wav"))):  # fmt: skip
        folder.mkdir()
        for name in names:
            write(folder / name, "x")
    rows, problems = read(photos, sounds)
    pairs = {(row.photo.name, row.speech.name) for row in rows if row.speech}
    assert pairs == {("Anna.JPG", "anna.wav"), ("BEN.png", "BEN.wav"), ("cleo .png", "Cleo.wav")}
    said = sorted(problem.message for problem in problems)
    assert len(said) == 3 and "is taken by row" in said[2]  # ben.mp4 is BEN.mp4 on many disks
    assert "dan.png: it has no recording" in said[0] and "dana.wav: it has no photo" in said[1]


def test_a_table_without_names_of_columns_is_told_to_have_them(tmp_path: Path) -> None:
    """Who writes no header is not told that his first photo is no column."""
    path = write(tmp_path / "a.csv", "anna.jpg,one.wav,a.mp4", "ben.jpg,two.wav,b.mp4")
    with pytest.raises(UsageError, match=r"does not name its columns; .*photo,speech,output\.$"):
        read(path)
    path = write(tmp_path / "b.csv", "# of Monday", "# photo,speech,output", "a.png,a.wav,a.mp4")
    rows, problems = read(path)
    assert [row.number for row in rows] == [3] and not problems


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("crf", "99", "--crf"), ("crf", "1.5", "crf"), ("preview", "maybe", "write yes or no"), ("fps", "1/0", "--fps"),
     ("size", "x", "size"), ("pose", "wild", "--pose"), ("motion", "wild", "--motion"),
     ("gaze", "up", "--gaze"), ("mouth_scale", "nan", "--mouth-scale"),
     ("speech", "", "nothing to say"), ("photo", " ", "photo is empty"), ("force", "1", "'force' is none of")],
)  # fmt: skip
def test_a_bad_cell_is_one_row(tmp_path: Path, column: str, value: str, words: str) -> None:
    good = {"photo": "a.png", "speech": "a.wav", "output": "a.mp4"}
    path = write(tmp_path / "a.jsonl", json.dumps(good | {column: value}), json.dumps(good))
    rows, (problem,) = read(path)
    assert [row.number for row in rows] == [2] and problem.number == 1 and words in problem.sentence


def test_options_that_change_nothing_are_told_as_a_render_tells_them(tmp_path: Path) -> None:
    """A column, or the command line where no row makes anything of it; cells that say the default are no choice."""
    lines = ["photo,speech,drive,output,emotion,emotion_strength,seed,motion,expression_scale",
             "a.png,a.wav,,a.mp4,,0.5,,,", "a.png,a.wav,,b.mp4,happy,0.5,3,,", "a.png,,a.csv,c.mp4,,1,0,,1",
             "a.png,,a.csv,d.mp4,,,3,,", "a.png,a.wav,,e.mp4,,,,still,1.5"]  # fmt: skip
    rows, problems = read(write(tmp_path / "a.csv", *lines))
    assert [row.number for row in rows] == [3, 4] and [problem.number for problem in problems] == [2, 5, 6]
    for problem, words in zip(problems, ("name one, such as", "--seed is for speech", "still has none"), strict=True):
        assert words in problem.sentence
    check_all_used(rows, frozenset({"seed", "emotion_strength", "crf"}))
    with pytest.raises(UsageError, match=r"--seed is for speech.* No row has it otherwise\."):
        check_all_used(rows[1:], frozenset({"seed", "crf"}))


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    rows, problems = read(write(tmp_path / "a.csv", "photo,speech,output", "a,b", "a,b,c.mp4,d", "a,b,c.mp4"))
    assert [row.number for row in rows] == [4] and [p.number for p in problems] == [2, 3]
    lines = ["[]", "{", '{"photo": []}', "3", "[" * 10_000, '{"photo": "a", "speech": "b", "output": "c.mp4"}']
    rows, problems = read(write(tmp_path / "a.jsonl", *lines))
    assert [row.number for row in rows] == [6] and [p.number for p in problems] == [1, 2, 3, 4, 5]
    assert all("JSON object" in p.sentence and "a line of its own" in p.sentence for p in problems)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [("a.csv", "photo,output,colour\n", UsageError), ("a.csv", "photo,speech\n", UsageError),
     ("a.csv", "photo,photo,output\n", UsageError), ("a.csv", "photo,output\n", InputError),
     ("a.csv", "\n", UsageError), ("a.csv", 'photo,output\n"a', InputError), ("a.txt", "photo\n", UsageError),
     ("a.jsonl", "\n", InputError), ("a.csv", b"photo,output\n\xff\xfe", InputError)],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_whole(tmp_path: Path, name: str, text: Any, error: type[Exception]) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error):
        read(tmp_path / name)


LINE = "ä.png;b, c.wav;ö/x.mp4;29,97;0,5"
TABLE = f"photo;speech;output;fps;Mouth-Scale\r\n{LINE}\r\n"


@pytest.mark.parametrize(
    "data",
    [TABLE.encode(), TABLE.encode("utf-8-sig"), TABLE.encode("utf-16"), TABLE.encode("utf-16-be"),
     TABLE.encode("utf-16-le"), TABLE.encode("utf-32"), f"\ufeff{TABLE}".encode("utf-16"), f"sep=;\r\n{TABLE}".encode(),
     f"\r\n;;;;\r\n{TABLE}".encode(),
     TABLE.replace("\r\n", "\r").encode(),
     TABLE.replace("\r\n", ";;\r\n").encode(), TABLE.replace(";", "\t").encode(), TABLE.replace(";", "|").encode()],
)  # fmt: skip
def test_what_spreadsheets_make_of_a_table(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    (row,), problems = read(tmp_path / "a.csv")
    assert not problems and (row.photo, row.speech) == (tmp_path / "ä.png", tmp_path / "b, c.wav")
    assert row.output == Path("ö/x.mp4")
    assert (row.options.fps, row.options.mouth_scale) == (Fraction(30000, 1001), 0.5)


def test_whole_numbers_may_end_in_point_nought(tmp_path: Path) -> None:
    """As pandas writes a column that has empty cells."""
    head, cells = "photo,speech,output,size,face,seed,preview,crf", "a.png,b.wav,c.mp4,300.0,1.0,7.00,1.0,20.0"
    (row,), problems = read(write(tmp_path / "a.csv", head, cells))
    wanted = RenderOptions(size=300, face="1", seed=7, preview=True, crf=20)
    assert not problems and row.options == wanted
    _, (problem,) = read(write(tmp_path / "a.csv", head, cells.replace("300.0", "300.5")))
    assert "size is '300.5'" in problem.sentence


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TABLE.encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8: line 2 holds the byte 0xe4.*save it as"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(TABLE.encode("utf-16")[:-1])
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "a.csv")


MANY = 30_000
ODD = {
    "columns.csv": ",".join(f"c{k}" for k in range(MANY)), "twice.csv": ",".join(["photo"] * MANY),
    "fields.jsonl": json.dumps({f"c{k}": k for k in range(MANY)}), "cells.csv": "photo,output\n" + "a," * MANY,
    "deep.csv": "photo,speech,output\na,b," + "a/" * 60_000 + "x.mp4", "lines.csv": "photo,output" + "\n" * 1_100_000,
    "rows.csv": "photo,output\n" + "a\n" * 200_000, "cell.csv": "photo,output\na," + "x" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_large_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ODD[name])
    try:
        rows, problems = read(tmp_path / name)
    except (UsageError, InputError) as error:
        rows, problems = [], [Problem(0, "", str(error), error.exit_code)]
    assert not rows and len(problems) == 1 and problems[0].exit_code in (2, 3) and len(str(problems[0])) < 600


BASED = {"photo": '"a"', "speech": '"b"', "output": '"c.mp4"'}
VALUES = {
    "fps": ("1e9999999", '"1e9999999"', '"1e-9999999"', "NaN", '"1/0"', "9" * 5000, '"9/' + "9" * 5000 + '"'),
    "seed": ("9" * 5000, "9" * 400, "1e400", "-Infinity", "1.5", '""1', "[1]", '{"a": 1}', "[" * 50_000),
    "size": ("9" * 300, "NaN", "true"), "orbit": ("9" * 400, '"1,000,000"', '"0x10"'), "face": (f'"{"9" * 5000}"',),
    "output": (f'"{"v" * 300}.mp4"', f'"{"ü" * 126}.mp4"', '"\\ud800.mp4"', '"a\\u001b.mp4"', '"a\\u0085.mp4"'),
    "photo": ('"' + "p" * 300 + '"', '"' + "p/" * 3000 + '"'),
}  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [(column, value) for column in VALUES for value in VALUES[column]])
def test_odd_values_are_one_problem_of_one_row(tmp_path: Path, column: str, value: str) -> None:
    line = ", ".join(f'"{name}": {text}' for name, text in (BASED | {column: value}).items())
    good = ", ".join(f'"{name}": {text}' for name, text in BASED.items())
    (row,), (problem,) = read(write(tmp_path / "a.jsonl", f"{{{line}}}", f"{{{good}}}"))
    assert (row.number, problem.number) == (2, 1) and problem.exit_code in (2, 3) and len(str(problem)) < 600
    assert str(problem).endswith(".") and str(problem).isprintable()


def test_a_name_may_be_as_long_as_a_disk_takes_and_of_any_bytes(tmp_path: Path) -> None:
    long = "v" * 251 + ".mp4"
    lines = [
        '{"photo": "a", "speech": "caf\\udce9.wav", "output": "caf\\udce9.mp4"}',
        f'{{"photo": "a", "speech": "b", "output": "{long}"}}',
        '{"photo": "a", "photo": "b", "output": "c.mp4"}',
    ]
    rows, (problem,) = read(write(tmp_path / "a.jsonl", *lines))
    assert problem.number == 3 and "twice" in problem.sentence
    assert os.fsencode(rows[0].speech or "") == os.fsencode(tmp_path) + b"/caf\xe9.wav"
    assert os.fsencode(rows[0].output) == b"caf\xe9.mp4" and str(rows[1].output) == long
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    photos.mkdir()
    sounds.mkdir()
    Path(os.fsdecode(os.fsencode(photos) + b"/\xe9.png")).touch()
    Path(os.fsdecode(os.fsencode(sounds) + b"/\xe9.wav")).touch()
    (photos / "e\u0301.png").touch()  # as a Mac writes it
    (sounds / "\xe9.wav").touch()
    rows, problems = read(photos, sounds)
    assert sorted(os.fsencode(row.output) for row in rows) == [b"e\xcc\x81.mp4", b"\xe9.mp4"] and not problems


def test_files_are_found_as_other_systems_write_their_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos/anna.png", unicodedata.normalize("NFD", "zoë.png"), "zoë.wav", "as\\it is.wav"):
        (tmp_path / name).touch()
    lines = ("photo,speech,output", "photos\\anna.png,zoë.wav,a.mp4", "zoë.png,as\\it is.wav,b.mp4")
    rows, problems = read(write(tmp_path / "a.csv", *lines))
    assert not problems and all(path.exists() for row in rows for path in row.inputs)
    rows, problems = read(write(tmp_path / "a.csv", lines[0], "https://a.b/c.png,zoë.wav,a.mp4"))
    assert not rows and "is an address" in problems[0].sentence


def test_two_folders_go_together_by_name(tmp_path: Path) -> None:
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    for folder, names in ((photos, "b.JPG a.png c.mgg notes.txt .d.png"), (sounds, "a.wav b.AMR e.ogg notes.md")):
        folder.mkdir()
        for name in names.split():
            (folder / name).touch()
    rows, problems = read(photos, sounds)
    assert [(r.photo.name, r.speech and r.speech.name, str(r.output)) for r in rows] == [
        ("a.png", "a.wav", "a.mp4"),
        ("b.JPG", "b.AMR", "b.mp4"),
    ]
    assert [Path(p.file).name for p in problems] == ["c.mgg", "e.ogg"]
    rows, problems = read(photos, sounds, all_pairs=True)
    assert len({row.output for row in rows}) == 9 and not problems
    for wrong in ((photos, None, False), (photos, photos / "a.png", False), (photos / "a.png", sounds, False)):
        with pytest.raises(UsageError):
            read(*wrong)
