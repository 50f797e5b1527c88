"""Record what tools print and write, for tests/runs/test_recorded_output.py.

    python benchmarks/record_outputs.py [NAME ...]      all whose packages can be imported, unless told

Each recipe is a small program that uses one tool as its documentation does. What it prints goes to `stdout` and
`stderr` in tests/data/outputs/NAME, its files beside them. Names of this machine and its folders are taken out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

OUTPUTS = Path(__file__).resolve().parents[1] / "tests" / "data" / "outputs"

NET = """
import torch
torch.manual_seed(1)
x = torch.randn(512, 8)
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
"""


TRAINER = f"""
{NET}
import sys
from transformers import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, inputs=None, labels=None):
        out = self.net(inputs)
        return {{"loss": torch.nn.functional.cross_entropy(out, labels), "logits": out}}
rows = [{{"inputs": a, "labels": b}} for a, b in zip(x, y)]
accuracy = lambda p: {{"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())}}
args = TrainingArguments("out", num_train_epochs=3, eval_strategy="epoch", logging_strategy="epoch",
                         save_strategy="no", report_to=[], use_cpu=True, learning_rate=1e-2,
                         per_device_train_batch_size=64)
trainer = Trainer(Model(), args, train_dataset=rows[:384], eval_dataset=rows[384:], compute_metrics=accuracy)
if "quiet" in sys.argv:
    for each in [*trainer.callback_handler.callbacks]:
        if type(each).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(each)
trainer.train()
"""


@dataclass(frozen=True)
class Recipe:
    """How one output is made."""

    packages: tuple[str, ...]
    program: str
    files: tuple[str, ...] = ()
    """Patterns of what to keep beside the output."""
    command: tuple[str, ...] = ("{python}", "main.py")


RECIPES = {
    "optuna": Recipe(("optuna",), """
import optuna
study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=3))
study.optimize(lambda trial: (trial.suggest_float("x", -3, 3) - 1) ** 2, n_trials=6)
print("best value:", study.best_value)
"""),
    "pytest": Recipe(("pytest",), """
import pytest
@pytest.mark.parametrize("n", range(7))
def test_it(n):
    assert n != 4
""", command=("{python}", "-m", "pytest", "-p", "no:cacheprovider", "-q", "main.py")),
    "rich": Recipe(("rich",), """
from rich.console import Console
from rich.table import Table
table = Table(title="results")
for name in ("model", "val loss", "accuracy"):
    table.add_column(name)
table.add_row("small", "0.512", "0.81")
table.add_row("large", "0.431", "0.86")
Console(width=80, force_terminal=True).print(table)
Console(width=80, force_terminal=True).print("final [bold]accuracy[/bold]: [green]0.86[/green]")
"""),
    "scikit-learn": Recipe(("sklearn",), """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import cross_val_score, train_test_split
x, y = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0, test_size=0.3)
model = LogisticRegression(max_iter=1000).fit(train_x, train_y)
print(classification_report(test_y, model.predict(test_x)))
print(f"cross-validation accuracy: {cross_val_score(model, x, y).mean():.4f}")
"""),
    "lightgbm": Recipe(("lightgbm", "sklearn"), """
import lightgbm
from sklearn.datasets import load_breast_cancer
x, y = load_breast_cancer(return_X_y=True)
train, valid = lightgbm.Dataset(x[:426], y[:426]), lightgbm.Dataset(x[426:], y[426:])
lightgbm.train({"objective": "binary", "metric": ["auc", "binary_logloss"], "num_leaves": 4, "seed": 1}, train, 60,
               valid_sets=[valid], callbacks=[lightgbm.log_evaluation(20), lightgbm.early_stopping(30)])
"""),
    "pytest-benchmark": Recipe(("pytest_benchmark",), """
def test_sum(benchmark):
    assert benchmark(sum, range(1000)) == 499500
""", ("bench.json",), ("{python}", "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-json=bench.json",
                       "--benchmark-max-time=0.1", "main.py")),
    "keras": Recipe(("keras", "torch"), f"""
