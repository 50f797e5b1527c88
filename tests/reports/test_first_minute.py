"""`doctor --gpu`: the processes of its phases, and its report, on what a processor here and a simulated GPU have said.

`data/first_minute/cpu.json` is what the command found on two cores of a busy machine.
"""

from __future__ import annotations

import copy
import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import call
from waiting import PATIENCE_S

from autoresearch.reports import first_minute, first_minute_text
from autoresearch.reports.first_minute import Place

CPU = json.loads((Path(__file__).parents[1] / "data/first_minute/cpu.json").read_text("utf-8"))


@pytest.fixture
def cpu() -> Any:
    return copy.deepcopy(CPU)


@pytest.fixture
def gpu(cpu: Any) -> Any:
    """What a phase each would say of a card that works."""
    card = {
        "kind": "cuda", "device": "NVIDIA H100 80GB HBM3", "devices": 1, "capability": "9.0", "memory_gb": 79.1,
        "free_gb": 78.6, "archs": ["sm_80", "sm_90"], "built_for": "CUDA 12.8", "driver": "570.86.10",
        "limits": {"power_w": 700.0, "power_most_w": 700.0, "clock_mhz": 345.0, "clock_most_mhz": 1980.0,
                   "celsius": 31.0},
    }  # fmt: skip
    load = {"power_w": 500.0, "power_most_w": 700.0, "clock_mhz": 1400.0, "clock_most_mhz": 1980.0, "celsius": None}
    cpu["card"] |= card
    cpu["products"] |= {
        "square": 8192, "tflops": {"float32": 50.0, "tf32": 400.0, "bfloat16": 650.0}, "peak_tflops": 989.0,
        "errors": {"float16": "RuntimeError: no kernel"}, "used": "bfloat16", "under_load": load,
    }  # fmt: skip
    cpu["kernels"] = {
        "paths": {
            "flash3": {"error": "ImportError: no module named kernels"},
            "varlen": {"output": 0.004, "gradient": 0.02, "agrees": True, "ms": {"256": 0.5, "2048": 1.25}},
            "flex": {"output": 1.5, "gradient": None, "agrees": False, "ms": {}},
        },
        "candidates": ["flash3", "varlen", "flex", "sdpa"], "taken": "varlen",
    }  # fmt: skip
    cpu["step"] |= {"profile": "full", "layers": 9, "width": 640, "batch_rows": 128, "parts": 2, "compiles": True,
                    "attention": "varlen", "dtype": "bfloat16", "step_s": 0.4, "budget_s": 300.0,
                    "mfu": 51.5, "tokens_a_second": 655360.0, "estimated_mb": 40000.0,
                    "measured_mb": 36000.0}  # fmt: skip
    cpu["memory"] = {"works": False, "error": "OSError: CUDA error 101"}
    cpu["together"] = {"tokens_a_second": [320000.0, 310000.0]}
    return cpu


def line(found: Any, name: str) -> str:
    lines = first_minute_text.report(found)
    return next(line for line in lines if line.startswith(name)).removeprefix(name).strip()


def test_the_report_of_a_processor_says_what_runs_use(cpu: Any) -> None:
    lines = first_minute_text.report(cpu)
    assert lines[-1].startswith("verdict      runs use the processor; profile tiny: 2 layers x 128, ")
    assert "written_out" in line(cpu, "attention") and line(cpu, "attention").endswith("<- runs use this")
    assert "cores" in line(cpu, "device") and "problem" not in "\n".join(lines)
    assert first_minute_text.usable(cpu) and first_minute_text.problems(cpu) == []


def test_the_report_of_a_card_has_its_limits_kernels_and_memory(gpu: Any) -> None:
    text = "\n".join(first_minute_text.report(gpu))
    assert line(gpu, "device") == "NVIDIA H100 80GB HBM3, capability 9.0, 79.1 GB (78.6 free)"
    assert line(gpu, "limits") == "power limit 500 of 700 W, clock under load 1400 of 1980 MHz"
    assert "bfloat16 650 (66 % of the data sheet), float16 fails (RuntimeError: no kernel)" in text
    assert "flash3      does not run (ImportError: no module named kernels)" in text
    assert "0.5 ms at window 256; 1.25 ms at window 2048  <- runs use this" in text
    assert "flex        off by 1.5, gradients by not finite, which is not rounding" in text
    assert "MFU 51.5 %" in line(gpu, "step")
    assert line(gpu, "memory").startswith("40,000 MB expected, 36,000 MB taken (90 %)")
    assert line(gpu, "blocks").endswith("(OSError: CUDA error 101): logits go through the machine's memory")
    assert line(gpu, "together") == "2 processes at once: 0.49 and 0.47 of the speed of one alone"
    assert line(gpu, "verdict").endswith("128 rows a step in 2 parts; bfloat16, compiled, attention varlen, "
                                         "750 steps in 300 s")  # fmt: skip


