"""The trainer of the mazes task: one convolution, used again and again. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once

A process of its own imports `build_model` from here, loads the saved weights strictly, and calls the model on integers
[B, S, S]: 0 wall, 1 open, 2 goal; it must return logits [B, 4, S, S] of the moves up, right, down, left, each maze's
from that maze alone, for every S: `confirm` asks for larger mazes, too. Outside of a maze is wall.

B mazes, S cells of a side, W channels.
"""

from __future__ import annotations

import math
import sys
import time

from prepare import HERE, MOVES, OPEN, PROFILE, WALL, finish

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
import torch.nn.functional as F
from harness.batches import Batches
from harness.device import machine, prepare_device
from harness.finish import log_step, seed_everything
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

WIDTH = {"full": 64, "small": 32, "tiny": 16}[PROFILE]  # [8, 128] pow2
TURNS = 2  # {1, 2, 3}
BATCH = {"full": 128, "small": 64, "tiny": 16}[PROFILE]  # [8, 256] pow2
LEARNING_RATE = 0.006  # [0.001, 0.05] log
BETA1 = 0.9  # [0.8, 0.95]
BETA2 = 0.99  # [0.9, 0.999]
WARMUP = 0.1  # [0, 0.3]
FINAL_LR = 0.05  # [0, 0.3]
CLIP = 1.0  # [0.1, 10] log
LOG_EVERY_S = 3.0  # fixed

# ------------------------------------------------------------------------------------------------------------
# Model
# ------------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A recurrent convolution that sees the maze at every step (after Bansal et al., 2022), TURNS * S steps long."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2, WIDTH, 3, padding=1)
        self.step = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.leave = nn.Conv2d(WIDTH, len(MOVES), 3, padding=1)

    def forward(self, mazes: Tensor) -> Tensor:
        """integers [B, S, S] -> logits [B, 4, S, S]"""
        own = machine()
        with torch.autocast(own.device.type, own.dtype, enabled=own.device.type == "cuda"):
            passable = (mazes != WALL).float()[:, None]
            goal = (mazes > OPEN).float()[:, None]
            maze = self.enter(torch.cat((passable, goal), 1))  # [B, W, S, S]
            state = F.relu6(maze) * passable  # nothing in walls, as nothing outside
            for _ in range(round(TURNS * mazes.size(1))):
                state = F.relu6(self.step(state) + maze) * passable  # bounded, or it grows from step to step
            return self.leave(state).float()


def build_model() -> Net:
    """The model with fresh weights, on the CPU; the evaluator calls this as well."""
    return Net()


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def loss_of(logits: Tensor, moves: Tensor) -> Tensor:
    """Mean nats of naming a best move: logits [B, 4, S, S], moves uint8 [B, S, S] with a bit for each best one."""
    bits = torch.arange(len(MOVES), device=moves.device)[:, None, None]
    best = moves[:, None].long() >> bits & 1 == 1  # [B, 4, S, S]
    nats = logits.logsumexp(1) - logits.masked_fill(~best, -math.inf).logsumexp(1)
    return nats[moves > 0].mean()


def rate_at(progress: float) -> float:
    """Learning rate when `progress` of the budget is spent: a short rise, then a line."""
    if progress < WARMUP:
        return LEARNING_RATE * max(progress / WARMUP, 0.05)
    return LEARNING_RATE * (1 - (1 - FINAL_LR) * (progress - WARMUP) / (1 - WARMUP))


def main() -> None:
    seed_everything()
    own = machine()
    prepare_device(own)
    model = build_model().to(own.device)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, (BETA1, BETA2), weight_decay=0.0)
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"model     width {WIDTH}, {weights:.4f} M parameters, on {own.device.type}", flush=True)
    begun = said = time.monotonic()
    mean = speed = math.nan
    for step, ((mazes, moves), progress) in enumerate(Batches(HERE, own.device, BATCH), 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        loss = loss_of(model(mazes), moves)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if own.device.type != "cpu" and step % 10:  # reading the loss waits for the device
            continue
        value, now = loss.item(), time.monotonic()
        if not value < 50:
            sys.exit(f"the loss is {value} at step {step}: stopping")
        mean = value if math.isnan(mean) else 0.9 * mean + 0.1 * value
        speed = step * BATCH / (now - begun)
        log_step(HERE, step=step, progress=progress, loss=value, gradient=norm.item(), mazes_per_s=speed)
        if now - said >= LOG_EVERY_S:
            said = now
            print(f"step {step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}  {speed:.0f} mazes/s", flush=True)
    finish(model, train_loss=mean, mazes_per_s=speed)


if __name__ == "__main__":
    main()
