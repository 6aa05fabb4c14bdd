"""The command line: options in, one call of the library, results on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tomllib
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mggdub import __version__, signals, streams
from mggdub.config import AVATAR_OPTIONS, BLINKS, DEVICES, POSES, RenderOptions, parse_fps, shortened
from mggdub.errors import BatchError, CheckError, InputError, MggdubError, UsageError

STAGES = {
    "load": "Loading the networks",
    "check": "Checking the rows",
    "photo": "Building the head",
    "speech": "Listening",
}
WORK = {
    "render": "Rendering",
    "batch": "Rendering",
    "measure": "Measuring",
    "drive": "Watching the driver",
}  # what is told frame by frame
SYNTHETIC_NOTE = "The video is marked as synthetic; say so where you show it."
LARGEST_CONFIG = 1 << 16  # bytes
MOST_DOTS = 100  # in a line of it; keys of more parts keep the parser busy for minutes
LONGEST_COMPLAINT = 400  # characters
# How libraries say that memory is short, where they do not raise MemoryError.
SHORT_OF_MEMORY = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc"),
    *("failed to map segment", "can't start new thread", "insufficient memory"),
)


class FilePath(click.Path):
    """A path as it is given; /dev/stdin that comes from a file means that file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises UsageError for what is no path, or a relative one in a folder that is gone."""
        try:
            path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        except ValueError as error:  # a NUL, or letters that the locale does not know
            raise UsageError(f"{shortened(str(value))!r} cannot be the name of a file; check the path.") from error
        if not path.is_absolute() and _here() is None:
            raise UsageError(f"{path} is sought in a folder that is gone; change to another one or give a whole path.")
        if str(path).startswith("/dev/"):
            real = os.path.realpath(path)
            return Path(real) if os.path.isfile(real) else path  # noqa: PTH113  raises nothing
        return path


PATH = FilePath(path_type=Path, readable=False)


class Rate(click.ParamType[Fraction]):
    """Frames per second as an exact fraction."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:  # noqa: ARG002
        """`25`, `29.97` or `30000/1001`."""
        return value if isinstance(value, Fraction) else parse_fps(str(value))


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Make the options in a TOML file the command's defaults, but for those that the environment may not set."""
    if path is None:
        return
    given = _toml(path)
    options = {
        max(option.opts, key=len).removeprefix("--"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.allow_from_autoenv and option is not param
    }
    defaults = {}
    for key, value in given.items():
        option = options.get(key.replace("_", "-"))
        if option is None:
            raise UsageError(
                f"{path}: {shortened(key)!r} cannot be set there; choose from {', '.join(sorted(options))}."
            )
        if option.name in defaults:
            raise UsageError(f"{path} sets {key} twice; remove one.")
        defaults[option.name or key] = _typed(f"{path}: {key}", option, value, ctx)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _toml(path: Path) -> dict[str, Any]:
    """What a small file of options holds. Raises UsageError or InputError."""
    from mggdub.media.files import check_input

    try:
        with check_input(path).open("rb") as file:
            data = file.read(LARGEST_CONFIG + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    if len(data) > LARGEST_CONFIG:
        raise UsageError(f"{path} is larger than {LARGEST_CONFIG >> 10} KiB; a file of options has a few lines.")
    try:
        text = data.decode("utf-8-sig")
        if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
            raise ValueError("a line has too many dots")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError, too: numbers of thousands of digits, wrong letters
        why = "it is nested too deeply" if isinstance(error, RecursionError) else shortened(str(error))
        raise UsageError(f"{path} is not a TOML file ({why}); write lines such as fps = 30.") from error


def _typed(name: str, option: click.Option, value: Any, ctx: click.Context) -> Any:
    """A TOML value, if it is of the option's kind."""
    kinds: dict[str, tuple[type, ...]] = {"boolean": (bool,), "integer": (int,), "float": (int, float)}
    allowed = kinds.get(option.type.name, (str, int, float) if isinstance(option.type, Rate) else (str,))
    value = _digits(value) if option.name == "face" and type(value) is int else value
    if type(value) not in allowed:
        wanted = {"boolean": "true or false", "integer": "a whole number", "float": "a number"}
        given = shortened(repr(value)) if not isinstance(value, (dict, list)) else "a table or a list"
        raise UsageError(f"{name} is {given}; give {wanted.get(option.type.name, 'a text in quotes')}.")
    if isinstance(option.type, click.Path):
        value = os.fsdecode(value.encode())  # TOML is UTF-8, whatever the locale
    try:
        return option.type.convert(_digits(value) if type(value) is int else value, option, ctx)
    except click.BadParameter as error:
        raise UsageError(f"{name}: {error.message.replace(str(value), shortened(str(value)))}") from error


def _digits(value: int) -> str:
    return str(value) if value.bit_length() < 4096 else "9" * 100


CONFIG = click.option(
    "--config", type=PATH, is_eager=True, expose_value=False, callback=_read_config, metavar="FILE.toml",
    help="Options as keys; the command line and the environment count more.",
)  # fmt: skip


class Commands(click.Group):
    """The commands; files in place of one are understood as what somebody wanted to render."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises UsageError with the whole command where its first word was left out."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            _suggest(given)
            raise

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Raises UsageError with the command that was meant, where that can be guessed."""
        if super().get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            _suggest(args[:1] if near else args)
            if near:
                raise UsageError(f"There is no command {shortened(args[0])!r}; did you mean mggdub {near[0]}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """What click takes for the end of somebody's typing is none here."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # before click answers with an empty line
            raise click.Abort from error
        except EOFError as error:
            raise RuntimeError("a file ended too early") from error


def _suggest(args: list[str]) -> None:
    """Raises UsageError if arguments without a command begin with a file."""
    words = [word for word in args if not word.startswith("-")]
    if not any(os.path.isfile(word) for word in words):  # noqa: PTH113  raises nothing
        return
    from shlex import quote

    rest = list(args) if {"-o", "--output"} & set(args) else [*args, "-o", "out.mp4"]
    what = "batch" if words[0].lower().endswith((".csv", ".jsonl")) else "render"
    command = " ".join(quote(word) for word in rest if what == "render" or word != "out.mp4")
    raise UsageError(f"The command is missing; write mggdub {what} {shortened(command, 300)}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MGGDUB"})
@click.version_option(
    __version__, "-V", "--version", message="%(prog)s %(version)s", allow_from_autoenv=False
)  # MGGDUB_VERSION is a likely name of a build's own
def cli() -> None:
    """One photo and one speech recording become a talking-head video.

    Only use the face and the voice of people who agreed to it.
    """


@cli.command()
@click.argument("photo", type=PATH)
@click.argument("speech", type=PATH, required=False)
@click.option("-o", "--output", type=PATH, required=True, allow_from_autoenv=False, help="Video to write (.mp4).")
@click.option(
    "--drive", type=PATH, metavar="VIDEO|TRACK.csv", allow_from_autoenv=False, help="Move like this; keep its sound."
)
@click.option("--preview", is_flag=True, help="A small, quick look.")
@click.option("--size", type=int, metavar="PIXELS", help="Longest side of the video.  [default: the photo's own]")
@click.option("--fps", type=Rate(), default=Fraction(25), help="25, 29.97, 30000/1001 ...  [default: 25]")
@click.option("--pose", type=click.Choice(POSES), default="natural", show_default=True, help="Motion of the head.")
@click.option("--orbit", type=float, default=0.0, metavar="DEGREES", help="Go round the head, so far to either side.")
@click.option("--blink", type=click.Choice(BLINKS), default="natural", show_default=True)
@click.option("--mouth-scale", type=float, default=1.0, show_default=True, help="How far the mouth opens.")
@click.option("--expression-scale", type=float, default=1.0, show_default=True, help="How much brows and eyes move.")
@click.option("--face", default="largest", show_default=True, metavar="largest|INDEX", help="0 is the largest.")
@click.option(
    "--background", default="keep", show_default=True, metavar="keep|COLOR",
    help="Behind a transparent photo: white, 00ff00 or, in quotes, '#00ff00'.",
)  # fmt: skip
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--crf", type=int, default=18, show_default=True, help="Quality of x264: lower is better and bigger.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed blinks and nods at other times.")
@click.option("--c2pa-cert", type=PATH, metavar="FILE.pem", help="Sign a C2PA manifest: chain of certificates ...")
@click.option("--c2pa-key", type=PATH, metavar="FILE.pem", help="... and the key of the first one.")
@CONFIG
@click.option("--strict", is_flag=True, help="Exit with 6 if the video fails a check of its own; it is kept.")
@click.option("--force", is_flag=True, allow_from_autoenv=False, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
@click.pass_context
def render(
    ctx: click.Context,
    photo: Path,
    speech: Path | None,
    output: Path,
    strict: bool,
    as_json: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Dub PHOTO with SPEECH, or move it like a driving video.

    PHOTO is any picture with a face, or what `mggdub avatar` made of one; SPEECH is any recording or video with sound.
    With --drive, SPEECH is only heard.
    """
    options = RenderOptions(**choices)
    if not speech and not options.drive:
        raise UsageError("There is nothing to say: give a SPEECH recording, or a video or track with --drive.")
    _check_paths(photo, speech, options.drive, output, options.force)
    _calm_threads()
    _check_given(ctx, photo, options)
    with _at_work(output), _progress(quiet) as progress:
        from mggdub import pipeline
        from mggdub.checks import failures

        report = pipeline.render_file(photo, speech, output, options, progress)
    if not quiet:
        _warn_of_photo(photo, report)
    if report.get("silent") and not quiet:
        _say("The recording holds no speech, so the mouth stays closed.")
    if not quiet:
        for sentence in report["remarks"]:
            _say(sentence)
    failed = failures(report["checks"])
    if not quiet:
        for sentence in failed:
            _say(f"Warning: {sentence}.")
        _say(SYNTHETIC_NOTE)
    click.echo(json.dumps(report) if as_json else str(output))
    if strict and failed:
        raise CheckError(f"{output} was written, but {failed[0]}; look at it before you use it.")


@cli.command()
@click.argument("photo", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, allow_from_autoenv=False, help="Avatar to write (.mgg).")
@click.option("--ply", type=PATH, metavar="HEAD.ply", allow_from_autoenv=False, help="Write the Gaussians, too.")
@click.option("--force", is_flag=True, allow_from_autoenv=False, help="Overwrite the outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def avatar(photo: Path, output: Path, ply: Path | None, as_json: bool, quiet: bool, **choices: Any) -> None:
    """Build the head of PHOTO once; `mggdub render HEAD.mgg SPEECH` then starts at once.

    It is for the mggdub and the weights that made it. --preview, --size, --face and --background are part of it.
    """
    options = RenderOptions(**choices)
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_portrait

    check_portrait(check_input(photo))
    check_output(output, options.force, (photo,), (".mgg",))
    if ply:
        check_output(ply, options.force, (photo,), (".ply",))
    _calm_threads()
    with _at_work(output), _progress(quiet) as progress:
        from mggdub import pipeline

        report = pipeline.avatar_file(photo, output, ply, options, progress)
    if not quiet:
        _warn_of_photo(photo, report)
    click.echo(json.dumps(report) if as_json else str(output))


avatar.params += [option for option in render.params if option.name in AVATAR_OPTIONS]


@cli.command()
@click.argument("source", type=PATH, metavar="MANIFEST|PHOTOS_DIR")
@click.argument("speech", type=PATH, required=False, metavar="[SPEECH_DIR]")
@CONFIG
@click.option("-o", "--output", "folder", type=PATH, required=True, allow_from_autoenv=False, help="Folder to fill.")
@click.option("--all-pairs", is_flag=True, help="Of two folders: every photo with every recording.")
@click.option("--check", is_flag=True, help="Only check and list what is wrong.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Leave out what is done already.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first row that fails.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes on this machine.")
@click.option("--cluster", metavar="ADDRESS", help="Let the workers of this Dask scheduler render.")
@click.option("--cache-dir", type=PATH, help="Keep the heads here for later batches.")
@click.option("--report", is_flag=True, help="Write OUTPUT/report.html.")
@click.option("--force", is_flag=True, allow_from_autoenv=False, help="Overwrite videos of something else.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
@click.pass_context
def batch(
    ctx: click.Context, source: Path, speech: Path | None, folder: Path, as_json: bool, quiet: bool, **choices: Any
) -> None:
    """Render the rows of MANIFEST (.csv, .jsonl), or the pairs of two folders.

    A manifest has photo, speech and output, and any option of `mggdub render` in rows where it differs.
    """
    from mggdub.batch.run import BatchOptions, run_batch

    named = {option.name for option in FOR_ALL_ROWS}
    base = {name: choices.pop(name) for name in sorted(named & choices.keys())}
    given = frozenset(k for k in base if ctx.get_parameter_source(k) is not ParameterSource.DEFAULT)
    options, _ = BatchOptions(**choices), RenderOptions(**base)
    _calm_threads()
    try:
        with _at_work(None), _progress(quiet) as progress:
            summary = run_batch(source, speech, folder, options, base, given, progress, _say_above)
    except KeyboardInterrupt as stop:
        _say("Interrupted; the same command goes on from here.")
        ctx.exit(getattr(stop, "exit_code", 130))
    words = "{left} can be rendered" if options.check else "{done} done, {left} left"
    text = f"{{rows}} rows: {words}, {{skipped}} done before, {{failed}} failed ({{seconds:.1f}} s)"
    click.echo(json.dumps(summary) if as_json else text.format(**summary))
    if summary["failed"]:
        raise BatchError(f"{summary['failed']} of {summary['rows']} rows failed; correct them and run it again.")


FOR_ALL_ROWS = [p for p in render.params if p.name in {f.name for f in fields(RenderOptions)} - {"force", "drive"}]
batch.params += FOR_ALL_ROWS


@cli.command()
@click.argument("source", type=PATH, metavar="VIDEO|SPEECH")
@click.option("-o", "--output", type=PATH, required=True, allow_from_autoenv=False, help="Track to write (.csv).")
@click.option("--fps", type=Rate(), default=Fraction(25), help="Of a recording's track; a video's is its own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of a recording's blinks and nods.")
@click.option("--force", is_flag=True, allow_from_autoenv=False, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print a report as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def track(source: Path, output: Path, as_json: bool, quiet: bool, **choices: Any) -> None:
    """Write expression and head pose of a VIDEO, or those that SPEECH would get, as a CSV.

    `mggdub render --drive` plays it.
    """
    options = RenderOptions(**choices)
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_source

    check_source(check_input(source))
    check_output(output, options.force, (source,), (".csv",))
    _calm_threads()
    with _at_work(output), _progress(quiet) as progress:
        from mggdub import pipeline

        report = pipeline.track_file(source, output, options, progress)
    if not quiet:
        for sentence in report["remarks"]:
            _say(sentence)
    click.echo(json.dumps(report) if as_json else str(output))


@cli.command()
@click.argument("video", type=PATH)
@click.option("--reference", type=PATH, metavar="VIDEO", help="The true clip, in step with VIDEO.")
@click.option("--photo", type=PATH, metavar="PHOTO", help="What VIDEO was made from.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def evaluate(video: Path, reference: Path | None, photo: Path | None, as_json: bool, quiet: bool) -> None:
    """Measure a talking-head VIDEO: lips, sound, motion; likeness to a true clip and to a photo.

    What needs other networks (LPIPS, FD-VGG, CSIM-dlib) comes with pip install 'mggdub[eval]'.
    """
    from mggdub.media.files import check_input
    from mggdub.media.kinds import check_measured

    for path in filter(None, (video, reference, photo)):
        check_input(path)
    check_measured(video, reference, photo)
    _calm_threads()
    with _at_work(None), _progress(quiet) as progress:
        from mggdub.metrics import report

        found = report.evaluate_file(video, reference, photo, lambda done, total: progress("measure", done, total))
    if as_json:
        click.echo(json.dumps({"video": str(video), "metrics": found.numbers, "skipped": found.skipped}))
        return
    click.echo(report.as_text(found))
    for sentence in found.skipped if not quiet else ():
        _say(sentence)


@cli.command()
@click.argument("source", type=PATH, metavar="PHOTO|SPEECH")
@click.option("--image", "drawing", type=PATH, metavar="OUT.png", allow_from_autoenv=False, help="Draw what was found.")
@click.option("--force", is_flag=True, allow_from_autoenv=False, help="Overwrite the drawing.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def inspect(ctx: click.Context, source: Path, drawing: Path | None, force: bool, as_json: bool) -> None:
    """Say what a PHOTO or a SPEECH recording holds and whether it will work, before any work."""
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_inspected

    check_inspected(check_input(source))
    if drawing:
        check_output(drawing, force, (source,), (".png",))
    _calm_threads()
    with _at_work(drawing):
        from mggdub import inspection

        report = inspection.inspect_file(source, drawing, force)
    click.echo(json.dumps(report) if as_json else inspection.as_text(report))
    ctx.exit(3 if report["verdict"] == "unusable" else 0)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete mggdub's commands and options.

    For bash: eval "$(mggdub completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(cli, {}, "mggdub", "_MGGDUB_COMPLETE").source())


@cli.command()
@click.option("--warmup", is_flag=True, help="Compile the renderer now, so that the first render need not.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(ctx: click.Context, warmup: bool, as_json: bool) -> None:
    """Say what this machine has and whether mggdub can work on it."""
    here = _here()
    _calm_threads()
    with _at_work(None):
        from mggdub.doctor import examine

        findings = examine(here, warmup)
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            fix = f"; {finding.fix}" if finding.fix and not finding.ok else ""
            click.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:<14} {finding.what}{fix}")
    ctx.exit(0 if all(finding.ok for finding in findings) else 3)


@cli.command()
@click.argument("action", type=click.Choice(["verify"]), required=False)
@click.pass_context
def weights(ctx: click.Context, action: str | None) -> None:
    """List the networks that ship with mggdub, or `verify` their bytes."""
    with _at_work(None):
        from mggdub.weights import cards, state

        listed = cards()
    intact = bool(listed)
    for card in listed:
        if action is None:
            click.echo(f"{card['file']:<32} {card['bytes'] / 2**20:6.1f} MiB  {card.get('licence', '')}")
            continue
        is_now = state(card)
        intact &= is_now == "ok"
        click.echo(f"{is_now:<8} {Path(card['path']) / card['file']}")
    if not intact:
        _say("Some weights cannot be used; reinstall mggdub.")
    ctx.exit(0 if intact else 3)


def main() -> None:
    """Run the command line and leave with its exit code: see the README's table."""
    code = 128 + signal.SIGINT
    with suppress(KeyboardInterrupt):  # between two lines of what follows
        signals.install()
        streams.settle()
        if not os.environ.get("MGGDUB_DEBUG"):
            sys.unraisablehook = _unheard
        code = _run()
        code = _deliver(code)
    signals.ignore()
    if not os.environ.get("MGGDUB_DEBUG"):
        streams.finish()
    sys.exit(code)


def _run() -> int:
    try:
        return int(cli.main(prog_name="mggdub", standalone_mode=False) or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        said = error.format_message()
        if len(said) > LONGEST_COMPLAINT:
            error = click.UsageError(f"{said[:LONGEST_COMPLAINT]} ...", error.ctx)
        error.show()
        return 2
    except MggdubError as error:
        _say(f"Error: {error}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        stop = error if isinstance(error, signals.Interrupted) else error.__cause__
        stop = stop if isinstance(stop, signals.Interrupted) else signals.Interrupted(signal.SIGINT)
        _say(stop.sentence)
        return stop.exit_code
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Tell of what no part of the program expects: what the system refused is no bug."""
    if os.environ.get("MGGDUB_DEBUG"):
        traceback.print_exc()
    if _short_of_memory(error):
        _say(
            "Error: There is not enough memory; close other programs, or try --preview, --size 512 or a smaller input."
        )
        return InputError.exit_code
    if isinstance(error, OSError) and error.errno:
        file = shortened(os.fsdecode(error.filename), 200) if isinstance(error.filename, (str, bytes)) else "A file"
        _say(f"Error: {file} could not be read or written ({error.strerror}); mend that and try again.")
        return 4
    _say(f"Error: this is a bug of mggdub, not yours ({type(error).__name__}: {error}).")
    _say("MGGDUB_DEBUG=1 shows where; please report it with the command you ran.")
    return 1


def _short_of_memory(error: BaseException | None) -> bool:
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    named = isinstance(error, (RuntimeError, ImportError, OSError)) and any(
        w in str(error).lower() for w in SHORT_OF_MEMORY
    )
    return named or _short_of_memory(error.__cause__ or error.__context__)


def _deliver(code: int) -> int:
    """The exit code, once the results are with who reads them."""
    try:
        sys.stdout.flush()
    except MggdubError as error:
        _say(f"Error: {error}")
        return code or error.exit_code
    return code


def _unheard(_: Any) -> None:
    """What goes wrong where nobody can be told, as in a library's destructor, is not told."""


def _here() -> Path | None:
    """The current folder, None if it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _check_paths(photo: Path, speech: Path | None, drive: Path | None, output: Path, force: bool) -> None:
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_render

    inputs = tuple(check_input(path) for path in (photo, speech, drive) if path)
    check_render(photo, speech, drive)
    check_output(output, force, inputs)


def _check_given(ctx: click.Context, photo: Path, options: RenderOptions) -> None:
    """What was fixed when an avatar was built may be repeated, but not changed, not even to a default."""
    named = [k for k in AVATAR_OPTIONS if ctx.get_parameter_source(k) is not ParameterSource.DEFAULT]
    given = {name: getattr(options, name) for name in named}
    if photo.suffix.lower() == ".mgg" and given.keys() & set(AVATAR_OPTIONS):
        from mggdub.avatar import check_given, load_avatar

        check_given(photo, load_avatar(photo)[1], given)


def _warn_of_photo(photo: Path, report: dict[str, Any]) -> None:
    """One line, however much there is to say."""
    if advice := report.get("advice"):
        _say(f"Warning: {photo}: {' '.join(advice)}")


def _calm_threads() -> None:
    # Must happen before torch is imported: OpenMP threads that spin while they wait double a frame's time.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if _here() is None:  # libraries look for their parts from there
        os.chdir("/")


@contextmanager
def _at_work(output: Path | None) -> Iterator[None]:
    """Where the work is done: libraries are hushed, and it ends soon after the folder of `output` is gone."""
    with signals.folder_watched(output), _hushed():
        yield


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what libraries say by themselves off stderr, where only our own sentences belong."""
    if os.environ.get("MGGDUB_DEBUG"):
        yield
        return
    before = sys.stderr
    before.flush()
    real, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sys.stderr = streams.messages(real, before.errors or "backslashreplace")
            yield
    finally:
        sys.stderr = before
        os.dup2(real, 2)
        os.close(real)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _say_above(sentence: str) -> None:
    """Say it without breaking the bar."""
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)


def _nothing(stage: str, done: int, total: int) -> None:
    """The progress of --quiet."""


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total): a bar with the time left on a terminal, a line now and then elsewhere."""
    if quiet:
        yield _nothing
        return
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(total=0, unit="frame", disable=not terminal, leave=False, dynamic_ncols=True, delay=0.5)
    told: set[tuple[str, int]] = set()

    def tell(stage: str, done: int, total: int) -> None:
        if stage in STAGES:
            if done == 0:
                tqdm.write(f"{STAGES[stage]} ...", file=sys.stderr)
        elif terminal:
            if bar.total != total or done < bar.n:
                bar.reset(total)
                bar.set_description(WORK[stage])
            bar.update(done - bar.n)
        elif (tenth := 10 * done // max(total, 1)) and (stage, tenth) not in told:
            told.add((stage, tenth))
            _say(f"{WORK[stage]} ... {done} of {total} frames")

    try:
        yield tell
    finally:
        bar.close()


if __name__ == "__main__":
    main()
