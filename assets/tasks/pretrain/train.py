"""The trainer of the pretrain task: model, optimiser, schedule, loop. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once

The evaluator imports `build_model` from here, loads the saved weights strictly, and calls the model on int64
[B, T] ids; it must return logits [B, T, VOCAB_SIZE], each depending on its own row up to its own place only.

B rows, T tokens of a row, D width of the residual stream, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

import math
import sys
import time

from prepare import MAX_SEQ_LEN, PROFILE, VOCAB_SIZE, finish, log_step, make_dataloader, pick_device, seed_everything

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

# Model. The sizes that depend on the profile are tables; edit the entry of the profile in use. Those of tiny
# were the best of a few tried on two CPU cores, at 20 and 40 s.
DEPTH = {"full": 9, "small": 6, "tiny": 2}[PROFILE]  # layers
WIDTH = {"full": 640, "small": 384, "tiny": 128}[PROFILE]  # D
HEAD_DIM = {"full": 128, "small": 64, "tiny": 64}[PROFILE]  # K
MLP_RATIO = 4  # hidden width of the MLP / D
ROPE_BASE = 10000.0  # longest wavelength of the rotary embedding, in tokens / 2 pi
QK_SCALE = 1.15  # factor on the normalised queries and keys, each
LOGIT_CAP = {"full": 15.0, "small": 15.0, "tiny": 0.0}[PROFILE]  # smooth limit of logits (Gemma 2); 0: none
INIT_SCALE = 1.0  # factor on the uniform init of the matrices, whose standard deviation is then D ** -0.5

# Optimisation.
BATCH_ROWS = {"full": 32, "small": 16, "tiny": 8}[PROFILE]  # rows of one forward pass
BATCH_ROWS_TOTAL = {"full": 128, "small": 64, "tiny": 8}[PROFILE]  # rows of one optimiser step
MATRIX_LR = 0.02  # Muon, matrices of the blocks; the singular values of one update
EMBEDDING_LR = 0.3  # AdamW, at width 768; scaled by (D / 768) ** -0.5
HEAD_LR = 0.004  # AdamW, likewise
MOMENTUM_DECAY = 0.05  # Muon, Nesterov: 1 - momentum, forgotten in a step
ADAM_DECAY1 = 0.2  # AdamW: 1 - beta1, forgotten of the first moment in a step
ADAM_DECAY2 = 0.05  # AdamW: 1 - beta2, of the second
WEIGHT_DECAY = 0.1  # Muon, times the learning rate
WARMUP = 0.02  # part of the budget in which the rate rises
WARMDOWN = 0.6  # part of the budget, at its end, in which the rate falls
FINAL_LR = 0.05  # rate at the end, in units of the full rate

LOG_EVERY_S = 3.0  # seconds between progress lines


# ------------------------------------------------------------------------------------------------------------
# Model
# ------------------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without parameters."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) of x [B, T, H, K] by angles [T, 1, K / 2]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, [B, H, T, K] -> [B, H, T, K]. On a CPU short rows are twice as fast written out."""
    T = q.size(2)
    if q.device.type != "cpu" or T > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = (q @ k.mT * HEAD_DIM**-0.5).masked_fill(later, -math.inf)  # [B, H, T, T]
    return scores.softmax(-1) @ v


class Block(nn.Module):
    """Attention, then an MLP with squared ReLU (So et al., 2021), each on the normalised residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, MLP_RATIO * WIDTH, bias=False)
        self.down = nn.Linear(MLP_RATIO * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(norm(x)).view(B, T, 3, D // HEAD_DIM, HEAD_DIM).unbind(2)  # [B, T, H, K]
        q, k = (QK_SCALE * norm(rotate(z, cos, sin)).to(v.dtype) for z in (q, k))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))  # [B, H, T, K]
        y = attend(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.relu(self.up(norm(x))).square())


class GPT(nn.Module):
    """Decoder-only transformer with an untied head. forward: int64 [B, T] -> logits [B, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        frequency = ROPE_BASE ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.outer(torch.arange(MAX_SEQ_LEN), frequency)[:, None]  # [T, 1, K / 2]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Uniform matrices of standard deviation D ** -0.5; what writes to the stream starts at 0."""
        nn.init.normal_(self.embedding.weight)
        nn.init.normal_(self.head.weight, std=0.001)
        bound = INIT_SCALE * (3 / WIDTH) ** 0.5
        for block in self.blocks:
            for layer in (block.qkv, block.up):
                nn.init.uniform_(layer.weight, -bound, bound)
            for layer in (block.out, block.down):
                nn.init.zeros_(layer.weight)

    def forward(self, ids: Tensor) -> Tensor:
        T = ids.size(1)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=fast_bf16(ids.device)):
            x = norm(self.embedding(ids))  # [B, T, D]
            for block in self.blocks:
                x = block(x, self.cos[:T], self.sin[:T])
            logits = self.head(norm(x)).float()  # [B, T, V]
        return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP) if LOGIT_CAP else logits


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: CUDA from sm80 on, CPUs with AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and bool(probe())


