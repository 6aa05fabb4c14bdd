"""The group of all commands, and what is suggested for a command that is none."""

from __future__ import annotations

import os
from typing import Any

import click

from mggdub.errors import UsageError
from mggdub.options import shortened
from mggdub.version import __version__

INSTEAD = {"help": "mggdub --help, or mggdub COMMAND --help", "version": "mggdub --version"}


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
            if args[0] in INSTEAD:
                raise UsageError(f"There is no command {args[0]!r}; write {INSTEAD[args[0]]}.")
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
    what = "batch" if words[0].lower().endswith((".csv", ".tsv", ".jsonl", ".ndjson")) else "render"
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
