"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoresearch.system.files import (
    Held,
    held_by_us,
    is_folder,
    is_there,
    remove,
    remove_tree,
    replaced_atomic,
    write_atomic,
)


def test_a_reader_sees_the_old_content_or_the_new_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomic(path, "old")
    with path.open() as reader:
        write_atomic(path, "the new content")
        assert reader.read() == "old"  # what was opened before is still whole
    assert path.read_text() == "the new content"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def fails(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fails)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_a_file_that_cannot_be_made_is_named_and_not_what_was_to_become_it(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 62)  # a name that is allowed, and not with a word more
    for write in (lambda: write_atomic(path, "new"), lambda: replaced_atomic(path).__enter__()):
        with pytest.raises(OSError, match="too long") as caught:
            write()
        assert caught.value.filename == str(path)


def test_a_folder_without_permissions_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "a" / "b").chmod(0)
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    remove_tree(tmp_path / "a")


def test_a_folder_that_is_nested_deeper_than_python_goes_is_removed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        before, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(before)
    os.close(here)
    remove_tree(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_file_a_link_and_a_folder_are_removed_and_nothing_beyond_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder" / "in").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "file", "link", "gone"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_name_that_is_too_long_is_not_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / ("x" * 300)) and not is_folder(tmp_path / ("x" * 300))
    assert is_there(tmp_path) and is_folder(tmp_path)


def test_a_lock_file_has_one_holder_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_by_us(path):
        with pytest.raises(Held), held_by_us(path):
            pass
        with pytest.raises(Held), held_by_us(path, wait_s=0.05):
            pass
    with held_by_us(path):
        assert path.exists()
    assert path.exists()
