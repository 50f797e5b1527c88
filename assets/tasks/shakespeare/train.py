"""The trainer of the shakespeare task: a small transformer of bytes. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once

A process of its own imports `build_model` from here, loads the saved weights strictly, and calls the model on int64
[B, T] ids; it must return logits [B, T, VOCAB_SIZE], each depending on its own row up to its own place only.

B rows, T bytes of a row, D width, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

import math
import sys
import time

from prepare import HERE, PROFILE, SEQ_LEN, TASK, VOCAB_SIZE

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
import torch.nn.functional as F
from harness.device import machine, prepare_device
from harness.finish import finish, log_step, seed_everything
from harness.text.loader import open_loader
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

DEPTH = {"full": 6, "small": 4, "tiny": 2}[PROFILE]  # [1, 12]
WIDTH = {"full": 384, "small": 256, "tiny": 128}[PROFILE]  # [64, 768] pow2
HEAD_DIM = 32  # {32, 64}
MLP_RATIO = 4  # {2, 4, 8}
DROPOUT = {"full": 0.2, "small": 0.1, "tiny": 0.0}[PROFILE]  # [0, 0.4]
BATCH_ROWS = {"full": 64, "small": 32, "tiny": 8}[PROFILE]  # [4, 128] pow2
LEARNING_RATE = 0.001  # [0.0002, 0.02] log
BETA1 = 0.9  # [0.8, 0.95]
BETA2 = 0.99  # [0.9, 0.999]
WEIGHT_DECAY = 0.1  # [0.001, 1] log
WARMUP = 0.05  # [0, 0.2]
FINAL_LR = 0.1  # [0, 0.5]
CLIP = 1.0  # [0.1, 10] log
LOG_EVERY_S = 3.0  # fixed

# ------------------------------------------------------------------------------------------------------------
# Model
# ------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention, then an MLP, each on the normalised residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, MLP_RATIO * WIDTH)
        self.down = nn.Linear(MLP_RATIO * WIDTH, WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        B, T, D = x.shape
        heads = self.qkv(self.norm1(x)).view(B, T, 3, D // HEAD_DIM, HEAD_DIM)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # [B, H, T, K] each
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, T, D)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """Decoder-only transformer with learned positions and a tied head (Radford et al., 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.position = nn.Embedding(SEQ_LEN, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * DEPTH) if last else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]"""
        own = machine()
        with torch.autocast(own.device.type, own.dtype, enabled=own.device.type == "cuda"):
            x = self.embedding(ids) + self.position.weight[: ids.size(1)]
            for block in self.blocks:
                x = block(x)
            return (self.norm(x) @ self.embedding.weight.T).float()


def build_model() -> GPT:
    """The model with fresh weights, on the CPU; the evaluator calls this as well."""
    return GPT()


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def rate_at(progress: float) -> float:
    """Learning rate when `progress` of the budget is spent: a short rise, then half a cosine."""
    if progress < WARMUP:
        return LEARNING_RATE * max(progress / WARMUP, 0.05)
    fallen = 0.5 + 0.5 * math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP))
    return LEARNING_RATE * (FINAL_LR + (1 - FINAL_LR) * fallen)


def main() -> None:
    seed_everything()
    own = machine()
    prepare_device(own)
    model = build_model().to(own.device)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, LEARNING_RATE, (BETA1, BETA2))
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"model     {DEPTH} layers x {WIDTH}, {weights:.2f} M parameters, on {own.device.type}", flush=True)
    loader = open_loader(TASK, BATCH_ROWS, SEQ_LEN, own.device)
    begun = said = time.monotonic()
    mean = speed = math.nan
    for step, (x, y, progress) in enumerate(loader, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
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
        speed = step * BATCH_ROWS * SEQ_LEN / (now - begun)
        log_step(HERE, step=step, progress=progress, loss=value, gradient=norm.item(), tokens_per_s=speed)
        if now - said >= LOG_EVERY_S:
            said = now
            print(f"step {step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}  {speed / 1e3:.1f} k bytes/s", flush=True)
    finish(HERE, model, train_loss=mean, tokens_per_s=speed)


if __name__ == "__main__":
    main()
