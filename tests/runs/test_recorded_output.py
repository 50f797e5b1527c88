"""What tools print and write, with its decoys: the right number and direction, or a refusal; never another number.

`data/outputs/NAME` has `stdout`, `stderr` and the files of one run. Those of optuna, pytest, rich, scikit-learn,
lightgbm, pytest-benchmark, keras, lightning, Hugging Face's Trainer, tensorboard and wandb were recorded by
`benchmarks/record_outputs.py`; the others were written from the tools' documentation, or for one case.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import INIT, Repo, task_file

from autoresearch.errors import PreconditionError
from autoresearch.metrics import read_metrics
from autoresearch.runs.candidates import in_output
from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.measure import measure
from autoresearch.runs.metric_choice import chosen
from autoresearch.runs.probe import Probe, drawn_lines, in_files
from autoresearch.runs.reported import WORDS, reported
from autoresearch.runs.spec import RunContext
from autoresearch.system.command_output import KeptStream
from autoresearch.system.git import Git
from autoresearch.system.process import Exit
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.metric_names import direction_of
from autoresearch.workspace.task_file import parse
from autoresearch.workspace.workspace import Workspace

OUTPUTS = Path(__file__).resolve().parents[1] / "data" / "outputs"

RIGHT = {
    ("reference", "val_bpb"): (0.9979, "lower"),
    ("nanogpt", "val_loss"): (2.5143, "lower"),
    ("nanogpt", "train_loss"): (2.4962, "lower"),
    ("hf-trainer", "eval_loss"): (0.5386, "lower"),
    ("hf-trainer", "eval_accuracy"): (0.9219, "higher"),
    ("hf-trainer-state", "eval_accuracy"): (0.921875, "higher"),
    ("lightning", "val_loss"): (0.4887344241142273, "lower"),
    ("keras", "val_loss"): (0.7691, "lower"),
    ("keras", "loss"): (0.7437, "lower"),
    ("keras", "val_accuracy"): (0.5547, "higher"),
    ("optuna", "best_value"): (0.06194470676643143, None),
    ("rich", "final_accuracy"): (0.86, "higher"),
    ("tensorboard", "loss/val"): (0.4000000059604645, "lower"),
    ("wandb", "val_loss"): (0.4, "lower"),
    ("scikit-learn", "cross_validation_accuracy"): (0.9733, "higher"),
    ("pytest-benchmark", "mean"): (2.6259875943677076e-05, None),
    ("hyperfine", "time"): (102.3, None),
    ("hyperfine-json", "mean"): (0.1023, None),
    ("criterion", "mean_point_estimate"): (1245.6, None),
    ("fastai", "valid_loss"): (0.247733, "lower"),
    ("fastai", "accuracy"): (0.9031, "higher"),
    ("mnist", "average_loss"): (0.0351, "lower"),
    ("xgboost", "valid_logloss"): (0.17988, None),
    ("lightgbm", "auc"): (0.999471, "higher"),
    ("csv", "val_loss"): (0.79, "lower"),
    ("jsonl", "val_loss"): (0.83, "lower"),
    ("metric-lines", "loss"): (0.25, "lower"),
    ("tqdm", "loss"): (0.75, "lower"),
    ("tqdm", "final_accuracy"): (71.5, "higher"),
}
"""(output, metric) -> its number, and which way is better where the name says so."""

REFUSED = {
    ("nanogpt", "val_bpb"): "nothing that is called",
    ("scikit-learn", "accuracy"): "more than one number behind it",
    ("scikit-learn-report", "accuracy"): "more than one number behind it",
    ("pytest-benchmark-two", "mean"): "2 places could be meant",
    ("criterion", "point_estimate"): "places could be meant",
    ("lightning", "train_loss"): "2 places could be meant",
    ("vite", "gzip"): "2 places could be meant",
    ("mnist", "accuracy"): "is no number at the end",
    ("optuna", "value"): "2 places could be meant",
    ("pytest", "failed"): "nothing that is called",
    ("rich", "val_loss"): "nothing that is called",
    ("jsonl", "loss"): "2 places could be meant",
    ("diverged", "val_loss"): "is no number at the end",
    ("thousands", "throughput"): "is no number at the end",
    ("best-and-last", "val_loss"): "2 places could be meant",
    ("go-bench", "ns_per_op"): "nothing that is called",
}
"""(output, metric) -> why there is none to be taken."""


NEEDED = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Output -> the package that reads it."""


def readable(name: str) -> bool:
    return name not in NEEDED or importlib.util.find_spec(NEEDED[name]) is not None


