"""What an honest trainer needs: where the points lie, the model, the fit."""

import json
import os
from pathlib import Path

DATA = Path(os.environ["AUTORESEARCH_CACHE"]) / "mini"
RUN = Path(os.environ["AUTORESEARCH_RUN_DIR"])


def predict(weights, x):
    return weights["a"] * x + weights["b"]


def fit(points):
    """The line of least squares."""
    n, sx, sy = len(points), sum(x for x, _ in points), sum(y for _, y in points)
    sxx, sxy = sum(x * x for x, _ in points), sum(x * y for x, y in points)
    a = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return {"a": a, "b": (sy - a * sx) / n}


def save(weights):
    (RUN / "weights.json").write_text(json.dumps(weights))
