"""The command for many videos."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mggdub.cli.console import at_work, prepare_work, progress_bar, say, say_above
from mggdub.cli.group import cli
from mggdub.cli.options import CONFIG, PATH, QUIET, force_option, json_option
from mggdub.cli.render import render
from mggdub.cli.signals import Interrupted
from mggdub.errors import BatchError
from mggdub.options import RenderOptions


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
@force_option("videos of something else")
@json_option("the summary")
@QUIET
@click.pass_context
def batch(
    ctx: click.Context, /, source: Path, speech: Path | None, folder: Path, as_json: bool, quiet: bool, **choices: Any
) -> None:
    """Render the rows of MANIFEST (.csv, .tsv, .jsonl), or the pairs of two folders.

    A manifest has photo, speech and output, and any option of `mggdub render` in rows where it differs.
    """
    from mggdub.batch.run import BatchOptions, run_batch

    named = {option.name for option in FOR_ALL_ROWS}
    base = {name: choices.pop(name) for name in sorted(named & choices.keys())}
    given = frozenset(k for k in base if ctx.get_parameter_source(k) is not ParameterSource.DEFAULT)
    options, _ = BatchOptions(**choices), RenderOptions(**base)
    asked = frozenset(k for k in base if ctx.get_parameter_source(k) is ParameterSource.COMMANDLINE)
    prepare_work()
    try:
        with at_work(None), progress_bar(quiet) as progress:
            note = (lambda _: None) if quiet else say_above
            summary = run_batch(source, speech, folder, options, base, given, progress, say_above, note, asked)
    except KeyboardInterrupt as stop:
        say("Interrupted; the same command goes on from here.")
        if isinstance(stop, Interrupted):
            stop.answered()
        ctx.exit(getattr(stop, "exit_code", 130))
    words = "{left} can be rendered" if options.check else "{done} done, {left} left"
    text = f"{{rows}} rows: {words}, {{skipped}} done before, {{failed}} failed ({{seconds:.1f}} s)"
    click.echo(json.dumps(summary) if as_json else text.format(**summary))
    if summary["failed"]:
        raise BatchError(f"{summary['failed']} of {summary['rows']} rows failed; correct them and run it again.")


FOR_ALL_ROWS = [p for p in render.params if p.name in {f.name for f in fields(RenderOptions)} - {"force", "drive"}]


batch.params += FOR_ALL_ROWS
