"""What a command printed, within bounds: head and tail for the log, METRIC lines from wherever they are."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from typing import IO

from autoresearch.metrics import MAX_LINE, PREFIX

LOG_HEAD = 8 * 2**20
LOG_TAIL = 2**20
"""Bytes of output that the log keeps from the beginning and from the end; METRIC lines count wherever they are."""

MAX_METRIC_LINES = 10_000

KEPT = 64 * 2**20
"""Bytes of the end of a stream that are kept at least, where somebody looks for a pattern in it."""


class MetricLines:
    """The METRIC lines of one stream."""

    def __init__(self) -> None:
        self.metrics: deque[str] = deque(maxlen=MAX_METRIC_LINES)
        self._line = bytearray()

    def take(self, block: bytes) -> None:
        prefix = PREFIX.encode()
        # A carriage return ends a line, too, as it does for `parse_metrics`: progress is drawn with it.
        *lines, rest = block.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            whole = bytes(self._line) + line if self._line else line
            if whole.startswith(prefix):
                self.metrics.append(whole[: MAX_LINE + 1].decode("utf-8", "replace"))
            self._line.clear()
        # A line without end cannot fill the memory: past the limit only its beginning counts.
        self._line += rest[: max(0, MAX_LINE + 1 - len(self._line))]

    def finish(self) -> None:
        if self._line:
            self.take(b"\n")


class KeptStream:
    """The end of one stream, in files that have no name, so that what is printed reaches them and nobody else does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [self._new()]
        """One, or the one before it, too, which is full."""
        self.cut = False
        """Whether there was more than is kept."""

    def take(self, block: bytes) -> None:
        self.files[-1].write(block)
        if self.files[-1].tell() >= KEPT:
            self.files.append(self._new())
            while len(self.files) > 2:
                self.files.pop(0).close()
                self.cut = True

    def close(self) -> None:
        for file in self.files:
            file.close()

    def _new(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self.folder, buffering=0)


class CommandOutput:
    """What a command printed: the log's head as it comes, the tail and the METRIC lines kept for the end."""

    def __init__(self, keep: Path | None = None) -> None:
        """With `keep`, a folder, both streams are kept as well, each by itself."""
        self.kept = {name: KeptStream(keep) for name in ("stdout", "stderr")} if keep is not None else {}
        self.written = 0
        self.left_out = 0
        self.recent = bytearray()
        self.out, self.err = MetricLines(), MetricLines()
        self._pending: deque[bytes] = deque()
        self._pending_size = 0

    def pipes(self, process: subprocess.Popen[bytes]) -> list[tuple[IO[bytes], MetricLines]]:
        """Return the two streams of a command, each with its METRIC lines."""
        assert process.stdout is not None and process.stderr is not None
        return [(process.stderr, self.err), (process.stdout, self.out)]

    def take(self, descriptor: int, lines: MetricLines, sink: object) -> bool:
        """Read what is there; return False at the end of the stream."""
        try:
            block = os.read(descriptor, 2**18)
        except BlockingIOError:
            return True
        if not block:
            return False
        self._write(block, sink)
        if self.kept:
            self.kept["stdout" if lines is self.out else "stderr"].take(block)
        self.recent += block
        del self.recent[: max(0, len(self.recent) - 2**16)]
        lines.take(block)
        return True

    def drain(self, process: subprocess.Popen[bytes], sink: object) -> None:
        """Read what is left in the pipes after every writer is dead (at most their own size)."""
        for pipe, lines in self.pipes(process):
            for _ in range(64):
                before = self.written + self.left_out + self._pending_size
                taken = self.take(pipe.fileno(), lines, sink)
                if not taken or before == self.written + self.left_out + self._pending_size:
                    break
            pipe.close()

    def finish(self, sink: object) -> None:
        self.out.finish()
        self.err.finish()
        if self.left_out:
            sink.write(f"\n[... {self.left_out} bytes left out ...]\n".encode())  # type: ignore[attr-defined]
        for block in self._pending:
            sink.write(block)  # type: ignore[attr-defined]

    def text(self) -> str:
        return self.recent.decode("utf-8", "replace")

    def _write(self, block: bytes, sink: object) -> None:
        room = LOG_HEAD - self.written
        if room > 0:
            sink.write(block[:room])  # type: ignore[attr-defined]
            self.written += len(block[:room])
            block = block[room:]
        if block:
            self._pending.append(block)
            self._pending_size += len(block)
            while self._pending_size - len(self._pending[0]) >= LOG_TAIL:
                gone = self._pending.popleft()
                self._pending_size -= len(gone)
                self.left_out += len(gone)
