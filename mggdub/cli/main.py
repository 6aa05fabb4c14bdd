"""Run the command line, and leave with its exit code."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

import mggdub.cli.batch
import mggdub.cli.render
import mggdub.cli.tools  # noqa: F401  these three register their commands
from mggdub.cli import signals, streams
from mggdub.cli.console import say
from mggdub.cli.group import cli
from mggdub.errors import NO_MEMORY, InputError, MggdubError, short_of_memory
from mggdub.options import shortened

LONGEST_COMPLAINT = 400  # characters


def main() -> None:
    """Run the command line and leave with its exit code: see the README's table."""
    code = 128 + signal.SIGINT
    with suppress(KeyboardInterrupt):  # between two lines of what follows
        if not os.environ.get("MGGDUB_DEBUG"):
            sys.unraisablehook = _unheard  # before signals are heard, which may be lost where nobody is told
        signals.install()
        streams.settle()
        code = run()
        gc.collect()  # a block that a signal kept from being entered or left unwinds here
        code = _deliver(code)
    signals.ignore()
    if not os.environ.get("MGGDUB_DEBUG"):
        streams.finish()
    gc.freeze()  # or the interpreter looks through half a million objects once more before it ends: half a second
    sys.exit(code)


def run() -> int:
    """Run the command line; the exit code, after one sentence for what went wrong."""
    try:
        return _command()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as error:
        message = error.format_message()
        if len(message) > LONGEST_COMPLAINT:
            error = click.UsageError(f"{message[:LONGEST_COMPLAINT]} ...", error.ctx)
        error.show()
        _tell_of_environment(message)
        return 2
    except MggdubError as error:
        short = short_of_memory(error.__cause__)  # whatever a reader took it for
        say(f"Error: {NO_MEMORY if short else error}")
        _tell_of_environment(str(error))
        return InputError.exit_code if short else error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _interrupted(error)
    except Exception as error:
        return _unexpected(error)


def _command() -> int:
    """Its exit code; where it fails after a signal, that counts, since a library may have taken it for a fault."""
    try:
        code = int(cli.main(prog_name="mggdub", standalone_mode=False) or 0)
    except Exception as error:
        if not isinstance(error, click.Abort) and (stop := signals.heard()):
            raise stop from None
        raise
    if code and (stop := signals.heard()):
        raise stop
    return code


def _tell_of_environment(message: str) -> None:
    """Say where the options of a complaint come from that nobody has typed."""
    for name in sorted(os.environ):
        command, _, option = name.removeprefix("MGGDUB_").partition("_")
        words = f"--{option.lower().replace('_', '-')}"
        typed = any(word.split("=")[0] == words for word in sys.argv)
        if command.lower() in sys.argv[1:2] and re.search(rf"{re.escape(words)}(?![a-z-])", message) and not typed:
            say(f"{name} in the environment sets {words}.")


def _interrupted(error: BaseException) -> int:
    stop = error if isinstance(error, signals.Interrupted) else error.__cause__
    stop = stop if isinstance(stop, signals.Interrupted) else signals.Interrupted(signal.SIGINT)
    stop.answered()
    say(stop.sentence)
    return stop.exit_code


def _unexpected(error: Exception) -> int:
    """Tell of what no part of the program expects: what the system refused is no bug."""
    if os.environ.get("MGGDUB_DEBUG"):
        traceback.print_exc()
    if short_of_memory(error):
        say(f"Error: {NO_MEMORY}")
        return InputError.exit_code
    if isinstance(error, OSError) and error.errno:
        file = shortened(os.fsdecode(error.filename), 200) if isinstance(error.filename, (str, bytes)) else "A file"
        say(f"Error: {file} could not be read or written ({error.strerror}); mend that and try again.")
        return 4
    say(f"Error: this is a bug of mggdub, not yours ({type(error).__name__}: {error}).")
    say("MGGDUB_DEBUG=1 shows where; please report it with the command you ran.")
    return 1


def _deliver(code: int) -> int:
    """The exit code, once the results are with who reads them."""
    try:
        sys.stdout.flush()
    except MggdubError as error:
        say(f"Error: {error}")
        return code or error.exit_code
    return code


def _unheard(_: Any) -> None:
    """What goes wrong where nobody can be told, as in a library's destructor, is not told."""


if __name__ == "__main__":
    main()
