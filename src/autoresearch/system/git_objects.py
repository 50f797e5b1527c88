"""One `git cat-file --batch`, kept running for a command: it answers any number of questions in one process."""

from __future__ import annotations

import contextlib
import subprocess
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autoresearch.errors import MachineError

_AT_ONCE = 100
"""Questions that are asked before the answers are read: so few that they fit into a pipe that nobody reads."""

_KINDS = (b"commit", b"tree", b"blob", b"tag")


@dataclass(frozen=True, slots=True)
class GitObject:
    """An object of the repository."""

    name: str
    """Its full hash."""
    kind: str
    content: bytes


class ObjectReader:
    """Reads objects and names of a repository. References are looked up when they are asked for, none is remembered."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        """`start` starts `git cat-file --batch`; this happens with the first question, and again when it has died."""
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, name: str) -> GitObject | None:
        """Return the object of a name (`HEAD^{commit}`, a hash), or None when there is none that can be read."""
        return self.read_all([name])[0]

    def read_all(self, names: Sequence[str]) -> list[GitObject | None]:
        """Return the object of each name, in order. Raises `MachineError` when git is killed again and again."""
        objects: list[GitObject | None] = []
        for at in range(0, len(names), _AT_ONCE):
            objects += self._answers(names[at : at + _AT_ONCE])
        return objects

    def close(self) -> None:
        """End the process; a later question starts another."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _answers(self, names: Sequence[str]) -> list[GitObject | None]:
        for _ in range(3):  # one that was killed while it had nothing to do is no answer
            objects: list[GitObject | None] = []
            process = self._running()
            try:
                assert process.stdin is not None
                asked = [name for name in names if "\n" not in name]
                process.stdin.write(b"".join(name.encode("utf-8", "surrogateescape") + b"\n" for name in asked))
                process.stdin.flush()
                answers = self._take(process, len(asked))
                return [None if "\n" in name else next(answers) for name in names]
            except (BrokenPipeError, EOFError):
                self.close()
                if process.returncode >= 0 and len(names) == 1:
                    return [None]  # git gave up on it: the object is damaged
                if process.returncode >= 0:
                    for name in names:
                        objects += self._answers([name])
                    return objects
        raise MachineError("git cat-file was killed", "try again; autoresearch resume repairs a session")

    def _take(self, process: subprocess.Popen[bytes], count: int) -> Iterator[GitObject | None]:
        answers: list[GitObject | None] = []
        assert process.stdout is not None
        for _ in range(count):
            line = process.stdout.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            words = line.rsplit(None, 2)
            if len(words) != 3 or words[1] not in _KINDS or not words[2].isdigit():
                answers.append(None)  # `missing`, `ambiguous`
                continue
            size = int(words[2])
            content = process.stdout.read(size + 1)
            if len(content) != size + 1:
                raise EOFError
            answers.append(GitObject(words[0].decode(), words[1].decode(), content[:-1]))
        return iter(answers)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = self._start()
            weakref.finalize(self, _end, self._process)
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()
