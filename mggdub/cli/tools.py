"""The commands that look at things: tracks, figures, inspection, the machine."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mggdub.cli.console import at_work, prepare_work, progress_bar, say, working_folder
from mggdub.cli.group import cli
from mggdub.cli.options import PATH, QUIET, Rate, force_option, json_option
from mggdub.options import RenderOptions


@cli.command()
@click.argument("source", type=PATH, metavar="VIDEO|SPEECH")
@click.option("-o", "--output", type=PATH, required=True, allow_from_autoenv=False, help="Track to write (.csv).")
@click.option("--fps", type=Rate(), default=Fraction(25), help="Of a recording's track; a video's is its own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of a recording's blinks and nods.")
@force_option("the output")
@json_option("a report")
@QUIET
@click.pass_context
def track(ctx: click.Context, /, source: Path, output: Path, as_json: bool, quiet: bool, **choices: Any) -> None:
    """Write expression and head pose of a VIDEO, or those that SPEECH would get, as a CSV.

    `mggdub render --drive` plays it.
    """
    options = RenderOptions(**choices)
    named = tuple(name for name in ("fps", "seed") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_source

    check_source(check_input(source))
    check_output(output, options.force, (source,), (".csv",))
    prepare_work()
    with at_work(output), progress_bar(quiet) as progress:
        from mggdub import jobs

        report = jobs.track_file(source, output, options, progress, named)
    if not quiet:
        for sentence in report.remarks:
            say(sentence)
    click.echo(json.dumps(report.as_dict()) if as_json else str(output))


@cli.command()
@click.argument("video", type=PATH)
@click.option("--reference", type=PATH, metavar="VIDEO", help="The true clip, in step with VIDEO.")
@click.option("--photo", type=PATH, metavar="PHOTO", help="What VIDEO was made from.")
@json_option("the numbers")
@QUIET
def evaluate(video: Path, reference: Path | None, photo: Path | None, as_json: bool, quiet: bool) -> None:
    """Measure a talking-head VIDEO: lips, sound, motion; likeness to a true clip and to a photo.

    What needs other networks (LPIPS, FD-VGG, CSIM-dlib) comes with pip install 'mggdub[eval]'.
    """
    from mggdub.media.files import check_input
    from mggdub.media.kinds import check_measured

    for path in filter(None, (video, reference, photo)):
        check_input(path)
    check_measured(video, reference, photo)
    prepare_work()
    with at_work(None), progress_bar(quiet) as progress:
        from mggdub.evaluation import summary
        from mggdub.evaluation.video import evaluate_file

        measurement = evaluate_file(video, reference, photo, progress)
    if as_json:
        click.echo(json.dumps({"video": str(video), "metrics": measurement.numbers, "skipped": measurement.skipped}))
        return
    click.echo(summary.as_text(measurement))
    for sentence in measurement.skipped if not quiet else ():
        say(sentence)


@cli.command()
@click.argument("source", type=PATH, metavar="PHOTO|SPEECH")
@click.option("--image", "drawing", type=PATH, metavar="OUT.png", allow_from_autoenv=False, help="Draw what was found.")
@force_option("the drawing")
@json_option("the findings")
@click.pass_context
def inspect(ctx: click.Context, /, source: Path, drawing: Path | None, force: bool, as_json: bool) -> None:
    """Say what a PHOTO or a SPEECH recording holds and whether it will work, before any work."""
    from mggdub.media.files import check_input, check_output
    from mggdub.media.kinds import check_inspected

    check_inspected(check_input(source))
    if drawing:
        check_output(drawing, force, (source,), (".png",))
    prepare_work()
    with at_work(drawing):
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
@json_option("the findings")
@click.pass_context
def doctor(ctx: click.Context, /, warmup: bool, as_json: bool) -> None:
    """Say what this machine has and whether mggdub can work on it."""
    here = working_folder()
    prepare_work()
    with at_work(None):
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
def weights(ctx: click.Context, /, action: str | None) -> None:
    """List the networks that ship with mggdub, or `verify` their bytes."""
    with at_work(None):
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
        say("Some weights cannot be used; reinstall mggdub.")
    ctx.exit(0 if intact else 3)
