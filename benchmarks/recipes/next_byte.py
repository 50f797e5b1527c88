"""A real training of a tenth of a second: which byte comes next in Python sources. For benchmarks/sampler.py.

A few bytes, each embedded, then one hidden layer, then logits of 128 bytes; AdamW by hand, in numpy. The budget is
multiplications, so a wider model or a longer context sees less text, and the load of the machine changes nothing.

    python next_byte.py [SEED]
"""

from __future__ import annotations

import math
import sys
import sysconfig
from pathlib import Path

import numpy as np

CONTEXT = 3  # bytes seen; [1, 12]
EMBEDDING = 8  # width of a byte; {4, 8, 16, 32}
WIDTH = 64  # of the hidden layer; [16, 512] pow2
ACTIVATION = "tanh"  # {"tanh", "relu", "squared"}
INIT_SCALE = 1.0  # factor on the initial hidden weights; [0.25, 4.0] log
BATCH = 256  # [8, 1024] pow2
EMBEDDING_LR = 0.006  # [0.0005, 0.2] log
HIDDEN_LR = 0.006  # [0.0003, 0.1] log
HEAD_LR = 0.006  # [0.0003, 0.1] log
BETA1 = 0.9  # [0.5, 0.98] log1m
BETA2 = 0.99  # [0.8, 0.999] log1m
WEIGHT_DECAY = 0.1  # times the rate; [0.001, 2.0] log
WARMUP = 0.1  # part of the budget; [0.0, 0.4]
WARMDOWN = 0.1  # part of the budget; [0.0, 0.9]
FINAL_LR = 0.3  # rate at the end, in units of the full one; [0.0, 1.0]

BUDGET = 1.0e9  # multiplications; fixed
PER_STEP = 1.0e6  # what a step costs beside its rows; fixed
MEMORY = 2**17  # numbers of the hidden layer that fit; fixed
BYTES = 128


def text() -> tuple[np.ndarray, np.ndarray]:
    """(bytes to train on, bytes to be scored on) of the standard library of this Python."""
    library = Path(sysconfig.get_path("stdlib"))
    parts = []
    for names in (("argparse", "ast", "inspect", "pickle", "tarfile", "typing"), ("difflib", "ipaddress")):
        joined = b"".join((library / f"{name}.py").read_bytes() for name in names)
        parts.append(np.minimum(np.frombuffer(joined, np.uint8), BYTES - 1).astype(np.int64))
    return parts[0], parts[1]


def rate_at(progress: float) -> float:
    if progress < WARMUP:
        return max(progress, 0.01) / WARMUP
    fall = min(1.0, (1.0 - progress) / WARMDOWN) if WARMDOWN else 1.0
    return FINAL_LR + (1.0 - FINAL_LR) * fall


def train(seed: int, data: tuple[np.ndarray, np.ndarray]) -> float:
    """Bits per byte on held-out text. Raises MemoryError, FloatingPointError or ValueError where it cannot train."""
    if BATCH * WIDTH > MEMORY:
        raise MemoryError(f"{BATCH} rows of {WIDTH} do not fit")
    if WARMUP + WARMDOWN > 1:
        raise ValueError("WARMUP + WARMDOWN is more than the budget")
    rng = np.random.default_rng(seed)
    inputs = CONTEXT * EMBEDDING
    p = {
        "embedding": rng.standard_normal((BYTES, EMBEDDING), np.float32) * 0.5,
        "hidden": rng.standard_normal((inputs, WIDTH), np.float32) * (INIT_SCALE / math.sqrt(inputs)),
        "bias": np.zeros(WIDTH, np.float32),
        "head": np.zeros((WIDTH, BYTES), np.float32),
    }
    rates = {"embedding": EMBEDDING_LR, "hidden": HIDDEN_LR, "bias": HIDDEN_LR, "head": HEAD_LR}
    first, second = ({name: np.zeros_like(w) for name, w in p.items()} for _ in range(2))
    steps = max(1, int(BUDGET / (PER_STEP + 3 * BATCH * (inputs * WIDTH + WIDTH * BYTES))))
    here, _ = data
    for step in range(1, steps + 1):
        at = rng.integers(CONTEXT, len(here), BATCH)
        ids = here[at[:, None] - np.arange(CONTEXT, 0, -1)]  # [B, C]
        grads, loss = gradients(p, ids, here[at])
        if not loss < 3 * math.log(BYTES):
            raise FloatingPointError(f"the loss is {loss} at step {step}")
        rate = rate_at(step / steps)
        for name, w in p.items():
            first[name] += (1 - BETA1) * (grads[name] - first[name])
            second[name] += (1 - BETA2) * (grads[name] ** 2 - second[name])
            update = first[name] / (1 - BETA1**step) / (np.sqrt(second[name] / (1 - BETA2**step)) + 1e-8)
            w -= rate * rates[name] * (update + (WEIGHT_DECAY * w if name in ("hidden", "head") else 0))
    return scored(p, data[1])


def layers(p: dict[str, np.ndarray], ids: np.ndarray) -> tuple[np.ndarray, ...]:
    """ids [B, C] -> inputs [B, C * E], before [B, W], after the activation [B, W], log-probabilities [B, V]."""
    x = p["embedding"][ids].reshape(len(ids), -1)
    a = x @ p["hidden"] + p["bias"]
    h = np.tanh(a) if ACTIVATION == "tanh" else np.maximum(a, 0) ** (2 if ACTIVATION == "squared" else 1)
    z = h @ p["head"]
    z = z - z.max(axis=1, keepdims=True)
    return x, a, h, z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def gradients(p: dict[str, np.ndarray], ids: np.ndarray, targets: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    x, a, h, log_p = layers(p, ids)
    rows = np.arange(len(ids))
    loss = float(-log_p[rows, targets].mean())
    dz = np.exp(log_p)
    dz[rows, targets] -= 1
    dz /= len(ids)
    dh = dz @ p["head"].T
    slope = 1 - h**2 if ACTIVATION == "tanh" else 2 * np.maximum(a, 0) if ACTIVATION == "squared" else a > 0
    da = dh * slope
    dx = (da @ p["hidden"].T).reshape(-1, p["embedding"].shape[1])
    embedding = np.zeros_like(p["embedding"])
    np.add.at(embedding, ids.ravel(), dx)
    return {"embedding": embedding, "hidden": x.T @ da, "bias": da.sum(axis=0), "head": h.T @ dz}, loss


def scored(p: dict[str, np.ndarray], held_out: np.ndarray) -> float:
    at = np.arange(CONTEXT, len(held_out), 11)
    ids = held_out[at[:, None] - np.arange(CONTEXT, 0, -1)]
    log_p = layers(p, ids)[-1]
    bits = float(-log_p[np.arange(len(at)), held_out[at]].mean()) / math.log(2)
    if not math.isfinite(bits):
        raise FloatingPointError("the score is no number")
    return bits


if __name__ == "__main__":
    print(f"METRIC bpb={train(int(sys.argv[1]) if sys.argv[1:] else 1, text())}")
