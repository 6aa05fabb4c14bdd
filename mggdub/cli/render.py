"""The commands that make a video or a head of a photo."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mggdub.cli.console import at_work, prepare_work, progress_bar, say
from mggdub.cli.group import cli
from mggdub.cli.options import CONFIG, DECIMAL, PATH, QUIET, Motion, Rate, force_option, json_option, one_of
from mggdub.errors import CheckError, UsageError
from mggdub.options import (
    AVATAR_OPTIONS,
    BLINKS,
    DEVICES,
    EMOTIONS,
    GAZES,
    INPAINTERS,
    POSES,
    RenderOptions,
    check_used,
)

SYNTHETIC_NOTE = "The video is marked as synthetic; say so where you show it."


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
@click.option(
    "--motion", type=Motion(), default="natural", show_default=True, help="How much head, brows and eyes move."
)
@click.option("--gaze", type=one_of(GAZES), default="natural", show_default=True, help="Where the eyes look.")
@click.option("--pose", type=one_of(POSES), default="natural", help="--pose still is --motion still.")
@click.option("--orbit", type=DECIMAL, default=0.0, metavar="DEGREES", help="Go round the head, so far to either side.")
@click.option("--blink", type=one_of(BLINKS), default="natural", show_default=True)
@click.option("--mouth-scale", type=DECIMAL, default=1.0, show_default=True, help="How far the mouth opens.")
@click.option("--expression-scale", type=DECIMAL, default=1.0, show_default=True, help="How much brows and eyes move.")
@click.option(
    "--emotion", type=one_of(EMOTIONS), default="neutral", show_default=True, help="How it is said."
)  # fmt: skip
@click.option("--emotion-strength", type=DECIMAL, default=1.0, show_default=True, help="How strongly, 0 to 1.")
@click.option("--face", default="largest", show_default=True, metavar="largest|INDEX", help="0 is the largest.")
@click.option(
    "--background", default="keep", show_default=True, metavar="keep|COLOR",
    help="Behind a transparent photo: white, 00ff00 or, in quotes, '#00ff00'.",
)  # fmt: skip
@click.option(
    "--inpainter", type=one_of(INPAINTERS), default="auto", show_default=True,
    help="Of the background behind the head; lama needs more packages.",
)  # fmt: skip
@click.option("--device", type=one_of(DEVICES), default="auto", show_default=True)
@click.option("--crf", type=int, default=18, show_default=True, help="Quality of x264: lower is better and bigger.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed moves and blinks otherwise.")
@click.option("--c2pa-cert", type=PATH, metavar="FILE.pem", help="Sign a C2PA manifest: chain of certificates ...")
@click.option("--c2pa-key", type=PATH, metavar="FILE.pem", help="... and the key of the first one.")
@CONFIG
@click.option("--strict", is_flag=True, help="Exit with 6 if the video fails a check of its own; it is kept.")
@force_option("the output")
@json_option("a report")
@QUIET
@click.pass_context
def render(
    ctx: click.Context,
    /,
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
    options = RenderOptions(**(choices | _not_of_a_driver(ctx) if choices["drive"] else choices))
    named = frozenset(k for k in choices if ctx.get_parameter_source(k) is not ParameterSource.DEFAULT)
    check_used(options, (k for k in choices if ctx.get_parameter_source(k) is ParameterSource.COMMANDLINE))
    if not speech and not options.drive:
        raise UsageError("There is nothing to say: give a SPEECH recording, or a video or track with --drive.")
    _check_paths(photo, speech, options.drive, output, options.force)
    prepare_work()
    with at_work(output), progress_bar(quiet) as progress:
        from mggdub import jobs
        from mggdub.checks import failures
        from mggdub.reports import NO_SPEECH

        report = jobs.render_file(photo, speech, output, options, progress, named=named)
    if not quiet:
        _warn_of_photo(photo, report.advice)
    if report.silent and not quiet:
        say(NO_SPEECH)
    if not quiet:
        for sentence in report.remarks:
            say(sentence)
    failed = failures(report.checks)
    if not quiet:
        for sentence in failed:
            say(f"Warning: {sentence}.")
        say(SYNTHETIC_NOTE)
    click.echo(json.dumps(report.as_dict()) if as_json else str(output))
    if strict and failed:
        raise CheckError(f"{output} was written, but {failed[0]}; look at it before you use it.")


@cli.command()
@click.argument("photo", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, allow_from_autoenv=False, help="Avatar to write (.mgg).")
@click.option("--ply", type=PATH, metavar="HEAD.ply", allow_from_autoenv=False, help="Write the Gaussians, too.")
@force_option("the outputs")
@json_option("a report")
@QUIET
def avatar(photo: Path, output: Path, ply: Path | None, as_json: bool, quiet: bool, **choices: Any) -> None:
    """Build the head of PHOTO once; `mggdub render HEAD.mgg SPEECH` then starts at once.

    It is for the mggdub and the weights that made it. --preview, --size, --face, --background and --inpainter
    are part of it.
    """
    options = RenderOptions(**choices)
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_portrait

    check_portrait(check_input(photo))
    check_output(output, options.force, (photo,), (".mgg",))
    if ply:
        check_output(ply, options.force, (photo,), (".ply",))
    prepare_work()
    with at_work(output), progress_bar(quiet) as progress:
        from mggdub import jobs

        report = jobs.avatar_file(photo, output, ply, options, progress)
    if not quiet:
        _warn_of_photo(photo, report.advice)
    click.echo(json.dumps(report.as_dict()) if as_json else str(output))


avatar.params += [option for option in render.params if option.name in AVATAR_OPTIONS]


def _not_of_a_driver(ctx: click.Context) -> dict[str, Any]:
    """Options that the environment sets for speech, as they are for a driver."""
    set_there = (k for k in ("emotion", "gaze") if ctx.get_parameter_source(k) is ParameterSource.ENVIRONMENT)
    return {name: getattr(RenderOptions, name) for name in set_there}


def _check_paths(photo: Path, speech: Path | None, drive: Path | None, output: Path, force: bool) -> None:
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_render

    inputs = tuple(check_input(path) for path in (photo, speech, drive) if path)
    check_render(photo, speech, drive)
    check_output(output, force, inputs)


def _warn_of_photo(photo: Path, advice: tuple[str, ...]) -> None:
    """One line, however much there is to say."""
    if advice:
        say(f"Warning: {photo}: {' '.join(advice)}")
