"""What is for our eyes only is so, follows no link, and nothing is overwritten that nobody gave up."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from mggdub.errors import InputError, OutputError
from mggdub.media.partial import appear
from mggdub.media.private import (
    append_private,
    check_private,
    copy_hashed,
    folder_inside,
    private_folder,
    private_place,
    read_private,
    write_private,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links are those of Unix")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_for_their_owner(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    open_one = tmp_path / "open"
    open_one.mkdir(mode=0o777)
    open_one.chmod(0o777)
    assert mode(folder) == mode(private_folder(open_one)) == 0o700
    write_private(folder / "a", b"one")
    append_private(folder / "b", b"two")
    append_private(folder / "b", b"three")
    total = copy_hashed(folder / "a", folder / "c")
    assert [mode(folder / name) for name in "abc"] == [0o600] * 3 and total == hashlib.sha256(b"one").hexdigest()
    assert read_private(folder / "a", 3) == b"one" and read_private(folder / "b", 8) == b"twothree"
    with private_place(folder, "in.") as place:
        assert mode(place) == 0o700 and place.parent == folder
        (place / "x").touch()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c"]
    with pytest.raises(ValueError):
        read_private(folder / "b", 7)


def test_links_are_not_followed(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    write_private(link, b"new")
    assert victim.read_bytes() == b"mine" and not link.is_symlink() and link.read_bytes() == b"new"
    link.unlink()
    link.symlink_to(victim)
    with pytest.raises(OSError):
        append_private(link, b"more")
    with pytest.raises(OSError):
        read_private(link, 10)
    with pytest.raises(InputError):
        copy_hashed(link, tmp_path / "copy", ours=True)
    with pytest.raises(OutputError):
        copy_hashed(victim, link)
    assert copy_hashed(link, tmp_path / "copy") and victim.read_bytes() == b"mine"  # a user's own input may be a link
    folder = tmp_path / "way"
    folder.symlink_to(tmp_path)
    for check in (private_folder, check_private):
        with pytest.raises(OutputError, match="remove it"):
            check(folder)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError):
        copy_hashed(tmp_path / "pipe", tmp_path / "never")


@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_taken_only_while_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def none(*given: object, **named: object) -> None:  # noqa: ARG001
        raise OSError(1, "this disk has no links")

    if not links:
        monkeypatch.setattr(os, "link", none)
        monkeypatch.setattr(os, "supports_dir_fd", {*os.supports_dir_fd, none})
    part, name = tmp_path / "part", tmp_path / "name"
    part.write_bytes(b"one")
    appear(part, name, force=False)
    assert name.read_bytes() == b"one" and not part.exists()
    part.write_bytes(b"two")
    with pytest.raises(OutputError, match="--force"):
        appear(part, name, force=False)
    assert name.read_bytes() == b"one" and part.exists()
    appear(part, name, force=True)
    assert name.read_bytes() == b"two" and not part.exists()
    name.unlink()
    name.symlink_to(tmp_path / "nothing")
    part.write_bytes(b"three")
    with pytest.raises(OutputError, match="--force"):
        appear(part, name, force=False)
    assert not (tmp_path / "nothing").exists()
    with folder_inside(tmp_path, tmp_path / "sub", make=True) as inside:
        appear(part, tmp_path / "sub" / "x", False, inside)
    assert (tmp_path / "sub" / "x").read_bytes() == b"three"


def test_what_was_entered_stays_where_it_was(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "sub").mkdir(parents=True)
    other.mkdir()
    (root / "inner").symlink_to(root / "sub")
    part = tmp_path / "part"
    part.write_bytes(b"one")
    with folder_inside(root, root / "inner") as inside:  # a link that stays inside is fine
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to(other)
        appear(part, root / "sub" / "x", False, inside)
    assert (root / "moved" / "x").exists() and not list(other.iterdir())
    with pytest.raises(OutputError, match="through a link"), folder_inside(root, root / "sub"):
        pass
