"""What a slot has of a machine: a GPU, or cores of its own; and which machine its numbers are compared as."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoresearch.errors import UsageError
from autoresearch.journal.session import hardware_of
from autoresearch.system import hardware
from autoresearch.system.hardware import Gpu, Machine, along_cores, siblings, visible
from autoresearch.system.process import held_to
from autoresearch.workers.choice import slots_of
from autoresearch.workers.local import LocalWorkers, places
from autoresearch.workspace.workspace import Workspace


def machine(*gpus: str, cores: int = 8) -> Machine:
    cards = tuple(Gpu(name, 80.0, id=f"GPU-{number}") for number, name in enumerate(gpus))
    return Machine(cards, "a CPU", cores, 64.0, "Linux")


def test_on_a_cpu_each_slot_has_cores_of_its_own_and_is_a_smaller_machine() -> None:
    slot, given = places(3, machine(), (0, 1, 2, 3, 8, 9, 10, 11), {})
    assert [place.cores for place in given] == [(0, 1), (2, 3), (8, 9)]
    assert hardware_of(slot.env()) == "a CPU, 2 cores" != hardware_of(machine().env())


def test_more_slots_than_cores_share_them_evenly() -> None:
    slot, given = places(5, machine(cores=2), (4, 5), {})
    assert [place.cores for place in given] == [(4,), (5,), (4,), (5,), (4,)] and slot.cores == 1


def test_a_single_slot_is_the_whole_machine() -> None:
    slot, given = places(1, machine(cores=4), (0, 1, 2, 3), {})
    assert given[0].cores == (0, 1, 2, 3) and slot == machine(cores=4)


PAIRS = {number: f"{number % 4},{number % 4 + 4}\n" for number in range(8)}
"""Four cores of two threads, as Linux numbers them."""


@pytest.mark.parametrize(("slots", "held"), [
    (2, [(0, 4, 1, 5), (2, 6, 3, 7)]),
    (3, [(0, 4), (1, 5), (2, 6)]),
    (5, [(0,), (1,), (2,), (3,), (4,)]),
])  # fmt: skip
def test_the_threads_of_a_core_are_in_one_slot_where_the_count_allows_it(
    slots: int, held: list[tuple[int, ...]]
) -> None:
    assert [place.cores for place in places(slots, machine(), tuple(range(8)), PAIRS)[1]] == held


def test_of_odd_shares_as_few_cores_as_possible_are_cut_and_what_the_system_does_not_tell_is_alone() -> None:
    six = {number: str(number // 2) for number in range(12)}
    assert along_cores(range(12), six, 3) == tuple(range(12)), "each slot has a whole core and half of another"
    assert along_cores((7, 1, 3), {}, 2) == (1, 3, 7)
    assert along_cores((0, 1, 2, 3), {0: "P", 1: "P"}, 2) == (0, 1, 2, 3), "and cores of one thread are well"
    assert siblings([10**6]) == {}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_what_the_engine_runs_itself_has_the_cores_that_no_slot_has() -> None:
    workspace, here = Workspace(Path("/none")), os.sched_getaffinity(0)
    with held_to([min(here)]):
        workers = LocalWorkers(workspace, 2, machine())
        assert workers.spare() == {min(here)} == os.sched_getaffinity(0), "all share one: there is nothing else"
    assert os.sched_getaffinity(0) == here
    workers.cores = frozenset({min(here), 10**6})
    assert workers.spare() == {10**6}, "what the slots leave"
    assert LocalWorkers(workspace, 1, machine("H100")).spare() == frozenset(), "beside GPUs all of them"


def test_on_gpus_each_slot_has_one_by_its_id() -> None:
    slot, given = places(2, machine("H100", "H100"), (0, 1), {})
    assert [place.gpu for place in given] == ["GPU-0", "GPU-1"] and {place.cores for place in given} == {()}
    assert slot == machine("H100", "H100"), "what a run of one GPU gives here is comparable with one in a slot"


def test_kinds_of_gpus_are_not_mixed_and_no_gpu_is_given_twice() -> None:
    mixed = machine("H100", "A100", "H100")
    assert [place.gpu for place in places(2, mixed, (0,), {})[1]] == ["GPU-0", "GPU-2"]
    with pytest.raises(UsageError, match=r"3 slots, and 2 GPUs of one kind \(H100\)") as refused:
        places(3, mixed, (0,), {})
    assert refused.value.fix.endswith("--workers local:2")


LISTED = """GPU 0: NVIDIA H100 (UUID: GPU-aa11)
  MIG 1g.10gb     Device  0: (UUID: MIG-77)
  MIG 3g.40gb     Device  1: (UUID: MIG-88)
GPU 1: NVIDIA A100 (UUID: GPU-ab22)
  MIG 1g.5gb      Device  0: (UUID: MIG-GPU-ab22/1/0)
"""


@pytest.mark.parametrize(("mask", "seen"), [
    ("1,0", ["GPU-ab22", "GPU-aa11"]),
    ("GPU-ab, 0", ["GPU-ab22", "GPU-aa11"]),
    ("0,0", ["GPU-aa11"]),
    ("1,2,0", ["GPU-ab22"]),
    ("GPU-a", []),
    ("MIG-88,MIG-GPU-ab22/1/0,MIG-99", ["MIG-88", "MIG-GPU-ab22/1/0"]),
])  # fmt: skip
def test_of_gpus_those_count_that_the_persons_mask_names(mask: str, seen: list[str]) -> None:
    cards = (Gpu("H100", 80.0, id="GPU-aa11"), Gpu("A100", 80.0, id="GPU-ab22"))
    assert [gpu.id for gpu in visible(cards, mask, LISTED)] == seen


def test_parts_of_a_gpu_are_kinds_by_their_profile() -> None:
    cards = visible((Gpu("H100", 80.0, "570", "GPU-aa11"),), "MIG-88,MIG-77", LISTED)
    assert cards[0] == Gpu("H100 MIG 3g.40gb", 40.0, "570", "MIG-88")
    with pytest.raises(UsageError, match="2 slots, and 1 GPU of one kind"):
        places(2, Machine(cards, "a CPU", 8, 64.0, "Linux"), (0,), {})


def test_where_no_process_is_held_to_cores_there_is_one_slot() -> None:
    assert places(1, machine(), (), {})[1][0].cores == ()
    with pytest.raises(UsageError, match="disturb each other"):
        places(2, machine(), (), {})


@pytest.mark.parametrize("text", ["local", "local:", "local:0", "local:-1", "local:2.5", "local:¹", "remote:2", "2"])
def test_what_names_no_workers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no workers"):
        slots_of(text)
    assert slots_of("local:12") == 12


@pytest.mark.parametrize(("mask", "found"), [("", []), ("-1", []), ("1", ["B"]), ("1,GPU-a", ["B", "A"]),
                                             (None, ["A", "B"])])  # fmt: skip
def test_a_gpu_that_is_hidden_from_programs_is_none(
    monkeypatch: pytest.MonkeyPatch, mask: str | None, found: list[str]
) -> None:
    monkeypatch.setattr(hardware, "_ask", lambda *_: "A, 81559, 570.1, GPU-a\nB, 81559, 570.1, [N/A]\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    cards = hardware._gpus()
    assert [gpu.name for gpu in cards] == found and all(gpu.id in ("GPU-a", "1") for gpu in cards)
