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
from typing import Any

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
    disks: list[Path] = field(default_factory=list)
    """Other folders for temporary files than that of the cluster, of nodes that were started with one."""

    @property
    def workers(self) -> tuple[str, str]:
        return ("--workers", f"ray://{self.address}")

    def add(self, **env: str) -> str:
        """Start a node and return its id."""
        said = self._ask(env)
        self.disks += [Path(env["TMPDIR"])] if "TMPDIR" in env else []
        (new,) = said["raylets"].keys() - self.ever
        self.address = said["address"]
        self.raylets[new] = said["raylets"][new]
        self.ever.add(new)
        return str(new)

    def _ask(self, env: dict[str, str] | None) -> Any:
        """Have a node started, if an environment is given; return what there is then."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(env) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def alive(self, node: str) -> bool:
        """Whether Ray takes a node for alive."""
        return node in self._ask(None)["alive"]

    def kill_raylet(self, node: str) -> None:
        """Kill the process of Ray on a node; what it has started may go on."""
        os.kill(self.raylets.pop(node), signal.SIGKILL)

    def kill(self, node: str) -> None:
        """Kill whatever is at work on a node, as when it loses its power."""
        for each in self.stop(node):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended with the one that started it
                each.kill()

    def stop(self, node: str) -> list[psutil.Process]:
        """Let everything on a node stand still, as when its network is cut, and return it; it is none of ours then."""
        raylet = psutil.Process(self.raylets.pop(node))
        stopped: list[psutil.Process] = []
        while left := [p for p in [raylet, *raylet.children(recursive=True)] if p not in stopped]:
            for each in left:  # what is started meanwhile is found in the next round
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.suspend()
            stopped += left
        return stopped

    def node(self, begun: str) -> str:
        """Return the node of a folder that `begun` names."""
        return next(node for node in self.raylets if node.startswith(begun))

    def begun(self) -> dict[str, Path]:
        """Return node -> the folder of the run that waits there."""
        found = self._found("autoresearch-*/*/tree/.autoresearch/slots/0/train/here")
        return {path.parents[5].name.split("-")[1]: path.parent for path in found}

    def programs(self) -> list[psutil.Process]:
        """Return the programs that measure on the nodes."""
        found = []
        for each in psutil.process_iter(["cmdline"]):
            words = each.info["cmdline"] or []
            if "autoresearch.workers.cluster.node" in words and any(str(self.folder) in word for word in words):
                found.append(each)
        return found

    def go(self, *disks: Path) -> None:
        """Let the runs end that wait; with folders for temporary files, those of nodes that have these."""
        for place in self._found("autoresearch-*/*/tree/.autoresearch", *disks):
            (place / "GO").touch()

    def _found(self, pattern: str, *disks: Path) -> list[Path]:
        return [path for folder in disks or (self.folder, *self.disks) for path in folder.glob(pattern)]


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
