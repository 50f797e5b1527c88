"""The score, and what is refused. The models here are small modules; their processes are threads but in one test."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import model_process
from harness import models as models_module
from harness.buffers import HostBuffer
from harness.errors import Verdict
from harness.grader import grade, reported
from harness.models import Models
from harness.task import Budget
from harness.text.rows import open_rows
from model_threads import in_threads
from small_task import BOS, ROWS, Sizes, SmallTask, T, Table, V

CLOCK = {"seconds": 10.0, "finished_after": 10.5, "steps": 20, "tokens": 2000, "load": 0.0}


def same(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out


@pytest.fixture
def task(tmp_path: Path) -> SmallTask:
    made = SmallTask(tmp_path, Budget("steps", 20))
    made.prepare()
    return made


def run_of(task: SmallTask, model: torch.nn.Module, **clock: float) -> Path:
    """A folder with what a feeder leaves."""
    folder = task.folder / "run"
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "clock.json").write_text(json.dumps({**CLOCK, **clock}))
    (folder / "summary.json").write_text(json.dumps({"val_bpb": 0.1, "num_steps": 3, "my_figure": 2.5, "a b": 1}))
    return folder


def graded(monkeypatch: pytest.MonkeyPatch, task: SmallTask, change: Any) -> dict[str, float]:
    in_threads(monkeypatch, lambda: Table(change))
    return grade(task, run_of(task, Table(change)), "search")


def plain_score(task: SmallTask) -> tuple[float, list[tuple[float, float]]]:
    """(bits per byte, bits and bytes of each document) in float64 and one token at a time."""
    rows, sizes = np.asarray(open_rows(task.prepared() / "search.bin")), Sizes().token_bytes()
    logits = Table(same)(torch.from_numpy(rows[:, :-1].astype(np.int64))).detach().double().numpy()
    found: list[tuple[float, float]] = []
    for r in range(ROWS):
        for t in range(T):
            if rows[r, t] == BOS:
                found.append((0.0, 0.0))
            target = rows[r, t + 1]
            if target < V - 4:
                nats = math.log(sum(math.exp(z) for z in logits[r, t])) - logits[r, t, target]
                found[-1] = (found[-1][0] + nats / math.log(2), found[-1][1] + sizes[target])
    return sum(bits for bits, _ in found) / sum(size for _, size in found), found


class PlaceTable(Table):
    """A model that can be asked for one place of each row."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__(same)
        self.wrong, self.asked = wrong, 0

    def forward(self, x: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        if places is None:
            return out
        self.asked += len(places)
        out = out[torch.arange(len(x)), places]
        out[:, 0] += self.wrong
        return out


def test_a_model_that_takes_places_is_asked_for_these_alone(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    made: list[PlaceTable] = []

    def build_model() -> PlaceTable:
        made.append(PlaceTable())
        return made[-1]

    in_threads(monkeypatch, build_model)
    metrics = grade(task, run_of(task, PlaceTable()), "search")
    assert metrics["val_bpb"] == pytest.approx(plain_score(task)[0], rel=1e-6)
    assert [model.asked > 0 for model in made] == [False, True]


def test_what_it_says_of_them_must_be_what_it_says_of_the_row(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    in_threads(monkeypatch, lambda: PlaceTable(wrong=0.1))
    with pytest.raises(Verdict, match="more than the tokens before it"):
        grade(task, run_of(task, PlaceTable()), "search")


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 5, 24, 100])
def test_the_score_equals_a_plain_float64_computation(
    monkeypatch: pytest.MonkeyPatch, task: SmallTask, batch: int
) -> None:
    task.batch = batch
    metrics = graded(monkeypatch, task, same)
    value, documents = plain_score(task)
    assert metrics["val_bpb"] == pytest.approx(value, rel=1e-6)
    texts = np.load(task.folder / "run" / "texts.npy")
    assert texts.tolist() == [pytest.approx(pair, rel=1e-6) for pair in documents]
    assert metrics["val_bpb_reference"] < metrics["val_bpb"]
    assert metrics["my_figure"] == 2.5
    assert metrics["num_steps"] == 20  # the clock's, not what the trainer says
    assert "a b" not in metrics
    assert metrics == graded(monkeypatch, task, same)


@pytest.mark.slow
def test_processes_of_their_own_give_the_same_score(
    monkeypatch: pytest.MonkeyPatch, task: SmallTask, capfd: pytest.CaptureFixture[str]
) -> None:
    import inspect
    import shutil

    harness = Path(inspect.getfile(Models)).parent
    shutil.copytree(harness, task.folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    text = inspect.getsource(Table).replace("Callable[[torch.Tensor, torch.Tensor], Any]", "object")
    text = f"import torch\nV = {V}\n{text}\ndef same(out, _):\n    return out\n"
    text += "\ndef build_model():\n    print('METRIC val_bpb=0')\n    return Table(same)\n"
    (task.folder / "train.py").write_text(text.replace("-> Any", ""))
    apart = grade(task, run_of(task, Table(same)), "search")
    assert "METRIC" not in capfd.readouterr().out
    assert apart == graded(monkeypatch, task, same)

    # As on a GPU whose memory the model process cannot open: the handle is made, and of no use there.
    class Unshared(HostBuffer):
        handle = b"a handle"

    monkeypatch.undo()
    (task.folder / "harness/cuda_memory.py").write_text("def open_block(*_):\n    raise OSError('CUDA error 201')\n")
    monkeypatch.setattr(models_module, "make_buffer", lambda count, device: Unshared(count))
    monkeypatch.setattr(models_module.ModelProcess, "device", lambda process: process.answer("WAIT") and "cuda")
    assert grade(task, run_of(task, Table(same)), "search") == apart
    assert capfd.readouterr().err.count("logits go over the host") == 2


def looks_ahead(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.cat((out[:, :-1].scatter(2, x[:, 1:, None], 20.0), out[:, -1:]), 1)


def looks_ahead_a_little(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return torch.cat((out[:, :-1] + 0.01 * out[:, 1:], out[:, -1:]), 1)


def sees_other_rows(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out + 0.1 * out.mean(0)


def is_not_a_number(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out.index_fill(2, torch.tensor([0]), math.nan)


def returns_a_loss(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out.mean()


def returns_a_pair(out: torch.Tensor, _: torch.Tensor) -> Any:
    return out, None


def has_a_smaller_vocabulary(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out[..., :-4]


class Flattering(torch.Tensor):
    pass


def brings_its_own_arithmetic(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out.as_subclass(Flattering)


def raises(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    raise SystemExit(0)


def writes_nothing(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return out[:0].expand(len(out), *out.shape[1:]) if len(out) == 0 else out.new_empty(out.shape).fill_(math.nan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "outcome", "words"),
    [
        (looks_ahead, "tampered", "later tokens"),
        (looks_ahead_a_little, "tampered", "later tokens"),
        (sees_other_rows, "tampered", "other rows"),
        (is_not_a_number, "no_metric", "not finite"),
        (writes_nothing, "no_metric", "not finite"),
        (returns_a_loss, "tampered", "must return logits"),
        (returns_a_pair, "tampered", "must return logits"),
        (brings_its_own_arithmetic, "tampered", "must return logits"),
        (has_a_smaller_vocabulary, "tampered", "must return logits"),
        (raises, "crash", "raised SystemExit"),
    ],
)
def test_a_cheating_or_broken_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, task: SmallTask, change: Any, outcome: str, words: str
) -> None:
    with pytest.raises(Verdict, match=words) as refused:
        graded(monkeypatch, task, change)
    assert refused.value.outcome == outcome


def test_an_answer_that_was_not_written_is_no_number(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    monkeypatch.setattr(model_process.Server, "run", lambda *_: None)
    with pytest.raises(Verdict, match="not finite"):
        graded(monkeypatch, task, same)


@pytest.mark.slow
def test_weights_that_do_not_fit_are_a_crash(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    in_threads(monkeypatch, lambda: torch.nn.Linear(3, 3))
    with pytest.raises(Verdict, match="do not fit build_model") as refused:
        grade(task, run_of(task, Table(same)), "search")
    assert refused.value.outcome == "crash"


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    honest = graded(monkeypatch, task, same)["val_bpb"]
    most = 3

    def small_memory(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if len(x) > most:
            raise torch.OutOfMemoryError("no room")
        return out

    assert graded(monkeypatch, task, small_memory)["val_bpb"] == pytest.approx(honest, rel=1e-9)
    most = 0
    with pytest.raises(Verdict) as refused:
        graded(monkeypatch, task, small_memory)
    assert refused.value.outcome == "oom"


@pytest.mark.slow
def test_a_model_that_takes_too_long_is_over_its_budget(monkeypatch: pytest.MonkeyPatch, task: SmallTask) -> None:
    import threading

    asked = threading.Event()
    task.allowances = type(task.allowances)(model_s=0)

    def never(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        asked.wait()
        return out

    with pytest.raises(Verdict, match="too long to be scored") as refused:
        graded(monkeypatch, task, never)
    asked.set()
    assert refused.value.outcome == "over_budget"


def test_a_run_without_finish_or_with_changed_data_has_no_score(task: SmallTask) -> None:
    with pytest.raises(Verdict, match="without calling finish") as refused:
        grade(task, task.folder, "search")
    assert refused.value.outcome == "no_metric"
    path = task.prepared() / "search.bin"
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    with pytest.raises(Verdict, match="not what was prepared") as refused:
        grade(task, task.folder, "search")
    assert refused.value.outcome == "tampered"


def test_weights_over_the_limit_are_refused_before_anything_reads_them(task: SmallTask) -> None:
    folder = run_of(task, Table(same), weights_over=2**33)
    (folder / "model.pt").unlink()
    with pytest.raises(Verdict, match="8192 MB") as refused:
        grade(task, folder, "search")
    assert refused.value.outcome == "over_budget"


def test_what_a_trainer_says_of_itself_never_takes_a_name_of_the_graders() -> None:
    said = {"val_bpb": 0.1, "val_other": 0.1, "training_seconds": 1.0, "mfu": 40.0, "not a name": 1.0}
    assert reported(said, {"val_bpb": 1.0}) == {"mfu": 40.0}
    assert len(reported({f"x{n}": 1.0 for n in range(99)}, {})) == 32