@dataclass(frozen=True)
class Ran:
    """A run that printed and wrote what is recorded."""

    root: Path
    streams: dict[str, KeptStream]

    def probe(self) -> Probe:
        lines = drawn_lines(self.streams)
        written = [path.relative_to(self.root).as_posix() for path in sorted(self.root.rglob("*")) if path.is_file()]
        found = [each for name in lines for each in in_output(name, WORDS[name], lines[name])]
        return Probe(1.0, False, "", (*found, *in_files(self.root, written, {})), self.streams)


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[str], Ran]:
    def run(name: str) -> Ran:
        root = tmp_path / name
        shutil.copytree(OUTPUTS / name, root)
        streams = {}
        for stream in ("stdout", "stderr"):
            streams[stream] = KeptStream(tmp_path)
            file = root / stream
            if file.is_file():
                streams[stream].take(file.read_bytes())
                file.unlink()
        return Ran(root, streams)

    return run


def options(metric: str) -> InitOptions:
    return InitOptions(task="command", command="bash bench.sh", metric=metric, direction="lower", mutable=("src",))


def placed(probe: Probe, metric: str) -> tuple[dict[str, str], float | None]:
    """Return where `init` says that a metric is, and the number that it found there."""
    taken, found = chosen(probe, options(metric))
    said = {key: getattr(taken, key) for key in ("pattern", "stream", "file", "key", "unit")}
    return {key: text for key, text in said.items() if text is not None}, found.value


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), RIGHT, ids=[" ".join(key) for key in RIGHT])
def test_the_only_place_of_a_name_is_taken_and_read_again_by_the_engine(
    ran: Callable[[str], Ran], name: str, metric: str
) -> None:
    if not readable(name):
        pytest.skip(f"{name} is not installed")
    done = ran(name)
    value, direction = RIGHT[name, metric]
    place, found = placed(done.probe(), metric)
    assert found == value and direction_of(metric) == direction, found
    task = parse(task_file(metric={"name": metric} | place))
    if not task.metric.named:
        content = (OUTPUTS / name / "stdout").read_text().splitlines()
        assert read_metrics([line for line in content if line.startswith("METRIC ")], [metric])[0][metric] == value
    else:
        assert reported(task, done.root, Exit(0, 1.0, kept=done.streams)) == {metric: value}


@pytest.mark.parametrize(("name", "metric"), REFUSED, ids=[" ".join(key) for key in REFUSED])
def test_where_two_places_or_none_could_be_meant_no_number_is_taken(
    ran: Callable[[str], Ran], name: str, metric: str
) -> None:
    with pytest.raises(PreconditionError, match=REFUSED[name, metric]) as error:
        chosen(ran(name).probe(), options(metric))
    assert error.value.command is not None and error.value.command.startswith("autoresearch init . ")


PLAY = """cd outputs/$1
[ -f stdout ] && cat stdout; [ -f stderr ] && cat stderr >&2
for each in *; do case $each in stdout|stderr) ;; *) cp -r "$each" ../..; echo written >> ../../log ;; esac; done
"""
"""A command that prints and writes what is recorded."""


@pytest.mark.slow
def test_every_output_says_the_same_from_within_the_sandbox(ran: Callable[[str], Ran], repo: Repo) -> None:
    shutil.copytree(OUTPUTS, repo.root / "outputs")
    repo.write("play.sh", PLAY)
    # A number that an earlier commit's run has left must never be taken: there is one wherever a tool writes.
    stale = '{"mean": 1, "val_loss": 1, "results": [{"mean": 1}], "benchmarks": [{"stats": {"mean": 1}}]}\n'
    for name in ("bench.json", "times.json", "log.jsonl"):
        repo.write(name, stale)
    repo.commit()
    assert repo.call(*INIT).code == 0
    workspace, commit = Workspace(repo.root), repo.git("rev-parse", "HEAD")
    git = Git(repo.root)
    for number, name in enumerate(sorted(path.name for path in OUTPUTS.iterdir() if readable(path.name)), 2):
        right = {metric: value for (of, metric), (value, _) in RIGHT.items() if of == name}
        refused = [metric for of, metric in REFUSED if of == name]
        done = ran(name).probe()
        places = {metric: placed(done, metric)[0] for metric in right}
        first = next(iter(right), refused[0] if refused else "")
        others = {metric: place for metric, place in places.items() if metric != first}
        table = {"name": first, **places.get(first, {}), "sources": others, "secondary": [*others, *refused]}
        task = parse(task_file(metric=table, run={"command": f"bash play.sh {name}"}))
        context = RunContext(workspace, git, task)
        run = measure(context, context.spec(commit, number, 1))
        assert run.isolation != "none" or missing(), "there is a sandbox, and it was not used"
        if right:
            got = {metric: value for metric, value in {first: run.value, **run.metrics}.items() if metric in right}
            assert (run.outcome, got) == ("ok", right), (name, run)
        else:
            assert (run.outcome, run.value) == ("no_metric", None), (name, run)
        assert not {*refused} & {*run.metrics}, (name, run.metrics)


def test_every_output_is_looked_at() -> None:
    assert {name for name, _ in (*RIGHT, *REFUSED)} == {path.name for path in OUTPUTS.iterdir()}
