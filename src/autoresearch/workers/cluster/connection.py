"""The engine's end of a bridge, and what it asks a cluster before anything is measured there."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, error_of
from autoresearch.runs.spec import RunContext
from autoresearch.system.extras import install
from autoresearch.system.limits import Limits
from autoresearch.system.process import Endings, bounded
from autoresearch.workers.cluster.manifest import manifest
from autoresearch.workers.cluster.nodes import NO_TOKEN, Node, refusals
from autoresearch.workers.cluster.replica import Parcel
from autoresearch.workers.starter import PACKAGES
from autoresearch.workspace.python import redirected

CONNECT_S = 180.0
"""Seconds in which a cluster must have said what it has: its nodes start a process each for that."""

LOOK_S = 0.5
"""Seconds between two looks at what Ray has printed, while an answer is waited for."""


class Disconnected(MachineError):
    """The process that speaks to Ray is gone; the cluster may be well, and can be asked again."""


@dataclass(slots=True)
class Bridge:
    """The process that speaks to Ray."""

    process: subprocess.Popen[bytes]
    complained: IO[bytes]
    rest: bytes = b""
    """What it has said of a line that has not ended."""
    said: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, **asked: Any) -> None:
        """Tell it something. Raises `Disconnected` when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self.gone() from None

    def listen(self, wait_s: float) -> bool:
        """Take in what it says within so many seconds; return False when it is gone."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, wait_s)):
                return True
        read = os.read(self.process.stdout.fileno(), 1 << 20)
        *lines, self.rest = (self.rest + read).split(b"\n")
        self.said += map(json.loads, lines)
        return bool(read)

    def answer(self, key: str, wait_s: float) -> Any:
        """Return what it answers a question with. Raises `AutoresearchError`: what it says instead, or nothing."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for said in self.said:
                if "error" in said:
                    raise error_of(said["error"])
                if key in said:
                    self.said.remove(said)
                    return said[key]
            if not self.listen(min(LOOK_S, deadline - time.monotonic())):
                raise self.gone()
            if self.without_token:
                fix = "give its own, as RAY_AUTH_TOKEN or in a file that RAY_AUTH_TOKEN_PATH names"
                raise PreconditionError("the Ray cluster has another token than this machine", fix)
        raise MachineError(f"the Ray cluster has not answered in {wait_s:g} s", "see how it is: ray status")

    @property
    def without_token(self) -> bool:
        """Whether the cluster has refused it for want of its token: Ray prints that, and tries for long."""
        self.complained.seek(0)
        return NO_TOKEN in self.complained.read()

    def gone(self) -> Disconnected:
        """Return the error for one that is not there any more, with the last that it said, where it has ended itself:
        before somebody kills it, Ray may have said anything there."""
        code = self.process.wait()
        self.complained.seek(0)
        last = self.complained.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        told = f": what holds it died of signal {-code}" if code < 0 else f": {last[0][:200]}" if last else ""
        return Disconnected(f"the connection to the Ray cluster is lost{told}", "see how it is: ray status")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cluster has, as its machines say it."""

    bridge: Bridge
    parcel: Parcel
    nodes: tuple[Node, ...]
    refusals: tuple[AutoresearchError, ...]
    """Why some of the machines cannot be used."""
    python: str | None
    data: str | None
    """The version of Python, and the hash of the prepared data, that all machines must have: those of this one."""


def survey(context: RunContext, address: str) -> Survey:
    """Connect to the cluster at `address` (`HOST:PORT`, or `auto`), and ask each machine what it is.

    Raises `PreconditionError` where Ray is missing, no cluster answers, or the task cannot be measured elsewhere, and
    `MachineError` when it does not answer in time.
    """
    check_installed()
    workspace, task = context.workspace, context.task
    parcel = Parcel.of(workspace, context.git, task)
    if redirected(context.python, workspace, workspace.root, {}):
        why = "the command imports packages from the workspace itself, and other machines have none"
        raise PreconditionError(why, "measure on this one: --workers local:2")
    prepared, python = manifest(workspace, task), context.python.version if context.python is not None else None
    bridge = started()
    try:
        bridge.ask(do="connect", address=address, root=str(workspace.root))
        found = {node["id"]: node for node in bridge.answer("nodes", CONNECT_S)}
        commit = context.git.head() or ""
        told = parcel.as_bytes().decode()
        bridge.ask(do="ask", nodes=[*found], parcel=told, commit=commit, prepared=asdict(prepared))
        said = bridge.answer("said", CONNECT_S)
    except BaseException:
        ended(bridge.process)
        raise
    nodes = tuple(Node.of(about, said[id]) for id, about in found.items() if id in said)
    refused = tuple(refusals(nodes, python, prepared.sha256))
    return Survey(bridge, parcel, nodes, refused, python, prepared.sha256)


def asks_for_token(context: RunContext, address: str) -> bool:
    """Whether a cluster that answers refuses whoever has no token."""
    bridge = started(RAY_AUTH_MODE="disabled")
    try:
        bridge.ask(do="connect", address=address, root=str(context.workspace.root))
        deadline = time.monotonic() + CONNECT_S
        while time.monotonic() < deadline and bridge.listen(LOOK_S) and not bridge.said:
            if bridge.without_token:
                return True
        return not any("nodes" in said for said in bridge.said)
    finally:
        ended(bridge.process)


def check_installed() -> None:
    """Raise `PreconditionError` where Ray is missing, or has no clusters."""
    if sys.platform != "linux":
        raise PreconditionError("Ray has clusters of Linux machines alone", "measure on this one: --workers local:1")
    if importlib.util.find_spec("ray") is None:
        raise PreconditionError("Ray is not installed", f"install it: {install('ray')}")


def started(**more: str) -> Bridge:
    """Start one, with variables beside the engine's."""
    env = {**os.environ, **more}
    command = [*bounded(Limits(), env), sys.executable, "-m", "autoresearch.workers.cluster.bridge"]
    with Endings(), contextlib.ExitStack() as files:
        complained = files.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(command, cwd=PACKAGES, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=complained, start_new_session=True)  # fmt: skip
        files.pop_all()
    return Bridge(process, complained)


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a bridge: the cluster ends what it has begun."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
