"""What a slot has of a machine: a GPU, or cores of its own; and which machine its numbers are compared as."""

from __future__ import annotations

import pytest

from autoresearch.errors import UsageError
from autoresearch.journal.session import hardware_of
from autoresearch.system import hardware
from autoresearch.system.hardware import Gpu, Machine
from autoresearch.workers.choice import slots_of
from autoresearch.workers.local import places


def machine(*gpus: str, cores: int = 8) -> Machine:
    return Machine(tuple(Gpu(name, 80.0) for name in gpus), "a CPU", cores, 64.0, "Linux")


def test_on_a_cpu_each_slot_has_cores_of_its_own_and_is_a_smaller_machine() -> None:
    slot, given = places(3, machine(), (0, 1, 2, 3, 8, 9, 10, 11), None)
    assert [place.cores for place in given] == [(0, 1), (2, 3), (8, 9)]
    assert hardware_of(slot.env()) == "a CPU, 2 cores" != hardware_of(machine().env())


def test_more_slots_than_cores_share_them_evenly() -> None:
    slot, given = places(5, machine(cores=2), (4, 5), None)
    assert [place.cores for place in given] == [(4,), (5,), (4,), (5,), (4,)] and slot.cores == 1


def test_a_single_slot_is_the_whole_machine() -> None:
    slot, given = places(1, machine(cores=4), (0, 1, 2, 3), None)
    assert given[0].cores == (0, 1, 2, 3) and slot == machine(cores=4)


@pytest.mark.parametrize(("visible", "named"), [(None, ["0", "1"]), ("", ["0", "1"]), ("3, GPU-7", ["3", "GPU-7"])])
def test_on_gpus_each_slot_has_one_by_the_name_it_has_for_us(visible: str | None, named: list[str]) -> None:
    slot, given = places(2, machine("H100", "H100"), (0, 1), visible)
    assert [place.gpu for place in given] == named and {place.cores for place in given} == {()}
    assert slot == machine("H100", "H100"), "what a run of one GPU gives here is comparable with one in a slot"


def test_kinds_of_gpus_are_not_mixed_and_no_gpu_is_given_twice() -> None:
    mixed = machine("H100", "A100", "H100")
    assert [place.gpu for place in places(2, mixed, (0,), None)[1]] == ["0", "2"]
    slot, given = places(1, mixed, (0,), "1,2")
    assert given[0].gpu == "1" and hardware_of(slot.env()) == "A100", "the first of those that we may use"
    with pytest.raises(UsageError, match=r"3 slots, and 2 GPUs of one kind \(H100\)") as refused:
        places(3, mixed, (0,), None)
    assert refused.value.fix.endswith("--workers local:2")


def test_where_no_process_is_held_to_cores_there_is_one_slot() -> None:
    assert places(1, machine(), (), None)[1][0].cores == ()
    with pytest.raises(UsageError, match="disturb each other"):
        places(2, machine(), (), None)


@pytest.mark.parametrize("text", ["local", "local:", "local:0", "local:-1", "local:2.5", "local:¹", "remote:2", "2"])
def test_what_names_no_workers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no workers"):
        slots_of(text)
    assert slots_of("local:12") == 12


@pytest.mark.parametrize(("visible", "found"), [("", 0), ("-1", 0), ("0", 1), (None, 1)])
def test_a_gpu_that_is_hidden_from_programs_is_none(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, found: int
) -> None:
    monkeypatch.setattr(hardware, "_ask", lambda *_: "NVIDIA A card, 81559, 570.1\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(hardware._gpus()) == found