import os
os.environ["KERAS_BACKEND"] = "torch"
{NET}
import keras
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(x.numpy(), y.numpy(), batch_size=64, epochs=3, validation_split=0.25)
"""),
    "lightning": Recipe(("lightning", "torch"), f"""
{NET}
import lightning
from lightning.pytorch.loggers import CSVLogger
class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net
    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss
    def validation_step(self, batch, _):
        out = self.net(batch[0])
        self.log("val_loss", torch.nn.functional.cross_entropy(out, batch[1]))
        self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)
data = torch.utils.data.TensorDataset(x, y)
load = lambda part: torch.utils.data.DataLoader(torch.utils.data.Subset(data, part), batch_size=64)
trainer = lightning.Trainer(max_epochs=2, logger=CSVLogger(".", name="lightning_logs"), log_every_n_steps=3,
                            accelerator="cpu", enable_checkpointing=False)
trainer.fit(Model(), load(range(384)), load(range(384, 512)))
""", ("lightning_logs/version_0/metrics.csv",)),
    "hf-trainer": Recipe(("transformers", "accelerate", "torch"), TRAINER),
    "hf-trainer-state": Recipe(("transformers", "accelerate", "torch"), TRAINER + """
trainer.save_state()
""", ("out/trainer_state.json",), ("{python}", "main.py", "quiet")),

    "tensorboard": Recipe(("tensorboard",), """
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("runs/now")
for step in range(5):
    for tag, value in (("loss/train", 1 / (step + 1)), ("loss/val", 2 / (step + 1))):
        scalar = Summary.Value(tag=tag, simple_value=value)
        writer.add_event(Event(step=step, wall_time=step, summary=Summary(value=[scalar])))
writer.close()
print("done")
""", ("runs/now/events.out.tfevents.*",)),
    "wandb": Recipe(("wandb",), """
import wandb
run = wandb.init(project="p", mode="offline", settings=wandb.Settings(x_disable_meta=True, x_disable_stats=True,
                 console="off", disable_git=True, save_code=False, host="host"))
for step in range(5):
    run.log({"train/loss": 1 / (step + 1), "val": {"loss": 2 / (step + 1)}})
run.finish()
""", ("wandb/offline-run-*/run-*.wandb",)),
}  # fmt: skip


def main() -> None:
    wanted = sys.argv[1:] or [*RECIPES]
    for name in wanted:
        missing = [package for package in RECIPES[name].packages if importlib.util.find_spec(package) is None]
        if missing:
            print(f"{name}: not installed: {', '.join(missing)}")
            continue
        record(name, RECIPES[name])


def record(name: str, recipe: Recipe) -> None:
    """Run a recipe and put what it printed and wrote in place of what is there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        (place / "main.py").write_text(recipe.program)
        command = [word.replace("{python}", sys.executable) for word in recipe.command]
        env = {**os.environ, "HOME": folder, "WANDB_SILENT": "false", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=place, env=env, capture_output=True)
        target = OUTPUTS / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for stream, content in (("stdout", done.stdout), ("stderr", done.stderr)):
            content = scrubbed(content, place)
            if content:
                (target / stream).write_bytes(content)
        for pattern in recipe.files:
            for file in place.glob(pattern):
                kept = target / file.relative_to(place)
                kept = kept.with_name(re.sub(r"(tfevents\.\d+)\..*", r"\1.host.1.0", kept.name))
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(file.read_bytes())
        bench = target / "bench.json"
        if bench.is_file():  # names of the machine, of its processor and of the commit; thousands of single times
            kept = json.loads(bench.read_text())
            for each in kept["benchmarks"]:
                each["stats"].pop("data", None)
            bench.write_text(json.dumps({**kept, "machine_info": {}, "commit_info": {}}, indent=4))
        print(f"{name}: exit {done.returncode}, {sorted(p.name for p in target.rglob('*') if p.is_file())}")


def scrubbed(content: bytes, place: Path) -> bytes:
    """Return an output without the folders of this machine."""
    for folder in (place, Path(sys.prefix).resolve(), Path(sys.prefix)):
        content = content.replace(os.fsencode(folder), b".")
    content = re.sub(rb"https?://[^\s)]+", b"URL", content)
    return re.sub(rb"(?<![\w.])/(?:root|home/\w+|Users/\w+|work|tmp|var|usr)/[^\s'\"]*", b"PATH", content)


if __name__ == "__main__":
    main()
