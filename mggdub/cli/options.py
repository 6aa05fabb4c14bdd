"""Kinds of options, and options from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from mggdub.cli.console import working_folder
from mggdub.errors import InputError, UsageError
from mggdub.options import MOTIONS, parse_fps, parse_motion, shortened, with_point

LARGEST_CONFIG = 1 << 16  # bytes
MOST_DOTS = 100  # in a line of it; keys of more parts keep the parser busy for minutes


class FilePath(click.Path):
    """A path as it is given; /dev/stdin that comes from a file means that file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises UsageError for what is no path, or a relative one in a folder that is gone."""
        if value == "" and param:
            raise UsageError(f"{param.get_error_hint(ctx)} is empty; give a path (is a variable not set?).")  # type: ignore[arg-type]
        try:
            path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        except ValueError as error:  # a NUL, or letters that the locale does not know
            raise UsageError(f"{shortened(str(value))!r} cannot be the name of a file; check the path.") from error
        if not path.is_absolute() and working_folder() is None:
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


class Decimal(click.ParamType[float]):
    """A number with a decimal point or a decimal comma."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`1.2` or `1,2`."""
        try:
            return float(with_point(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)


DECIMAL = Decimal()


def one_of(words: tuple[str, ...]) -> click.Choice[str]:
    """One of some words, however it is capitalised."""
    return click.Choice(words, case_sensitive=False)


class Motion(click.ParamType[str]):
    """How lively a head is: a word or a number."""

    name = "motion"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """As the help shows it."""
        return f"[{'|'.join(MOTIONS)}|0..2]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """`calm`, or `0.5`."""
        return parse_motion(str(value))


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
    allowed = kinds.get(option.type.name, (str, int, float) if isinstance(option.type, Rate | Motion) else (str,))
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
QUIET = click.option("--quiet", is_flag=True, help="No progress, only errors.")


def force_option(what: str) -> Callable[[Any], Any]:
    """--force, to overwrite so much."""
    return click.option("--force", is_flag=True, allow_from_autoenv=False, help=f"Overwrite {what}.")


def json_option(what: str) -> Callable[[Any], Any]:
    """--json, which prints so much."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as JSON.")
