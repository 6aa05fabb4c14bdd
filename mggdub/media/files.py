"""Paths a user hands over: what may be read, what may be written, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mggdub.errors import InputError, OutputError, UsageError
from mggdub.media.partial import Removal, appear, create_partial, hidden_sibling, remove_stale

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4"}  # suffix to ffmpeg's name
ADDRESS = re.compile(r"(https?|ftps?|s3|gs|sftp|smb|file):/", re.IGNORECASE)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SHOWN = 120  # characters of a name that is too long


def check_input(path: Path) -> Path:
    """The path, if it is a plain file with something in it. Raises UsageError (missing, folder) or InputError."""
    info = status(path)
    if info is None:
        raise UsageError(missing(path))
    if stat.S_ISDIR(info.st_mode):
        raise UsageError(f"{path} is a folder; name a file.")
    if not stat.S_ISREG(info.st_mode) or is_descriptor(path):
        raise InputError(f"{path} is not a plain file; copy it into one first.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read; change its permissions.")
    if info.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); copy it again from its source.")
    return path


def missing(path: Path) -> str:
    """What to say of an input that is not there."""
    if ADDRESS.match(str(path)):
        return f"{_address(path)} is an address; give the path of a file, downloaded if need be."
    if str(path) == "-":
        return "Standard input (-) is not read; write it into a file first."
    return f"{path} does not exist; check the path."


def check_local(path: Path) -> None:
    """Raises UsageError for an address, where something is to be written."""
    if ADDRESS.match(str(path)):
        raise UsageError(f"{_address(path)} is an address; give a path on this machine.")


def _address(path: Path) -> str:
    return str(path).replace(":/", "://", 1)


def status(path: Path) -> os.stat_result | None:
    """What the system knows of a path, None if there is nothing.

    Raises UsageError for a name that no file can have, InputError where looking is not allowed.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise InputError(f"{path} lies in a folder that may not be entered; change its permissions.") from error
    except ValueError as error:  # a NUL, or letters that the locale does not know
        raise UsageError(f"{shortened(path)!r} cannot be the name of a file; check the path.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{shortened(path)} does not exist, its name is too long; check the path.") from error
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a link that leads in a circle; name the file itself.") from error
        raise InputError(f"{path} cannot be read ({error.strerror or error}); copy it to another disk.") from error


def is_descriptor(path: Path) -> bool:
    """Whether a path means an open stream of whatever process looks at it, such as /dev/stdin."""
    return bool(re.fullmatch(r"/dev/(stdin|stdout|stderr|fd/\d+)|/proc/[^/]+/(task/\d+/)?fd/\d+", str(path)))


def shortened(path: Path | str) -> str:
    """A path for a sentence, without the middle of a name that would fill the screen."""
    text = str(path)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 3 :]}"


def check_output(
    path: Path, force: bool, inputs: tuple[Path, ...] = (), suffixes: tuple[str, ...] = tuple(CONTAINERS)
) -> Path:
    """The path, if a video (or a file with one of `suffixes`) may be written there; call it before the work.

    Removes what killed processes left in that folder. Raises UsageError for another suffix, OutputError for everything
    the disk says no to.
    """
    check_local(path)
    if path.name.lower() in suffixes:
        raise UsageError(f"{path} is an ending without a name before it (is a variable not set?); give a name.")
    if path.suffix.lower() not in suffixes:
        endings = "; choose one of these endings" if len(suffixes) > 1 else "; choose this ending"
        raise UsageError(f"{shortened(path)} does not end in {', '.join(suffixes)}{endings}.")
    target = destination(path)
    info = _there(target, path)
    if info and stat.S_ISDIR(info.st_mode):
        raise OutputError(f"{path} is a folder; name a file.")
    folder = _there(target.parent, path)
    if not folder or not stat.S_ISDIR(folder.st_mode):
        raise OutputError(f"The folder {target.parent} does not exist; create it first.")
    if info and any(given.exists() and os.path.samestat(info, given.stat()) for given in inputs):
        raise OutputError(f"{path} is also an input; choose another output.")
    if info and not stat.S_ISREG(info.st_mode):
        raise OutputError(f"{path} is not a plain file; choose another name.")
    if info and not force:
        raise OutputError(_exists(path))
    if not os.access(target.parent, os.W_OK | os.X_OK) or not _is_writable(target.parent):
        raise OutputError(f"The folder {target.parent} cannot be written to; choose another or change its permissions.")
    remove_stale(target.parent)
    return path


