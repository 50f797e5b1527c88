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
from autoresearch.runs.isolation.file_access import FileAccessMonitor, HeldOut

HOOK = Path(__file__).resolve().parent / "audit_hook"
VARIABLE = "AUTORESEARCH_WATCH"
KINDS = ("read", "write", "patch", "network", "kill")
MAX_FINDINGS = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that trained code did."""

    kind: str
    """One of `KINDS`."""
    what: str
    """The file, the host or the process; escaped."""

    def __str__(self) -> str:
        sentences = {
            "read": f"read {self.what}, which is held out",
            "write": f"wrote or tried to write {self.what}",
            "patch": f"replaced {self.what} in memory",
            "network": f"connected or tried to connect to {self.what}",
            "kill": f"sent a signal to process {self.what}, which is not its own",
        }
        return sentences[self.kind]


class Watch:
    """The reports of one process that is running."""

    def __init__(self, descriptor: int, file_access: FileAccessMonitor, env: dict[str, str]) -> None:
        self.file_access = file_access
        self.env = env
        """What to add to its environment."""
        self.findings: list[Finding] = []
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> None:
        """Take what was reported since; to be called often, since a FIFO holds 64 KiB."""
        self.file_access.read()
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._descriptor, 2**16):
                *lines, self._rest = (self._rest + block).split(b"\n")
                self._rest = self._rest[-4096:]
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError):
            kind, what = json.loads(line)
            finding = Finding(kind, one_line(str(what), 200))
            if kind in KINDS and finding not in self.findings and len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)


@contextlib.contextmanager
def watching(
    folder: Path,
    hidden: Sequence[HeldOut],
    protected: Sequence[Path],
    own: Sequence[Path],
    *,
    immutable_modules: Sequence[Path],
    mutable: Sequence[str],
    opens: bool,
) -> Iterator[Watch]:
    """Open the channel in `folder`. Folders in `own` may be written; `immutable_modules` keep their code, and the
    libraries of a process theirs once it imports a module of a name in `mutable`.

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
    file_access = FileAccessMonitor(hidden if opens else ())
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        settings = {
            "reports": str(fifo),
            "hidden": [(str(path), label) for path, label in listed],
            "identities": identities,
            "protected": [str(path.resolve()) for path in protected],
            "own": [str(path.resolve()) for path in own],
            "engine": os.getpid(),
            "guarded": [str(path.resolve()) for path in immutable_modules],
            "mutable": list(mutable),
        }
        config.write_text(json.dumps(settings))
        search = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
        watch = Watch(descriptor, file_access, {VARIABLE: str(config), "PYTHONPATH": os.pathsep.join(search)})
        yield watch
        watch.read()
        known = {finding.what for finding in watch.findings}
        watch.findings += [Finding("read", name) for name in file_access.names if name not in known]
    finally:
        file_access.close()
        os.close(descriptor)
