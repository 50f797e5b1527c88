from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from autoresearch.journal.file import JournalError, append, read

EVENT = {"run": 2, "description": 'é 日本 🙂 "q" \\ \n', "metric": 0.5, "asi": {"a": [1, None]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "autoresearch.jsonl"


def events(path: Path) -> list[dict[str, Any]]:
    return [event for _, event in read(path)]


def test_what_is_appended_is_read_back_with_its_line_number(path: Path) -> None:
    append(path, {"type": "config"})
    append(path, EVENT)
    assert list(read(path)) == [(1, {"type": "config"}), (2, EVENT)]
    assert path.read_bytes().count(b"\n") == 2


def test_the_order_of_keys_and_text_outside_ascii_stay_as_they_are(path: Path) -> None:
    append(path, {"z": 1, "a": "é"})
    assert path.read_bytes() == '{"z":1,"a":"é"}\n'.encode()


def test_appending_never_rewrites_what_is_there(path: Path) -> None:
    before = b'{ "spaced" : 1 }\r\n\n{"type":"x"}\n'
    path.write_bytes(before)
    append(path, EVENT)
    assert path.read_bytes().startswith(before)
    assert list(read(path)) == [(1, {"spaced": 1}), (3, {"type": "x"}), (4, EVENT)]


def line_of(event: dict[str, Any], folder: Path) -> bytes:
    append(folder / "one", event)
    return (folder / "one").read_bytes()


def test_a_line_torn_at_any_byte_is_passed_over_and_then_dropped(path: Path, tmp_path: Path) -> None:
    whole = line_of(EVENT, tmp_path)
    for cut in range(len(whole) - 1):
        path.write_bytes(b'{"run":1}\n' + whole[:cut])
        assert events(path) == [{"run": 1}], cut
        append(path, {"run": 3})
        assert path.read_bytes() == b'{"run":1}\n{"run":3}\n', cut


def test_a_whole_line_that_lacks_only_its_newline_is_kept(path: Path, tmp_path: Path) -> None:
    path.write_bytes(line_of(EVENT, tmp_path)[:-1])
    assert events(path) == [EVENT]
    append(path, {"run": 3})
    assert events(path) == [EVENT, {"run": 3}]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("tail", [b"\0" * 64, b"12", b'"text"', b"[1]", b"\xff\xfe", b" ", b"[" * 100_000, b"null"])
def test_a_tail_that_is_no_object_is_passed_over_and_then_dropped(tail: bytes, path: Path) -> None:
    path.write_bytes(b'{"run":1}\n' + tail)
    assert events(path) == [{"run": 1}]
    append(path, {"run": 2})
    assert path.read_bytes() == b'{"run":1}\n{"run":2}\n'


def test_a_torn_tail_longer_than_any_block_is_dropped(path: Path) -> None:
    path.write_bytes(b'{"run":1}\n{"description":"' + b"x" * 300_000)
    append(path, {"run": 2})
    assert events(path) == [{"run": 1}, {"run": 2}]


def test_a_journal_that_is_only_a_torn_line_starts_again(path: Path) -> None:
    path.write_bytes(b'{"type":"con')
    assert events(path) == []
    append(path, {"run": 1})
    assert path.read_bytes() == b'{"run":1}\n'


@pytest.mark.parametrize("bad", [b"{", b"[1]", b"5", b"\0\0", b"\xff", b"[" * 100_000, b'{"run":1}{"run":2}'])
def test_a_damaged_line_in_the_middle_is_named_and_not_passed_over(bad: bytes, path: Path) -> None:
    path.write_bytes(b'{"run":1}\n' + bad + b'\n{"run":2}\n')
    with pytest.raises(JournalError, match=r"autoresearch\.jsonl line 2 "):
        events(path)


@pytest.mark.parametrize("bad", [b'{"run":1', b'{"text":"x', b'{"a":"\t"}', b"{} {}\r"])
def test_a_damaged_line_is_told_as_json_tells_it_by_itself(bad: bytes, path: Path) -> None:
    path.write_bytes(b'{"run":1}\n\n' + bad + b'\n{"run":2}\n')
    with pytest.raises(ValueError) as alone:
        json.loads(bad)
    with pytest.raises(JournalError) as error:
        events(path)
    assert str(error.value) == f"autoresearch.jsonl line 3 is not JSON ({alone.value})"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}, object()])
def test_a_value_that_json_does_not_know_leaves_the_file_as_it_was(value: object, path: Path) -> None:
    path.write_bytes(b'{"run":1}\n{"torn')
    with pytest.raises((ValueError, TypeError)):
        append(path, {"metric": value})
    assert path.read_bytes() == b'{"run":1}\n{"torn'
    with pytest.raises((ValueError, TypeError)):
        append(path.with_name("new"), {"metric": value})
    assert not path.with_name("new").exists()


def test_lone_surrogates_become_valid_json(path: Path) -> None:
    append(path, {"description": "a\udcff\ud800b", "k\udfff": 1})
    path.read_bytes().decode("utf-8")
    assert events(path) == [{"description": "a\udcff\ud800b", "k\udfff": 1}]


