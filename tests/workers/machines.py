"""The machines of a Ray cluster as tests and benchmarks see them: its nodes, what is measured there, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}


@dataclass
class RayLab:
    """A cluster, and where its machines keep what they make."""

    folder: Path
    process: subprocess.Popen[str]
    address: str = ""
    raylets: dict[str, int] = field(default_factory=dict)
    """Node -> its process, for those that live."""
    ever: set[str] = field(default_factory=set)

    @property
    def workers(self) -> tuple[str, str]:
        return ("--workers", f"ray://{self.address}")

    def add(self, **env: str) -> str:
        """Start a node and return its id."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(env) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        (new,) = said["raylets"].keys() - self.ever
        self.address = said["address"]
        self.raylets[new] = said["raylets"][new]
        self.ever.add(new)
        return str(new)

    def kill(self, node: str) -> None:
        os.kill(self.raylets.pop(node), signal.SIGKILL)

    def begun(self) -> dict[str, Path]:
        """Return node -> the folder of the run that waits there."""
        found = self.folder.glob("autoresearch-*/*/tree/.autoresearch/slots/0/train/here")
        return {path.parents[5].name.split("-")[1]: path.parent for path in found}

    def programs(self) -> list[psutil.Process]:
        """Return the programs that measure on the nodes."""
        found = []
        for each in psutil.process_iter(["cmdline"]):
            words = each.info["cmdline"] or []
            if "autoresearch.workers.cluster.node" in words and any(str(self.folder) in word for word in words):
                found.append(each)
        return found

    def go(self) -> None:
        for place in self.folder.glob("autoresearch-*/*/tree/.autoresearch"):
            (place / "GO").touch()


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[RayLab]:
    """Give a cluster without nodes, with a token that this process has meanwhile; its nodes use `folder`."""
    before = os.environ.copy()
    os.environ.update(TOKEN)
    program = Path(__file__).with_name("ray_lab.py")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, str(program), str(folder)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=log, text=True)  # fmt: skip
    try:
        yield RayLab(folder, process)
    finally:
        process.communicate()
        os.environ.clear()
        os.environ.update(before)