def build_model() -> GPT:
    """The model with fresh weights, on the CPU; the evaluator calls this as well."""
    assert WIDTH % HEAD_DIM == 0, f"WIDTH {WIDTH} must be a multiple of HEAD_DIM {HEAD_DIM}"
    assert HEAD_DIM % 2 == 0, f"HEAD_DIM {HEAD_DIM} must be even, since rotary embeddings turn pairs"
    model = GPT()
    model.init_weights()
    return model


# ------------------------------------------------------------------------------------------------------------
# Optimiser
# ------------------------------------------------------------------------------------------------------------


def orthogonalize(g: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix of each g [N, R, C], roughly: all singular values near 1.

    Five steps of the quintic Newton-Schulz iteration with the coefficients of Muon (Keller Jordan, 2024).
    """
    x = g.bfloat16() if fast_bf16(g.device) else g
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).to(g.dtype)


class Optimizer:
    """Muon for the matrices of the blocks, AdamW without decay for embedding and head.

    Written out here, since torch.optim imports the compiler, which takes seconds on a CPU.
    """

    def __init__(self, model: GPT) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for p in model.blocks.parameters():
            shapes.setdefault(p.shape, []).append(p)
        self.matrices = list(shapes.values())  # matrices of one shape are updated as one batch
        self.momenta = [torch.zeros(len(group), *group[0].shape, device=group[0].device) for group in self.matrices]
        scale = (WIDTH / 768) ** -0.5
        self.tables = [(model.embedding.weight, EMBEDDING_LR * scale), (model.head.weight, HEAD_LR * scale)]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p, _ in self.tables]
        self.steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update with all learning rates multiplied by `rate`; clears the gradients."""
        self.steps += 1
        for group, momentum in zip(self.matrices, self.momenta, strict=True):
            gradient = torch.stack([p.grad for p in group])  # [N, R, C]
            momentum.lerp_(gradient, MOMENTUM_DECAY)
            update = orthogonalize(gradient.lerp(momentum, 1 - MOMENTUM_DECAY))
            rows, columns = group[0].shape
            lr = rate * MATRIX_LR * max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(group, 1 - rate * MATRIX_LR * WEIGHT_DECAY)
            torch._foreach_add_(group, list(update), alpha=-lr)
        for (p, lr), (first, second) in zip(self.tables, self.moments, strict=True):
            first.lerp_(p.grad, ADAM_DECAY1)
            second.lerp_(p.grad.square(), ADAM_DECAY2)
            root = (second / (1 - (1 - ADAM_DECAY2) ** self.steps)).sqrt_().add_(1e-10)
            p.addcdiv_(first, root, value=-rate * lr / (1 - (1 - ADAM_DECAY1) ** self.steps))
        for p in (*(p for group in self.matrices for p in group), *(p for p, _ in self.tables)):
            p.grad = None


def rate_at(progress: float) -> float:
    """Learning rate, in units of the full rate, when `progress` of the budget is spent."""
    if progress < WARMUP:
        return max(progress, 0.1 * WARMUP) / WARMUP
    fall = min(1.0, (1.0 - progress) / WARMDOWN)
    return FINAL_LR + (1.0 - FINAL_LR) * fall


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def main() -> None:
    assert BATCH_ROWS_TOTAL % BATCH_ROWS == 0, "BATCH_ROWS_TOTAL must be a multiple of BATCH_ROWS"
    seed_everything()
    device = pick_device()
    model = build_model().to(device)
    optimizer = Optimizer(model)
    parts = BATCH_ROWS_TOTAL // BATCH_ROWS  # forward passes of one optimiser step
    check_every = 1 if device.type == "cpu" else 10  # reading the loss waits for the device
    tokens_seen, step, last_line, mean = 0, 0, time.monotonic(), math.nan
    weights = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"model     {DEPTH} layers x {WIDTH}, {weights:.2f} M parameters, on {device.type}", flush=True)
    loader = make_dataloader(BATCH_ROWS, MAX_SEQ_LEN, "train", device)
    for part, (x, y, progress) in enumerate(loader, 1):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        (loss / parts).backward()
        tokens_seen += x.numel()
        if part % parts:
            continue
        optimizer.step(rate_at(progress))
        step += 1
        if step % check_every:
            continue
        value = loss.item()
        if not math.isfinite(value):
            sys.exit(f"the loss is {value} at step {step}: stopping")
        mean = value if math.isnan(mean) else 0.9 * mean + 0.1 * value
        log_step(step=step, progress=progress, loss=value, rate=rate_at(progress))
        if time.monotonic() - last_line >= LOG_EVERY_S:
            last_line = time.monotonic()
            print(f"step {step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}", flush=True)
    finish(model, train_loss=mean)


if __name__ == "__main__":
    main()
