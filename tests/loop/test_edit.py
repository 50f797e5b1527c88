"""Strict edits of the mutable files."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearch.loop.edit import MOST_BYTES, EditRefused, Replacement, WholeFile, apply, replace_once

MUTABLE = ("train.py", "src")


def replace(old: str, new: str, path: str = "train.py") -> Replacement:
    return Replacement(path, old, new)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "train.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "bench.sh").write_text("run\n")
    return tmp_path


def test_the_one_place_is_replaced() -> None:
    assert replace_once("a = 1\nb = 2\n", "b = 2", "b = 3") == "a = 1\nb = 3\n"
    assert replace_once("x\n", "x\n", "") == ""
    assert replace_once("über 1", "über", "unter") == "unter 1"


@pytest.mark.parametrize(
    ("text", "old", "new", "what"),
    [
        ("a\n", "", "b", "old text is empty"),
        ("a\n", "a", "a", "are the same"),
        ("a\nb\n", "c", "d", "is not in the file"),
        ("a\nb\na\n", "a", "d", "there 2 times, from lines 1, 3"),
        ("aaa", "aa", "b", "there 2 times, from lines 1, 1"),
        ("x\n" * 9, "x", "y", "there 9 times, from lines 1, 2, 3, 4, 5, ..."),
        ("if a:\n    b = 1\n", "if a:\n  b = 1", "c", "line 1 has it with other blanks"),
        ("first\nold\n", "first\nnew\n", "c", "its first line is in line 1, but what follows there differs"),
    ],
)
def test_what_does_not_fit_once_is_refused_with_the_reason(text: str, old: str, new: str, what: str) -> None:
    with pytest.raises(EditRefused, match=what) as refused:
        replace_once(text, old, new)
    assert refused.value.fix


def test_a_file_with_carriage_returns_keeps_them() -> None:
    text = "a = 1\r\nb = 2\r\nc = 3\r\n"
    assert replace_once(text, "a = 1\nb = 2\n", "a = 2\nb = 2\n\n") == "a = 2\r\nb = 2\r\n\r\nc = 3\r\n"
    assert replace_once(text, "b = 2\r\n", "b = 3\r\n") == "a = 1\r\nb = 3\r\nc = 3\r\n"
    assert replace_once("a\r\nb\nc\n", "b\nc", "d") == "a\r\nd\n"


def test_changes_are_made_in_order_and_other_files_left(folder: Path) -> None:
    (folder / "train.py").chmod(0o755)
    made = apply(folder, MUTABLE, [replace("a = 1", "a = 5"), replace("a = 5", "a = 6"),
                                   WholeFile("src/new/x.py", "x\n"), replace("x", "y", "src/new/x.py")])  # fmt: skip
    assert made == ["src/new/x.py", "train.py"]
    assert (folder / "train.py").read_text() == "a = 6\nb = 2\n"
    assert (folder / "train.py").stat().st_mode & 0o777 == 0o755
    assert (folder / "src/new/x.py").read_text() == "y\n"
    assert sorted(p.name for p in folder.iterdir()) == ["bench.sh", "src", "train.py"]


def test_all_changes_or_none(folder: Path) -> None:
    with pytest.raises(EditRefused, match=r"change 2 of 2, train.py: the old text is not in the file"):
        apply(folder, MUTABLE, [replace("a = 1", "a = 5"), replace("z", "y")])
    assert (folder / "train.py").read_text() == "a = 1\nb = 2\n"


def test_an_absolute_path_into_the_folder_is_taken(folder: Path) -> None:
    assert apply(folder, MUTABLE, [replace("a = 1", "a = 5", str(folder / "train.py"))]) == ["train.py"]


@pytest.mark.parametrize(
    "path",
    ["bench.sh", "../train.py", "src/../bench.sh", "src/../../x", "/etc/hostname", "", " ", "src\0x", "src", "other.py",
     "src/.git/config", "link.py", "src/link/x.py", "src/" + "x" * 300, "train.py/x"],
)  # fmt: skip
def test_no_other_file_can_be_written(folder: Path, path: str) -> None:
    (folder / "link.py").symlink_to(folder / "bench.sh")
    (folder / "src/link").symlink_to(folder)
    for change in (WholeFile(path, "x\n"), replace("run", "walk", path)):
        with pytest.raises(EditRefused):
            apply(folder, (*MUTABLE, "link.py"), [change])
    assert (folder / "bench.sh").read_text() == "run\n"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replace("a", "b", "src/none.py"), "there is no such file"),
        (replace("a", "b", "src/binary"), "cannot be read as text"),
        (WholeFile("train.py", "x" * (MOST_BYTES + 1)), "more than 4 MiB"),
        (WholeFile("train.py", "\ud800"), "half a character"),
        (WholeFile("train.py", "a = 1\nb = 2\n"), "leave every file as it is"),
    ],
)
def test_what_is_no_change_of_a_text_is_refused(folder: Path, change: Replacement | WholeFile, what: str) -> None:
    (folder / "src/binary").write_bytes(b"\xff\xfea")
    with pytest.raises(EditRefused, match=what):
        apply(folder, MUTABLE, [change])
    with pytest.raises(EditRefused, match="there is no change"):
        apply(folder, MUTABLE, [])
    assert (folder / "train.py").read_text() == "a = 1\nb = 2\n"
