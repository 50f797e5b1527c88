"""The trainer of the sft task: low-rank changes of a base model, learned from responses. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once
    python train.py --resume   by hand: goes on from the last checkpoint of a run that was killed

What `finish` takes are the tensors of the base model, changed as you like: names and shapes must stay, since the grader
puts them into a base of its own (`harness/lm.py`, unless it is a kept one of pretrain, or of the hub) and runs nothing
of this file.

B conversations, T tokens of the longest in a batch, V vocabulary, R rank.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from prepare import HERE, PROFILE, base_model

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
import torch.nn.functional as F
from harness.batches import Batches
from harness.checkpoints import Checkpoints
from harness.device import machine, prepare_device
from harness.finish import finish, log_step, seed_everything
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

RANK = {"full": 16, "small": 8, "tiny": 8}[PROFILE]  # [1, 128] pow2
SCALE = 2.0  # [0.5, 16] log
PARTS: tuple[str, ...] = ()  # matrices that have a change beside them, such as "qkv", "head"; all where none is named
BATCH = {"full": 32, "small": 32, "tiny": 16}[PROFILE]  # [4, 128] pow2
LEARNING_RATE = 0.002  # [0.0002, 0.05] log
BETA1 = 0.9  # [0.8, 0.95]
BETA2 = 0.99  # [0.9, 0.999]
WEIGHT_DECAY = 0.0  # [0, 0.3]
WARMUP = 0.05  # [0, 0.2]
FINAL_LR = 0.1  # [0, 0.5]
CLIP = 1.0  # [0.1, 10] log
LOG_EVERY_S = 3.0  # fixed

# ------------------------------------------------------------------------------------------------------------
# Low-rank changes
# ------------------------------------------------------------------------------------------------------------


class Lora(nn.Module):
    """A frozen matrix W and, beside it, the product of two thin ones that are learned (Hu et al., 2021)."""

    def __init__(self, own: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = own.weight, own.bias, scale
        self.down = nn.Parameter(torch.randn(rank, own.in_features) / math.sqrt(own.in_features))  # [R, in]
        self.up = nn.Parameter(torch.zeros(own.out_features, rank))  # [out, R]; zeros, so that nothing is changed yet

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + scale * up (down x)"""
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One matrix that does the same."""
        made = nn.Linear(self.weight.size(1), self.weight.size(0), self.bias is not None, self.weight.device)
        made.weight.copy_(self.weight + self.scale * self.up @ self.down)
        if self.bias is not None:
            made.bias.copy_(self.bias)
        return made


def add_changes(model: nn.Module) -> list[nn.Parameter]:
    """Freeze the model, put changes beside its matrices (PARTS), and return what is learned."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    replace(model, nn.Linear, lambda own: Lora(own, RANK, SCALE))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def merge(model: nn.Module) -> None:
    """Add the changes to the matrices, which makes it a model like the base again."""
    replace(model, Lora, lambda own: own.merged())


def replace(model: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> None:
    """Put what `make` gives in the place of each module of a `kind` that is one of PARTS."""
    for module in list(model.modules()):
        for name, own in list(module.named_children()):
            if isinstance(own, kind) and (not PARTS or name in PARTS):
                setattr(module, name, make(own))


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def loss_of(model: nn.Module, ids: Tensor, span: Tensor) -> Tensor:
    """Mean nats of a token of the responses: ids [B, T + 1], of which those at span [B, 2] are the response."""
    ids = ids[:, : int(span[:, 1].max())].long()  # behind the longest there is nothing to learn
    logits = model(ids[:, :-1])  # [B, T, V]
    places = torch.arange(1, ids.size(1), device=ids.device)
    counted = (places >= span[:, :1]) & (places < span[:, 1:])  # [B, T]
    return F.cross_entropy(logits[counted], ids[:, 1:][counted])


def rate_at(progress: float) -> float:
    """Learning rate when `progress` of the budget is spent: a short rise, then a line."""
    if progress < WARMUP:
        return LEARNING_RATE * max(progress / WARMUP, 0.05)
    return LEARNING_RATE * (1 - (1 - FINAL_LR) * (progress - WARMUP) / (1 - WARMUP))


def main() -> None:
    seed_everything()
    own = machine()
    prepare_device(own)
    model = base_model()
    learned = add_changes(model)
    if not learned:
        sys.exit("no matrix of the base is one of PARTS; name some of its named_modules()")
    model.to(own.device)
    optimizer = torch.optim.AdamW(learned, LEARNING_RATE, (BETA1, BETA2), weight_decay=WEIGHT_DECAY)
    count = sum(p.numel() for p in learned) / 1e6
    told = f"rank {RANK} beside {len(learned) // 2} matrices, {count:.3f} M parameters learned"
    print(f"model     {told}, on {own.device.type}", flush=True)
    checkpoints = Checkpoints(HERE, model, optimizer)
    first, mean = checkpoints.resume(0, math.nan)
    begun = said = time.monotonic()
    for step, ((ids, span), progress) in enumerate(Batches(HERE, own.device, BATCH), int(first) + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        loss = loss_of(model, ids, span)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(learned, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if own.device.type != "cpu" and step % 10:  # reading the loss waits for the device
            continue
        value, now = loss.item(), time.monotonic()
        if not value < 50:
            sys.exit(f"the loss is {value} at step {step}: stopping")
        mean = value if math.isnan(mean) else 0.95 * mean + 0.05 * value
        log_step(HERE, step=step, progress=progress, loss=value, gradient=norm.item())
        if now - said >= LOG_EVERY_S:
            said = now
            speed = (step - first) * BATCH / (now - begun)
            print(f"step {step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}  {speed:.0f} responses/s", flush=True)
        checkpoints.save(progress, step, mean)
    merge(model)
    finish(HERE, model, train_loss=mean, learned_params_M=count)


if __name__ == "__main__":
    main()
