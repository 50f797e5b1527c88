"""Spirals: which of three noisy spirals a point lies on. The points are synthetic, drawn once for each cache."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness.base import BaseTask
from harness.command_line import main
from harness.models import Models
from harness.probes import check_alone
from harness.scores import wrong

HERE = Path(__file__).resolve().parent
CLASSES, SIZES = 3, {"train": 20_000, "search": 4_000, "locked": 4_000}


@dataclass(frozen=True)
class Options:
    """[options] of autoresearch.toml, and options of the command line."""

    noise: float = field(default=0.05, metadata={"help": "spread of the points about their spiral"})


class Spirals(BaseTask):
    name = "spirals"

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        rng = np.random.default_rng(secrets.randbits(128))  # nobody can draw the hidden points again
        return {split: self.draw(rng, count) for split, count in SIZES.items()}

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        label, radius = rng.integers(0, CLASSES, count), rng.uniform(0.1, 1, count)
        angle = 6 * radius + 2 * np.pi * label / CLASSES
        points = np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)
        points += self.options.noise * rng.standard_normal(points.shape)
        return {"label": label.astype(np.int64), "point": points.astype(np.float32)}

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        """The part of wrong answers. The second process sees the points in another order and must answer the same."""
        data = self.arrays(split)
        points, labels = np.array(data["point"]), np.array(data["label"])
        again = np.random.default_rng(secrets.randbits(128)).permutation(len(points))
        found = []
        for process, order in enumerate((np.arange(len(points)), again)):
            models.open(process, points[0], (CLASSES,), 500)
            errors = np.empty(len(points), bool)
            for here, logits in models.score(points[order]):
                errors[order[here]] = wrong(logits, labels[order[here]])
            found.append(errors)
        check_alone(*found)
        return {"error": float(found[0].mean())}


if __name__ == "__main__":
    main(HERE, Options, Spirals)