def test_any_event_survives_any_neighbours(path: Path) -> None:
    rng = Random(6)
    alphabet = [
        *map(chr, range(0x250)),
        "\u2028",
        "\u2029",
        "\x85",
        "\ufeff",
        "\ud800",
        "\udfff",
        "日",
        "🙂",
        '"',
        "\\",
        "\n",
    ]
    written = []
    for _ in range(300):
        event = {"".join(rng.choices(alphabet, k=3)): "".join(rng.choices(alphabet, k=rng.randrange(40)))}
        # Two halves of a pair that happen to meet are one character after any JSON reader.
        written.append(json.loads(json.dumps(event)))
        if rng.random() < 0.3:
            with path.open("ab") as stream:
                stream.write(b'{"torn":"' + b"x" * rng.randrange(9))
        append(path, event)
    assert events(path) == written


FULL = """
import resource, sys
from pathlib import Path
from autoresearch.journal.file import append
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    append(Path(sys.argv[1]), {"run": 2, "description": "x" * 50})
except OSError as error:
    sys.exit(f"refused: {error}")
"""


def append_with_room(path: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Append a line of 72 bytes in a process that may grow no file past `size` bytes."""
    return subprocess.run([sys.executable, "-c", FULL, path, str(size)], capture_output=True, text=True)


@pytest.mark.parametrize("before", [b'{"run":1}\n', b'{"run":1}', b""])
@pytest.mark.parametrize("room", [0, 1, 30, 71])
def test_a_full_disk_leaves_the_file_as_it_was(before: bytes, room: int, path: Path) -> None:
    path.write_bytes(before)
    done = append_with_room(path, len(before) + room)
    assert done.returncode == 1 and done.stderr.startswith("refused: "), done
    assert path.read_bytes() == before
    append(path, {"run": 3})
    assert events(path)[-1] == {"run": 3}


def test_a_full_disk_after_a_torn_tail_loses_no_whole_line(path: Path) -> None:
    path.write_bytes(b'{"run":1}\n{"run":2,"descr')
    assert append_with_room(path, 30).returncode == 1
    assert events(path) == [{"run": 1}]
    assert append_with_room(path, 10_000).returncode == 0
    assert [event["run"] for event in events(path)] == [1, 2]


WRITER = """
import sys
from pathlib import Path
from autoresearch.journal.file import append
for n in range(25):
    append(Path(sys.argv[1]), {"writer": int(sys.argv[2]), "n": n, "text": "é" * (n * 997 % 5000)})
"""


def test_parallel_writers_lose_and_mix_nothing(path: Path) -> None:
    path.write_bytes(b'{"torn')
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(w)]) for w in range(6)]
    while any(writer.poll() is None for writer in writers):
        assert all(len(event["text"]) == event["n"] * 997 % 5000 for event in events(path))
    assert [writer.returncode for writer in writers] == [0] * 6
    written = events(path)
    for w in range(6):
        assert [event["n"] for event in written if event["writer"] == w] == list(range(25))
    assert len(written) == 150


def test_nobody_else_can_write_from_when_a_line_is_made_until_it_is_there(path: Path) -> None:
    def made() -> dict[str, int]:
        with path.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return {"run": 1}

    append(path, made)
    assert events(path) == [{"run": 1}]
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


KILLED = """
import os, sys
from pathlib import Path
from autoresearch.journal import file as journal
step, calls = int(sys.argv[2]), 0
def dying(real):
    def call(*args):
        global calls
        calls += 1
        if calls == step:
            os._exit(9)
        return real(*args)
    return call
for name in ("ftruncate", "pwrite", "fsync", "pread"):
    setattr(journal.os, name, dying(getattr(os, name)))
journal.append(Path(sys.argv[1]), {"run": 3})
"""


@pytest.mark.parametrize("before", [b'{"run":1}\n{"run":2}', b'{"run":1}\n{"run":2}\n{"to', b'{"run":1}\n{"run":2}\n'])
def test_a_kill_between_any_two_steps_loses_no_whole_line(before: bytes, path: Path) -> None:
    codes = []
    for step in range(1, 9):
        path.write_bytes(before)
        codes.append(subprocess.run([sys.executable, "-c", KILLED, path, str(step)]).returncode)
        assert [event["run"] for event in events(path)][:2] == [1, 2]
        append(path, {"run": 4})
        assert [event["run"] for event in events(path)] in ([1, 2, 4], [1, 2, 3, 4])
    assert 9 in codes and codes[-1] == 0


def test_a_folder_that_cannot_be_read_does_not_report_a_written_line_as_lost(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every folder")
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o300)
    try:
        append(folder / "j", EVENT)
        assert events(folder / "j") == [EVENT]
    finally:
        folder.chmod(0o700)


def test_a_line_is_on_the_disk_before_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for name in ("pwrite", "fsync"):
        real = getattr(os, name)

        def noted(descriptor: int, *args: object, name: str = name, real: Callable[..., object] = real) -> object:
            result = real(descriptor, *args)
            done.append((name, Path(f"/proc/self/fd/{descriptor}").readlink().name))
            return result

        monkeypatch.setattr(os, name, noted)
    append(path, EVENT)
    append(path, EVENT)
    first = [("pwrite", path.name), ("fsync", path.name), ("fsync", path.parent.name)]
    assert done == [*first, ("pwrite", path.name), ("fsync", path.name)]


def test_the_journal_module_needs_the_standard_library_alone() -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    code = f"import sys; sys.path.insert(0, {str(source)!r}); import autoresearch.journal.file"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code]).returncode == 0