def test_the_report_of_a_mac_says_that_its_gpu_is_used(cpu: Any) -> None:
    cpu["card"] |= {"kind": "mps", "device": "Apple M3 Max", "memory_gb": 36.0, "built_for": "no GPU of NVIDIA or AMD"}
    cpu["step"] |= {"profile": "small", "dtype": "float32", "attention": "sdpa"}
    assert "36 GB" in line(cpu, "device") and "cores" not in line(cpu, "device")
    assert line(cpu, "verdict").startswith("runs use Apple's GPU; profile small: ")
    assert first_minute_text.usable(cpu) and first_minute_text.problems(cpu) == []


def test_what_keeps_a_card_from_being_used_is_a_problem(gpu: Any) -> None:
    gpu["together"] = {"tokens_a_second": [100000.0, 90000.0]}
    gpu["kernels"]["taken"] = "flex"
    gpu["products"]["used"] = "float32"
    told = first_minute_text.problems(gpu)
    assert any("all are off" in text for text in told) and any("run one at a time" in text for text in told)
    assert "bfloat16 is 13.0 times as fast here" in "\n".join(first_minute_text.report(gpu))


@pytest.mark.parametrize("phase", [*first_minute.PHASES, "together"])
def test_a_phase_that_failed_leaves_a_report_of_the_others(gpu: Any, phase: str) -> None:
    gpu[phase] = {"error": "ended by signal 11"}
    lines = first_minute_text.report(gpu)
    assert any("ended by signal 11" in text for text in lines) and lines[-1].startswith("verdict")
    assert first_minute_text.usable(gpu) is (phase != "step")


def test_the_command_prints_the_report_and_leaves_with_1_where_runs_do_not_work(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_minute, "measured", lambda say: say("card") or gpu)
    done = call("doctor", "--gpu", cwd=tmp_path)
    assert done.code == 0 and done.out.splitlines() == first_minute_text.report(gpu) and done.err == "measuring: card\n"
    gpu["step"] = {"error": "left with code 1: error: one row does not fit"}
    failed = call("doctor", "--gpu", "--json", cwd=tmp_path)
    assert failed.code == 1 and failed.json["ok"] is False
    assert failed.json["verdict"].endswith("left with code 1: error: one row does not fit")


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_minute.importlib.util, "find_spec", lambda _: None)
    refused = call("doctor", "--gpu", cwd=tmp_path)
    assert refused.code == 5 and refused.err.endswith("'autoresearch[ml]'\n")


PROGRAM = """#!{python}
import os, signal, sys
phase = sys.argv[3]
print("a line before")
if phase == "card":
    print('{{"kind": "cpu"}}')
elif phase == "products":
    print("a line", file=sys.stderr)
    sys.exit("RuntimeError: no kernel image")
elif phase == "kernels":
    os.kill(os.getpid(), signal.SIGSEGV)
elif phase == "compiler":
    print("not JSON")
elif phase == "step":
    print('{{"tokens_a_second": 5.0}}' if "--share" in sys.argv else '{{"tokens_a_second": 8.0}}')
else:
    signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A Python that is a program whose phases end in every way there is."""
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return Place(tmp_path, str(program))


def test_a_phase_ends_in_a_result_or_in_a_reason_of_one_line(place: Place) -> None:
    found = {phase: first_minute.phase_alone(place, phase, 60) for phase in ("card", "products", "kernels", "compiler")}
    assert found["card"]["kind"] == "cpu" and "error" not in found["card"]
    assert found["products"]["error"] == "left with code 1: RuntimeError: no kernel image"
    assert found["kernels"]["error"].startswith("ended by signal 11")
    assert found["compiler"]["error"] == "left with code 0: not JSON"
    assert first_minute.phase_alone(place, "memory", 0.2) == {"error": "it took longer than 0.2 s"}


def test_processes_at_once_each_take_their_part_of_the_memory(place: Place, tmp_path: Path) -> None:
    assert first_minute.together(place) == {"tokens_a_second": [5.0, 5.0]}
    (tmp_path / "python").write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    assert first_minute.together(place) == {"error": "left with code 3: out of memory"}


def test_nothing_that_is_shown_names_the_host_the_user_or_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "frodo.example.org")
    monkeypatch.setenv("LOGNAME", "bilbo")
    monkeypatch.setenv("HOME", "/somewhere/bilbo")
    other = "/".join(["", "home", "merry", "y"])
    said = {
        "error": f"no /somewhere/bilbo/x, {other}, /tmp/a/z on frodo for bilbo",
        "n": [1.5, "frodo.example.org"],
    }
    shown = first_minute.shown_to_anybody(said, Path("/tmp/a"))
    assert shown == {"error": "no ~/x, ~/y, FOLDER/z on HOST for USER", "n": [1.5, "HOST"]}


@pytest.mark.slow
def test_the_task_of_this_machine_makes_a_step_without_any_data(tmp_path: Path) -> None:
    folder = first_minute.make_folder(tmp_path / "task", profile="tiny")
    found = first_minute.phase_alone(Place(folder), "step", PATIENCE_S, "--seconds", "0")
    assert "error" not in found, found
    assert found["profile"] == "tiny" and found["budget_s"] == 30 and found["steps"] == 2
    assert found["tokens_a_second"] > 0 and found["measured_mb"] > 100 and found["estimated_mb"] > 512
    assert not list(folder.rglob("*.pyc"))
