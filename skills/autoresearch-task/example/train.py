"""The file to improve: a model of points [B, 2] that gives logits [B, 3], and how it is trained."""

from __future__ import annotations

from pathlib import Path

import torch
from harness.batches import Batches
from harness.device import pick_device
from harness.finish import finish, log_step, seed_everything
from torch import nn

HERE = Path(__file__).resolve().parent
WIDTH = 16  # of the hidden layer
LEARNING_RATE = 0.01


def build_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3))


if __name__ == "__main__":
    seed_everything()
    device = pick_device()
    model = build_model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    for (label, point), progress in Batches(HERE, device, 64):
        loss = nn.functional.cross_entropy(model(point), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        log_step(HERE, progress=progress, loss=loss.item())
    finish(HERE, model)
