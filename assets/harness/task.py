"""What a task tells the harness: its options, its budget, its data, its scoring rule."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from harness.errors import TaskError

if TYPE_CHECKING:
    from harness.models import Models

BUDGETS = ("seconds", "tokens", "steps", "flops")

Options = TypeVar("Options")


@dataclass(frozen=True, slots=True)
class Budget:
    """What one training may spend: seconds, tokens (examples where there are no tokens), steps (batches), or flops."""

    kind: str
    amount: float

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS or not 0 < self.amount < math.inf:
            raise TaskError("the budget must be { seconds = N }, or tokens, steps or flops instead; N above 0")

    @property
    def seconds(self) -> float:
        """Infinite where it is not time that is limited."""
        return self.amount if self.kind == "seconds" else math.inf


@dataclass(frozen=True, slots=True)
class Allowances:
    """What a run may take beside its budget."""

    startup_s: float = 15.0
    """Free before the clock starts: imports, building the model; more is charged to a budget of seconds."""
    warmup_s: float = 60.0
    """Free for warm-up batches: compilation; more is charged likewise."""
    weights_bytes: int = 2**31
    """Size of what `finish` saves."""
    model_s: float = 60.0
    """The most seconds that a model process may take to score; less where training was fast (models.py)."""


@dataclass(frozen=True, slots=True)
class Training:
    """The training data as a loader asked for it: arrays with an example in each row, and what one costs."""

    arrays: tuple[np.ndarray, ...]
    tokens: int
    """Tokens of an example; 1 where there are none."""


class Task(Protocol):
    """One task. `prepare.py` of a workspace makes one and hands it to `command_line.main`."""

    folder: Path
    """The workspace, or the snapshot of it that this process runs in."""
    budget: Budget
    allowances: Allowances
    tokens_per_example: int
    """1 where there are no tokens."""

    def prepare(self, *, force: bool, workers: int) -> Path:
        """Make the data unless it is there and its source unchanged; return its folder."""
        ...

    def data_folder(self) -> Path:
        """Where the prepared data is or will be."""
        ...

    def prepared(self) -> Path:
        """The folder of the prepared data, with a `manifest.json`. Raises TaskError when it is not there."""
        ...

    def describe(self) -> None:
        """Print what was prepared."""
        ...

    def training(self, asked: Mapping[str, Any]) -> Training:
        """The training data for a loader that asked with these words. Raises TaskError when they make no sense."""
        ...

    def files(self, split: str) -> tuple[str, ...]:
        """The files of the prepared data that an evaluation of `split` rests on."""
        ...

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        """The metrics of the model on `split`; what else is worth keeping goes into `folder`. Raises Verdict."""
        ...


def read_task_file(folder: Path, options: type[Options]) -> tuple[Options, Budget]:
    """Options and budget of autoresearch.toml; `options` is a dataclass with a default for each field.

    Raises TaskError when the file is missing or malformed.
    """
    path = folder / "autoresearch.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        [(kind, amount)] = table["run"]["budget"].items()
        given = table.get("options", {})
        known = {field.name for field in fields(options)}  # type: ignore[arg-type]
        if unknown := set(given) - known:
            raise ValueError(f"[options] {min(unknown)} is unknown; known are {', '.join(sorted(known))}")
        return options(**given), Budget(kind, float(amount))
    except FileNotFoundError:
        raise TaskError(f"{path} is missing; make a workspace with: autoresearch init") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TaskError(f"{path} cannot be used ({error}); compare it with the task's original") from None