def destination(path: Path) -> Path:
    """Where writing to a path ends up: what a link there points to, else the path itself. Raises OutputError."""
    try:
        if not path.is_symlink():
            return path
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OutputError(f"{path} is a link that leads in a circle; choose another name.")
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error
    return target


def _there(place: Path, path: Path) -> os.stat_result | None:
    try:
        return place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError | ValueError) -> OutputError:
    """Why nothing can be written at a path."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENAMETOOLONG:
        size = max(len(os.fsencode(part)) for part in path.parts)
        return OutputError(f"{shortened(path)} is too long ({size} bytes); choose names of at most 255 bytes.")
    if number == errno.EACCES:
        return OutputError(
            f"{path} lies in a folder that may not be entered; choose another or change its permissions."
        )
    if number is None:
        return OutputError(f"{shortened(path)!r} cannot be the name of a file; choose another name.")
    return OutputError(f"{path} could not be written ({os.strerror(number)}); choose another place.")


def _exists(path: Path) -> str:
    return f"{path} exists; choose another name or overwrite it with --force."


def _is_writable(folder: Path) -> bool:
    # access() says yes to root even on a read-only or immutable folder; only trying tells.
    probe = hidden_sibling(folder / "probe")
    with Removal(probe):
        try:
            os.close(create_partial(probe))
        except OSError:
            return False
    return True


@contextmanager
def appearing_whole(path: Path, force: bool = True, private: bool = False) -> Iterator[Path]:
    """Where to write `path` until it is whole: an empty file that gets its name at the end of the block.

    It is removed if the block fails. Where `path` is a link, its target is written. Without `force` a file that came to
    be there in the meantime stays; a `private` one is for its owner alone. Raises OutputError for what the disk says.
    """
    target = destination(path)
    _there(target, path)  # a name that no file can have is refused before the work
    partial = hidden_sibling(target.parent / path.name)
    held = -1
    with Removal(partial):
        try:
            held = create_partial(partial)
            yield partial
            if not private:
                with suppress(OSError):  # there are disks without permissions
                    partial.chmod(0o666 & ~_umask())
            appear(partial, target, force)
        except OSError as error:
            if held >= 0 or not target.parent.is_dir():
                check_there(partial, path)
            raise OutputError(f"{path} could not be written ({error.strerror or error}).") from error
        finally:
            if held >= 0:
                os.close(held)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what is needed for a while. Raises OutputError if it, or what is put into it, cannot be written."""
    try:
        place = tempfile.TemporaryDirectory(prefix="mggdub-")
    except OSError as error:  # no folder will do
        raise _no_scratch(error) from error
    with place as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise _no_scratch(error) from error


def _no_scratch(error: OSError) -> OutputError:
    reason = error.strerror or "there is none"
    return OutputError(f"The folder for temporary files cannot be written ({reason}); free some space or set TMPDIR.")


def check_there(partial: Path, path: Path) -> None:
    """Raises OutputError if what becomes `path` is gone: somebody removed its folder, or the file itself."""
    if not os.path.lexists(partial):
        what = "a hidden file in its folder" if partial.parent.is_dir() else f"the folder {partial.parent}"
        raise OutputError(f"{path} could not be written: {what} was removed in the meantime; start again.")


def _umask() -> int:
    mask = os.umask(0o077)  # the only way to ask; what another thread makes meanwhile is not too open
    os.umask(mask)
    return mask
