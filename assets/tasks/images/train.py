"""The trainer of the images task: a small convolutional network. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once

A process of its own imports `build_model` from here, loads the saved weights strictly, and calls the model on integers
[B, C, S, S] of 0 to 255; it must return logits [B, CLASSES], each row from its own image alone.

B images, C channels, S pixels of a side, W channels of a layer. The recipe is a plain one of those that train CIFAR-10
in seconds (Page, 2018; Jordan, 2024): a first layer that whitens patches, few layers, high rates, moved images.
"""

from __future__ import annotations

import itertools
import math
import sys
import time

from prepare import CHANNELS, CLASSES, HERE, PROFILE, SOURCE, TIME_BUDGET

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
import torch.nn.functional as F
from harness.batches import Batches, flops_of_example
from harness.device import machine, prepare_device
from harness.finish import finish, log_step, seed_everything
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

WIDTH = 0  # {0, 8, 16, 32, 64, 128}
SIZES = (16, 32, 64, 128)  # W of the first block to choose from; WIDTH 0: the largest that trains EPOCHS in the budget
EPOCHS = 6  # of 50,000 images
BLOCKS = (1, 2, 4)  # channels of each block, in units of W
WHITEN_SIZE = 3  # {2, 3}
BATCH = {"full": 1024, "small": 512, "tiny": 128}[PROFILE]  # [32, 2048] pow2
LEARNING_RATE = 0.2  # [0.02, 2] log
MOMENTUM = 0.9  # [0.7, 0.98]
WEIGHT_DECAY = 0.0005  # [0.00001, 0.01] log
WARMUP = 0.2  # [0, 0.5]
SMOOTHING = 0.1  # [0, 0.3]
SHIFT = 2  # [0, 4]
FLIP = SOURCE in ("fashion", "cifar10")  # {True, False}
NORM_MOMENTUM = 0.1  # [0.02, 0.6] log
LOG_EVERY_S = 3.0  # fixed

# ------------------------------------------------------------------------------------------------------------
# Model
# ------------------------------------------------------------------------------------------------------------


def width() -> int:
    """W of the first block."""
    if WIDTH or math.isinf(TIME_BUDGET):
        return WIDTH or {"full": 64, "small": 32, "tiny": 16}[PROFILE]
    able = machine().likely * TIME_BUDGET
    fitting = [size for size in SIZES if flops_of_image(size) * EPOCHS * 50_000 <= able]
    return max(fitting, default=SIZES[0])


def flops_of_image(size: int) -> float:
    """Floating-point operations of training on one image."""
    from prepare import SIZE

    return flops_of_example(lambda: Net(size), lambda: torch.zeros(1, CHANNELS, SIZE, SIZE, dtype=torch.long))


class Block(nn.Sequential):
    """Two convolutions, the first of them halving the sides: [B, W, S, S] -> [B, W', S / 2, S / 2]"""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2), norm(after), nn.GELU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False), norm(after), nn.GELU(),
        )  # fmt: skip


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=NORM_MOMENTUM)


class Net(nn.Module):
    """A whitening layer that is not trained, blocks, and a linear head on the largest value of each channel."""

    def __init__(self, size: int) -> None:
        super().__init__()
        whitened = CHANNELS * WHITEN_SIZE**2
        self.whiten = nn.Conv2d(CHANNELS, whitened, WHITEN_SIZE, bias=False).requires_grad_(False)
        channels = [2 * whitened, *(part * size for part in BLOCKS)]
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in itertools.pairwise(channels)))
        self.head = nn.Linear(channels[-1], CLASSES)

    @torch.no_grad()
    def set_whitening(self, images: Tensor) -> None:
        """Have the patches of `images`, uint8 [B, C, S, S], come out of the first layer uncorrelated, of variance 1."""
        patches = F.unfold(images.float() / 255 - 0.5, WHITEN_SIZE).transpose(1, 2).flatten(0, 1)  # [N, C K K]
        values, vectors = torch.linalg.eigh(torch.cov(patches.T).cpu())
        rows = vectors.T / (values[:, None] + 1e-2).sqrt()
        self.whiten.weight.copy_(rows.view_as(self.whiten.weight))

    def forward(self, images: Tensor) -> Tensor:
        """integers [B, C, S, S] -> logits [B, CLASSES]"""
        own = machine()
        with torch.autocast(own.device.type, own.dtype, enabled=own.device.type == "cuda"):
            x = self.whiten(images.float() / 255 - 0.5)
            x = self.blocks(torch.cat((F.gelu(x), F.gelu(-x)), 1))
            return self.head(x.amax((2, 3))).float()


def build_model() -> Net:
    """The model with fresh weights, on the CPU; the evaluator calls this as well."""
    return Net(width())


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def augmented(images: Tensor) -> Tensor:
    """Each image moved by up to SHIFT pixels, and every other one mirrored: uint8 [B, C, S, S] -> the same."""
    B, _, S, _ = images.shape
    padded = F.pad(images.float(), (SHIFT,) * 4, "reflect") if SHIFT else images.float()
    down, right = (torch.randint(0, 2 * SHIFT + 1, (B, 1), device=images.device) for _ in range(2))
    side = torch.arange(S, device=images.device)
    rows, columns = side + down, side + right  # [B, S]
    if FLIP:
        columns = torch.where(torch.rand(B, 1, device=images.device) < 0.5, columns.flip(1), columns)
    example = torch.arange(B, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[example, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def rate_at(progress: float) -> float:
    """Learning rate when `progress` of the budget is spent: up in a line, then down in a line."""
    if progress < WARMUP:
        return LEARNING_RATE * max(progress / WARMUP, 0.02)
    return LEARNING_RATE * (1 - progress) / (1 - WARMUP)


def main() -> None:
    seed_everything()
    own = machine()
    prepare_device(own)
    model = build_model().to(own.device)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], LEARNING_RATE, MOMENTUM, nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )  # fmt: skip
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"model     width {width()}, {weights:.2f} M parameters, on {own.device.type}", flush=True)
    begun = said = time.monotonic()
    mean = speed = math.nan
    for step, ((images, labels), progress) in enumerate(Batches(HERE, own.device, BATCH), 1):
        if step == 1:
            model.set_whitening(images)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        loss = F.cross_entropy(model(augmented(images)), labels, label_smoothing=SMOOTHING)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if own.device.type != "cpu" and step % 10:  # reading the loss waits for the device
            continue
        value, now = loss.item(), time.monotonic()
        if not value < 50:
            sys.exit(f"the loss is {value} at step {step}: stopping")
        mean = value if math.isnan(mean) else 0.9 * mean + 0.1 * value
        speed = step * BATCH / (now - begun)
        log_step(HERE, step=step, progress=progress, loss=value, rate=rate_at(progress), images_per_s=speed)
        if now - said >= LOG_EVERY_S:
            said = now
            print(f"step {step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}  {speed:.0f} images/s", flush=True)
    finish(HERE, model, train_loss=mean, images_per_s=speed)


if __name__ == "__main__":
    main()
