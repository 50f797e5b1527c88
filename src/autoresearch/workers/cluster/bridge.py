"""The one process that speaks to Ray: takes what the engine asks from standard input, and answers in lines of JSON.

    python -m autoresearch.workers.cluster.bridge

A process of its own: Ray ends the process that it is in when it loses its cluster, has threads, and takes over signals.
The engine only loses attempts by that. With the engine this one ends, and with it whatever it has begun.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import tarfile
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from autoresearch import __version__
from autoresearch.errors import AutoresearchError, MachineError, PreconditionError
from autoresearch.runs.measure import fresh
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.workers.cluster import task
from autoresearch.workers.cluster.replica import packed

Message = dict[str, Any]

START = "ray start --head --disable-usage-stats --include-dashboard=false"

CONNECT_S = 5.0
"""Seconds in which the port of a cluster must answer at all."""

PROBE_S = 120.0
"""Seconds in which a node must say what it is: it starts a worker of Ray, and a program that reads a manifest."""

MOST_PACKS = 64
"""Commits that are kept in the cluster's memory at once: those of the attempts that may be made now."""


@dataclass(slots=True)
class _Sent:
    attempt: str
    ref: Any
    folder: Path
    commit: str
    parent: str | None
    wanted: bool = True


class Bridge:
    """What stands between the engine and a cluster."""

    def __init__(self, channel: int) -> None:
        """`channel` is the descriptor that the engine reads from."""
        self.channel = os.fdopen(channel, "wb")
        self.queue: queue.Queue[Message | str | None] = queue.Queue()
        """What the engine asks, ids of attempts that have ended, and None when the engine is gone."""
        self.sent: dict[str, _Sent] = {}
        self.packs: dict[str, Any] = {}
        """Commit -> its pack in the memory of the cluster."""
        self.git: Git | None = None
        self.parcel: Any = None
        self.ray: Any = None
        self.carry_out: Any = None

    def serve(self) -> None:
        """Answer until the engine is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (asked := self.queue.get()) is not None:
            try:
                self._tell(self._ended(self.sent.pop(asked)) if isinstance(asked, str) else self._answer(asked))
            except AutoresearchError as error:
                self._tell({"error": error.as_dict()})

    def _listen(self) -> None:
        for line in sys.stdin:
            self.queue.put(json.loads(line))
        os._exit(0)  # the cluster ends what was begun when it sees that: at once, whatever Ray is doing here

    def _tell(self, said: Message | None) -> None:
        if said is not None:
            self.channel.write(json.dumps(said).encode() + b"\n")
            self.channel.flush()

    def _answer(self, asked: Message) -> Message | None:
        match asked["do"]:
            case "connect":
                return {"nodes": self._connect(asked["address"], Path(asked["root"]))}
            case "ask":
                return {"said": self._ask(asked)}
            case "submit":
                self._submit(asked)
            case "cancel":
                for id in asked["attempts"]:
                    if id in self.sent:
                        self.sent[id].wanted = False
                        self.ray.cancel(self.sent[id].ref, force=True)
        return None

    def _connect(self, address: str, root: Path) -> list[Message]:
        # Without the last, below `uv run`, Ray would send all files of the folder that we are in to the cluster.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_UV_RUN_RUNTIME_ENV="0")
        import ray

        self.ray, self.git = ray, Git(root)
        os.chdir("/")  # Ray's workers would import from the folder that we are in
        if address != "auto":
            _check_answers(address)
        try:
            ray.init(address, log_to_driver=False, configure_logging=False)
        except Exception as error:  # whatever Ray says about versions, tokens and clusters that it does not find
            raise _refused(address, error) from None
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal; the engine says what is to be ended
        ray.cloudpickle.register_pickle_by_value(task)  # type: ignore[no-untyped-call]
        self.carry_out = ray.remote(max_retries=0)(task.carry_out)
        return self._nodes()

    def _nodes(self) -> list[Message]:
        """Return the nodes that are alive and have something to run on. That one is gone Ray finds out after some
        seconds, so they are asked, too: until then what is sent there would be lost."""
        found = [node for node in self.ray.nodes() if node["Alive"] and _answers(node)]
        return [
            {"id": node["NodeID"], "name": node["NodeManagerHostname"], "address": node["NodeManagerAddress"],
             "cpus": node["Resources"].get("CPU", 0.0), "gpus": node["Resources"].get("GPU", 0.0)}
            for node in found
            if node["Resources"].get("CPU", 0.0) or node["Resources"].get("GPU", 0.0)
        ]  # fmt: skip

    def _on(self, node: str, **resources: float) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node, soft=False)
        return self.carry_out.options(scheduling_strategy=where, max_retries=0, **resources)

    def _ask(self, asked: Message) -> dict[str, Message]:
        """Return what each node says of itself, or `lost`: why it says nothing, also when it is asked again. One that
        has ended meanwhile is not among them."""
        self.parcel = self.ray.put(asked["parcel"].encode())
        about = {"commit": asked["commit"], "prepared": asked["prepared"]}
        said = self._asked(asked["nodes"], about)
        lost = [node for node, told in said.items() if "lost" in told]
        if not lost:
            return said
        said |= self._asked(lost, about)
        alive = {node["id"] for node in self._nodes()}
        return {node: told for node, told in said.items() if node in alive or "lost" not in told}

    def _asked(self, nodes: list[str], about: Message) -> dict[str, Message]:
        job, pack = {"version": __version__, "asks": True, "slot": 1, **about}, self._pack(about["commit"])
        jobs = {node: json.dumps({**job, "node": node}).encode() for node in nodes}
        refs = {node: self._on(node, num_cpus=0).remote(told, self.parcel, pack) for node, told in jobs.items()}
        self.ray.wait([*refs.values()], num_returns=len(refs), timeout=PROBE_S)
        said: dict[str, Message] = {}
        for node, ref in refs.items():
            try:
                code, answer, _, complaint = self.ray.get(ref, timeout=0)
                last = (complaint.strip().splitlines() or [f"it left with {code}"])[-1]
                said[node] = json.loads(answer) if code == 0 and answer else {"lost": last}
            except Exception as error:  # of Ray: the node is gone, the worker crashed, nothing came in time
                self.ray.cancel(ref, force=True)
                said[node] = {"lost": _words(error)}
        return said

    def _pack(self, commit: str) -> Any:
        if commit not in self.packs:
            assert self.git is not None
            self.packs[commit] = self.ray.put(packed(self.git, commit))
            while len(self.packs) > MOST_PACKS:
                del self.packs[next(iter(self.packs))]
        return self.packs[commit]

    def _submit(self, asked: Message) -> None:
        job, id = asked["job"], asked["job"]["attempt"]
        spec = job["spec"]
        remote = self._on(job["node"], num_cpus=asked["cpus"], num_gpus=asked["gpus"])
        ref = remote.remote(json.dumps(job).encode(), self.parcel, self._pack(spec["commit"]))
        self.sent[id] = _Sent(id, ref, Path(spec["folder"]), spec["commit"], spec["parent"])
        ref.future().add_done_callback(lambda _done: self.queue.put(id))

    def _ended(self, sent: _Sent) -> Message:
        """Return how an attempt has ended; the files of its run are in their folder then, if anybody still wants it."""
        said: Message = {"ended": sent.attempt, "answer": "", "lost": "", "sick": False}
        try:
            code, answer, files, complaint = self.ray.get(sent.ref)
        except Exception as error:
            said |= {"lost": _words(error), "sick": isinstance(error, self.ray.exceptions.RayTaskError)}
        else:
            said["answer"] = answer.decode("utf-8", "replace") if code == 0 else ""
            last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
            said |= {"lost": "" if code == 0 else f"its program left with {code}: {last}", "sick": code > 0}
            if sent.wanted and files and not said["lost"]:
                try:
                    self._keep(sent, files)
                except (OSError, tarfile.TarError, AutoresearchError) as error:
                    raise MachineError(f"the files of a run cannot be kept: {error}", "autoresearch doctor") from error
        if said["lost"]:
            said["alive"] = [node["id"] for node in self._nodes()]
        return said

    def _keep(self, sent: _Sent, files: bytes) -> None:
        folder = fresh(sent.folder)
        if sent.parent is not None and self.git is not None:
            write_atomic(folder / "diff.patch", self.git.diff(sent.parent, sent.commit))
        with tarfile.open(fileobj=BytesIO(files)) as tar:
            tar.extractall(folder, filter="data")


def _answers(node: Message) -> bool:
    """Whether a machine's Ray takes connections."""
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), CONNECT_S).close()
    except OSError:
        return False
    return True


def _check_answers(address: str) -> None:
    """Raise `PreconditionError` where nothing listens: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise PreconditionError(f"nothing answers at {address}: {why}", f"start Ray there: {START}") from None


def _refused(address: str, error: Exception) -> PreconditionError:
    """Return the error for a cluster that Ray cannot use."""
    told = " ".join(str(error).split())[:300] or type(error).__name__
    return PreconditionError(f"the Ray cluster {address} cannot be used from here: {told}", f"one begins by: {START}")


def _words(error: BaseException) -> str:
    """Return in a sentence what Ray says of a task that came to nothing."""
    kind, first = type(error).__name__, next(iter(str(error).strip().splitlines()), "")
    known = {"WorkerCrashedError": "its worker was killed", "NodeDiedError": "its machine is gone",
             "TaskUnschedulableError": "its machine is gone", "GetTimeoutError": "its machine does not answer",
             "TaskCancelledError": "it was given up", "OutOfMemoryError": "Ray ended it: no memory"}  # fmt: skip
    return known.get(kind) or f"{kind}: {first[:200]}"


def main() -> None:
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    with contextlib.suppress(KeyboardInterrupt):
        Bridge(channel).serve()


if __name__ == "__main__":
    main()
