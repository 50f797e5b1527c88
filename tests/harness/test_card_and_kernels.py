"""What `doctor --gpu` finds of a device: here on a processor, and with the properties of GPUs that are not here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from first_minute import card, kernels, products, training
from harness import attention, cuda_memory, device
from harness.device import Machine

CPU = Machine(torch.device("cpu"), torch.float32, None, 1e11, 2**34, False)
GPU = Machine(torch.device("cuda"), torch.bfloat16, 989e12, 400e12, 2**36, True)
SIZES = {"rows": 1, "seq_len": 64, "heads": 2, "head_dim": 32, "windows": [16, 64]}
H100 = "NVIDIA H100 80GB HBM3, 570.86.10, Default, 81559, 512, 700.00, 700.00, 1755, 1980, [N/A]"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes a program `nvidia-smi` that says this line."""

    def says(line: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'LINE'\n{line}\nLINE\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return says


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets torch tell of a card with these properties."""

    def has(
        free: float = 79.0, archs: tuple[str, ...] = ("sm_80", "sm_90"), hip: str | None = None, **more: Any
    ) -> None:
        about = {"name": "NVIDIA H100 80GB HBM3", "major": 9, "minor": 0, "total_memory": 80 * 2**30, **more}
        monkeypatch.setattr(card, "pick_device", lambda: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**about))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: [*archs])
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * 2**30), 80 * 2**30))
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(torch.version, "cuda", None if hip else "12.8")

    return has


def test_a_card_that_goes_with_its_driver_and_torch_has_no_problem(driver: Any, a_card: Any) -> None:
    driver(H100)
    a_card()
    found = card.phase()
    assert (found["kind"], found["capability"], found["free_gb"], found["problems"]) == ("cuda", "9.0", 79.0, [])
    assert found["limits"] == {
        "power_w": 700, "power_most_w": 700, "clock_mhz": 1755, "clock_most_mhz": 1980, "celsius": None
    }  # fmt: skip


def test_what_does_not_go_together_is_told_with_what_to_do(driver: Any, a_card: Any) -> None:
    driver(H100.replace("Default", "Exclusive_Process"))
    a_card(free=20, archs=("sm_70", "sm_80"))
    old, full, alone = card.phase()["problems"]
    assert "code for sm_70 sm_80, and the card is 9.0" in old
    assert "only 20 of 80 GB are free" in full
    assert "one process at a time" in alone


def test_a_card_of_amd_is_known_by_its_own_name(a_card: Any) -> None:
    a_card(hip="6.4", archs=("gfx90a", "gfx942"), gcnArchName="gfx942:sramecc+:xnack-", name="AMD Instinct MI300X")
    found = card.phase()
    assert (found["kind"], found["capability"], found["problems"]) == ("rocm", "gfx942", [])
    a_card(hip="6.4", archs=("gfx90a",), gcnArchName="gfx1100", name="AMD Radeon")
    assert "code for gfx90a, and the card is gfx1100" in card.phase()["problems"][0]


def test_the_gpu_of_a_mac_is_known_with_the_memory_that_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (card, device):
        monkeypatch.setattr(module, "pick_device", lambda: torch.device("mps"))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 * 2**30)
    monkeypatch.setattr(card, "asked_of_nvidia", dict)
    found = card.phase()
    assert (found["kind"], found["memory_gb"], found["problems"]) == ("mps", 12.0, [])
    device.machine.cache_clear()
    try:
        own = device.machine()
    finally:
        device.machine.cache_clear()
    assert (own.device.type, own.dtype, own.memory, own.compiles) == ("mps", torch.float32, 12 * 2**30, False)
    assert training.most_memory(own.device) == 3 * 2**30 and products.SQUARE[own.device.type] == 2048


def test_a_card_that_torch_cannot_use_is_told_with_the_reason(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(H100.replace("570.86.10", "470.57.02"))
    monkeypatch.setattr(card, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(card.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert card.phase()["problems"] == [
        "the driver 470.57.02 is too old for CUDA 12.8: it takes 525 or newer, or an older build of torch"
    ]
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "install a build of torch for CUDA" in card.phase()["problems"][0]
    driver(H100)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert card.phase()["problems"][0].endswith("CUDA_VISIBLE_DEVICES hides it: unset it")


def test_a_program_of_the_driver_that_fails_says_nothing(driver: Any) -> None:
    driver('Field "clocks.sm" is not a valid field to query.', code=2)
    assert card.asked_of_nvidia() == {}
    driver("No devices were found")
    assert card.asked_of_nvidia() == {}


def test_a_busy_processor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card.os, "getloadavg", lambda: (64.0, 0.0, 0.0))
    assert "all speeds are too low" in card.phase()["problems"][0]


@pytest.mark.parametrize(
    ("capability", "archs", "fits"),
    [
        ("8.6", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("9.0", ["sm_90a"], True),
        ("12.0", ["sm_90", "compute_90"], True),
        ("12.0", ["sm_90", "sm_100"], False),
        ("12.1", ["sm_120"], True),
        ("7.0", ["compute_80"], False),
        ("9.0", [], True),
    ],
)
def test_a_build_of_torch_has_code_for_a_card_or_not(capability: str, archs: list[str], fits: bool) -> None:
    assert (card.code_for(capability, archs) is None) is fits


@pytest.mark.parametrize(
    ("cuda", "version", "fits"),
    [("12.8", "525.60.13", True), ("12.8", "470.1", False), ("13.2", "570.86", False), ("13.2", "580.65", True),
     ("14.0", "580.65", True), ("12.8", "[N/A]", True)],
)  # fmt: skip
def test_a_driver_runs_the_programs_of_its_time(cuda: str, version: str, fits: bool) -> None:
    assert (card.driver_for(cuda, version) is None) is fits


def test_products_are_timed_by_precision_and_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SQUARE", {"cpu": 32})
    monkeypatch.setattr(products, "COPIED", {"cpu": 2**12})
    found = products.phase(CPU, {"up": (16, 8, 32)})
    assert found["used"] == "float32" and {*found["tflops"]} == {"float32", "bfloat16"} and found["errors"] == {}
    speeds = [*found["tflops"].values(), *found["shapes"].values(), found["one_thread_tflops"], found["copy_gb_per_s"]]
    assert all(speed > 0 for speed in speeds)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the GPU would work")
def test_products_that_all_fail_are_errors_in_one_line_each() -> None:
    found = products.phase(GPU, {"up": (16, 8, 32)})
    assert found["tflops"] == {} and {*found["errors"]} == {"float32", "tf32", "bfloat16", "float16"}
    assert found["copy_gb_per_s"] is None and found["under_load"] == {} and found["used"] == "bfloat16"
    assert all("\n" not in why and ": " in why for why in found["errors"].values())


def test_each_way_to_compute_attention_is_tried_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> Any:
        raise RuntimeError("CUDA error: no kernel image\nin two lines")

    def double(q: Any, k: Any, v: Any, window: int, needs: Any) -> Any:
        return attention.written_out(q, k, 2 * v, window, needs)

    wrong = {"flex": (attention.flex, crash), "varlen": (double, attention.penalty)}
    monkeypatch.setattr(attention, "PATHS", {**attention.PATHS, **wrong})
    monkeypatch.setattr(attention, "attention_paths", lambda *_: ["flex", "varlen", "sdpa"])
    attention.choose_attention.cache_clear()
    found = kernels.attention_phase(CPU, SIZES)
    attention.choose_attention.cache_clear()
    paths = found["paths"]
    assert [*paths] == ["flex", "varlen", "sdpa", "written_out"] and found["taken"] == "sdpa"
    assert paths["flex"] == {"error": "RuntimeError: CUDA error: no kernel image"}
    assert paths["varlen"]["agrees"] is False and paths["varlen"]["output"] > 1
    assert paths["sdpa"]["agrees"] and paths["sdpa"]["output"] < 1e-5 and {*paths["sdpa"]["ms"]} == {"16", "64"}
    assert "ms" not in paths["written_out"]  # runs would not take it


def test_gradients_that_are_wrong_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gradient_of_k(q: Any, k: Any, v: Any, window: int, needs: Any) -> Any:
        return attention.written_out(q, k.detach() + 0 * k, v, window, needs)

    monkeypatch.setattr(attention, "PATHS", {**attention.PATHS, "flex": (no_gradient_of_k, attention.penalty)})
    found = kernels.tried(CPU, "flex", SIZES, timed=False)
    assert found["output"] < 1e-5 and found["gradient"] > 0.1 and found["agrees"] is False


def test_a_compiler_that_is_not_there_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: object, **__: object) -> Any:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert kernels.compiler_phase(CPU, SIZES) == {"error": "RuntimeError: Failed to find C compiler.", "used": False}


def test_a_block_of_device_memory_that_another_process_cannot_open_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "make_block", lambda count: (torch.zeros(count), b"\x01" * 64))
    monkeypatch.setattr(training.sys, "executable", "/bin/false")
    assert training.handed_over(GPU) == {"works": False, "error": "OSError: no reason was given"}
    monkeypatch.setattr(training.sys, "executable", "/bin/true")  # which writes nothing into it
    monkeypatch.setattr(training, "synchronize", lambda _: None)
    assert training.handed_over(GPU)["error"] == "ValueError: what the other process wrote is not there"
    assert training.handed_over(CPU) == {"works": None}
