"""What a run's own Python reports of it: opens of hidden files, writes into what is not its own, connections.

The reports come through a FIFO, which can be added to and not rewritten. `audit_hook/sitecustomize.py` says what it
misses.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoresearch.escaping import one_line
from autoresearch.runs.isolation.file_access import HeldOut, Opened

HOOK = Path(__file__).resolve().parent / "audit_hook"
VARIABLE = "AUTORESEARCH_WATCH"
KINDS = ("read", "write", "patch", "network", "kill")
MAX_REPORTS = 50


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that trained code did."""

    kind: str
    """One of `KINDS`."""
    what: str
    """The file, the host or the process; escaped."""

    def __str__(self) -> str:
        told = {
            "read": f"read {self.what}, which is held out",
            "write": f"wrote or tried to write {self.what}",
            "patch": f"replaced {self.what} in memory",
            "network": f"connected or tried to connect to {self.what}",
            "kill": f"sent a signal to process {self.what}, which is not its own",
        }
        return told[self.kind]


class Watch:
    """The reports of one process that is running."""

    def __init__(self, descriptor: int, opened: Opened, env: dict[str, str]) -> None:
        self.opened = opened
        self.env = env
        """What to add to its environment."""
        self.reports: list[Report] = []
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> None:
        """Take what was reported since; to be called often, since a FIFO holds 64 KiB."""
        self.opened.read()
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._descriptor, 2**16):
                *lines, self._rest = (self._rest + block).split(b"\n")
                self._rest = self._rest[-4096:]
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError):
            kind, what = json.loads(line)
            report = Report(kind, one_line(str(what), 200))
            if kind in KINDS and report not in self.reports and len(self.reports) < MAX_REPORTS:
                self.reports.append(report)


@contextlib.contextmanager
def watching(
    folder: Path,
    hidden: Sequence[HeldOut],
    protected: Sequence[Path],
    own: Sequence[Path],
    *,
    guarded: Sequence[Path],
    mutable: Sequence[str],
    opens: bool,
) -> Iterator[Watch]:
    """Open the channel in `folder`. Folders in `own` may be written; the modules in `guarded` keep their code, and
    the libraries of a process theirs once it imports a module of a name in `mutable`.

    With `opens`, the hidden files themselves are watched too, which the engine does: a run cannot get around that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fifo, config = folder / "reports", folder / "watch.json"
    listed = [(each.path, each.label) for each in hidden]
    identities = []
    for path, label in listed:
        with contextlib.suppress(OSError):
            about = path.stat()
            identities.append((about.st_dev, about.st_ino, label))
    os.mkfifo(fifo)
    opened = Opened(hidden if opens else ())
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        told = {
            "reports": str(fifo),
            "hidden": [(str(path), label) for path, label in listed],
            "identities": identities,
            "protected": [str(path.resolve()) for path in protected],
            "own": [str(path.resolve()) for path in own],
            "engine": os.getpid(),
            "guarded": [str(path.resolve()) for path in guarded],
            "mutable": list(mutable),
        }
        config.write_text(json.dumps(told))
        search = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
        watch = Watch(descriptor, opened, {VARIABLE: str(config), "PYTHONPATH": os.pathsep.join(search)})
        yield watch
        watch.read()
        found = {report.what for report in watch.reports}
        watch.reports += [Report("read", name) for name in opened.names if name not in found]
    finally:
        opened.close()
        os.close(descriptor)
