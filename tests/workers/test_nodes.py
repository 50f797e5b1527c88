"""The machines of a cluster: which make slots, which are never compared, and why one cannot be used."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from lab import Lab

from autoresearch import __version__
from autoresearch.errors import PreconditionError, UsageError
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext
from autoresearch.system.git import Git
from autoresearch.workers.base import Attempt
from autoresearch.workers.choice import slots_of
from autoresearch.workers.cluster import ray_workers
from autoresearch.workers.cluster.connection import Bridge, Survey, ended
from autoresearch.workers.cluster.nodes import Node, chosen, refusals
from autoresearch.workers.cluster.ray_workers import RayWorkers
from autoresearch.workers.cluster.replica import Parcel
from autoresearch.workers.messages import answer
from autoresearch.workspace.task_file import load


def node(name: str, *gpus: str, cpus: float = 8, gives: int | None = None, **said: object) -> Node:
    """A node that gives all of its GPUs unless told otherwise."""
    machine = {"gpus": [{"name": gpu} for gpu in gpus]}
    env = {"gpu": gpus[0] if gpus else None, "cpu": "a CPU", "cores": int(cpus)}
    about = {
        "id": name,
        "name": name,
        "address": "10.0.0.1",
        "cpus": cpus,
        "gpus": float(len(gpus) if gives is None else gives),
    }
    return Node.of(
        about, {"version": __version__, "machine": machine, "env": env, "python": "3.11.7", "data": None, **said}
    )


def places(*nodes: Node, known: str | None = None) -> list[tuple[str, int, int, float, int]]:
    return [(p.node.id, p.number, p.of, p.cpus, p.gpus) for p in chosen(nodes, known)]


def test_each_gpu_is_a_slot_with_its_share_of_the_cores_and_machines_take_turns() -> None:
    assert places(node("a", "H100", "H100", cpus=16), node("b", "H100")) == [
        ("a", 1, 2, 8, 1), ("b", 1, 1, 8, 1), ("a", 2, 2, 8, 1)]  # fmt: skip
    assert places(node("a", "H100", "H100", gives=1)) == [("a", 1, 1, 8, 1)], "no more than Ray has to give"


def test_a_machine_without_a_gpu_is_one_slot_and_takes_all_of_it() -> None:
    assert places(node("a", cpus=4), node("b", cpus=4)) == [("a", 1, 1, 4, 0), ("b", 1, 1, 4, 0)]


def test_classes_of_machines_are_never_mixed() -> None:
    mixed = node("a", "A100"), node("b", "H100", "H100"), node("c"), node("d", cpus=64)
    assert {each[0] for each in places(*mixed)} == {"b"}, "the class with the most slots"
    assert {each[0] for each in places(*mixed, known="A100")} == {"a"}, "the one that the session began on"
    assert {each[0] for each in places(*mixed, known="a CPU, 64 cores")} == {"d"}
    assert {each[0] for each in places(*mixed, known="TPU")} == {"b"}, "which is measured again there"


@pytest.mark.parametrize(
    ("said", "told", "fix"),
    [
        ({"version": "0.0.1"}, f"autoresearch is 0.0.1, and {__version__} here", f"autoresearch=={__version__}"),
        ({"lost": "/usr/bin/python: No module named autoresearch"}, "not installed", f"autoresearch=={__version__}"),
        ({"lost": "its machine does not answer"}, "nothing can be measured: its machine", "autoresearch doctor"),
        ({"error": {"kind": "precondition", "message": "no sandbox", "fix": "do this"}}, "no sandbox", "do this"),
        ({"python": "3.12.1"}, "runs would use Python 3.12.1, and here 3.11.7", "environment"),
        ({"data": "other"}, "the prepared data is another than here", "prepare.py --force"),
        ({"machine": {"gpus": [{"name": "H100"}]}}, "Ray has none of the GPUs", "--num-gpus"),
        ({"machine": {"gpus": [{"name": "H1"}, {"name": "A1"}]}, "gives": 2}, "several kinds: H1, A1", "VISIBLE"),
    ],
)  # fmt: skip
def test_what_one_machine_lacks_is_told_with_its_name_and_what_to_do(
    said: dict[str, object], told: str, fix: str
) -> None:
    (refused,) = refusals([node("good"), node("bad", **said)], "3.11.7", None)
    assert refused.message.startswith("on bad (10.0.0.1)") and told in refused.message and fix in refused.fix


def test_a_cluster_without_machines_is_refused_too() -> None:
    assert [each.message for each in refusals([], None, None)] == [
        "the Ray cluster has no machine with a CPU or a GPU to give"]  # fmt: skip


@pytest.fixture
def surveys(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Node, ...]]]:
    """What each connection to a cluster finds; its bridge answers nothing."""
    found: list[tuple[Node, ...]] = []
    bridges: list[Bridge] = []

    def survey(context: RunContext, _address: str) -> Survey:
        nodes, pipe = found.pop(0), subprocess.PIPE
        said = tempfile.TemporaryFile()  # noqa: SIM115  # the bridge closes it
        bridges.append(Bridge(subprocess.Popen(["cat"], stdin=pipe, stdout=pipe), said))
        parcel = Parcel.of(context.workspace, context.git, context.task)
        return Survey(bridges[-1], parcel, nodes, tuple(refusals(nodes, "3.11.7", None)), "3.11.7", None)

    monkeypatch.setattr(ray_workers, "survey", survey)
    yield found
    for bridge in bridges:
        ended(bridge.process)
        bridge.complained.close()


def test_when_the_connection_is_made_again_a_sick_machine_is_left_out_and_told_once(
    lab: Lab, surveys: list[tuple[Node, ...]]
) -> None:
    sick = node("b", lost="its machine does not answer")
    context = RunContext(lab.workspace, Git(lab.root), load(lab.root))
    surveys += [(node("a"), sick)]
    with pytest.raises(PreconditionError, match=r"on b \(10.0.0.1\) nothing can be measured"):
        RayWorkers(context, "auto")
    surveys += [(node("a"), node("b")), (node("a"), sick), (sick,)]
    workers = RayWorkers(context, "auto")
    assert workers.slots == 2

    def made(seed: int) -> tuple[str, ...]:
        """Make a run, and return its remarks."""
        attempt = Attempt(f"attempt {seed}", context.spec("c" * 40, 1, seed))
        workers.submit(attempt)
        said = answer(attempt.id, Measurement("ok", 1.0), 1.0)
        workers._bridge.said = [{"ended": attempt.id, "answer": said, "lost": "", "sick": False}]
        (only,) = workers.poll(0.0)
        assert only.measurement is not None and only.measurement.value == 1.0
        return only.measurement.remarks

    assert made(1) == ()
    ended(workers._bridge.process)
    (told,) = made(2)
    assert told.startswith("left out since the connection was lost: on b (10.0.0.1) nothing") and workers.slots == 1
    assert made(3) == ()
    ended(workers._bridge.process)
    with pytest.raises(PreconditionError, match="nothing can be measured"):
        made(4)


def test_addresses_of_clusters_are_read_strictly() -> None:
    assert [slots_of(text) for text in ("ray", "ray://auto", "ray://10.0.0.1:6379", "ray://[::1]:1")] == [
        "auto", "auto", "10.0.0.1:6379", "[::1]:1"]  # fmt: skip
    wrong = "ray: ray:// ray:10.0.0.1:6379 ray://host ray://host: ray://host:0 ray://:6379 ray://h:99999 rays://h:1"
    for text in wrong.split():
        with pytest.raises(UsageError):
            slots_of(text)
