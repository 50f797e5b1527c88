"""A plain port of the recipe of karpathy/autoresearch (train.py, 2026) to this task's data, clock and evaluator.

Written anew from its architecture and constants, to be measured against: `benchmarks/trainer.py` runs it as train.py.
On a GPU it has its own sizes; on a CPU those that its README advises for small machines: depth 4 (hence width 256),
batches of 2^14 tokens, full windows. Attention is PyTorch's, where the original has FlashAttention 3.
"""

from __future__ import annotations

import math
import os
import sys

from prepare import MAX_SEQ_LEN, VOCAB_SIZE, finish, log_step, make_dataloader, pick_device, seed_everything

# isort: split
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = not torch.cuda.is_available()
DEPTH = 4 if SMALL else 8
WIDTH = 64 * DEPTH
HEAD_DIM = 128
HEADS = WIDTH // HEAD_DIM
WINDOWS = "L" if SMALL else "SSSL"  # S is half of the row; the last layer is long
BATCH_TOKENS = 2**14 if SMALL else 2**19
MICRO_ROWS = int(os.environ.get("REFERENCE_MICRO_ROWS") or (16 if SMALL else 128))
COMPILE = os.environ.get("REFERENCE_COMPILE", "0" if SMALL else "1") == "1"
EMBEDDING_LR, HEAD_LR, MATRIX_LR, SCALAR_LR = 0.6, 0.004, 0.04, 0.5
WEIGHT_DECAY, WARMDOWN, SOFTCAP = 0.2, 0.5, 15.0
POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), -1)


class Layer(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.gate = nn.Linear(32, HEADS, bias=False) if number % 2 == (DEPTH - 1) % 2 else None
        short = WINDOWS[number % len(WINDOWS)] == "S" and number < DEPTH - 1
        self.window = MAX_SEQ_LEN // 2 if short else None

    def forward(self, x: Tensor, extra: Tensor | None, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        B, T, _ = x.shape
        h = norm(x)
        q, k, v = (f(h).view(B, T, HEADS, HEAD_DIM) for f in (self.q, self.k, self.v))
        if self.gate is not None and extra is not None:
            v = v + 2 * torch.sigmoid(self.gate(h[..., :32]))[..., None] * extra.view(B, T, HEADS, HEAD_DIM)
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        q, k, v = (z.transpose(1, 2).to(v.dtype) for z in (q, k, v))
        if self.window:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, WIDTH))
        return x + self.down(F.relu(self.up(norm(x))).square())


class Reference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, WIDTH)
        self.layers = nn.ModuleList(Layer(i) for i in range(DEPTH))
        self.head = nn.Linear(WIDTH, VOCAB_SIZE, bias=False)
        self.keep, self.x0 = nn.Parameter(torch.ones(DEPTH)), nn.Parameter(torch.full((DEPTH,), 0.1))
        gated = [str(i) for i, layer in enumerate(self.layers) if layer.gate is not None]
        self.values = nn.ModuleDict({i: nn.Embedding(VOCAB_SIZE, WIDTH) for i in gated})
        angle = torch.outer(torch.arange(MAX_SEQ_LEN), 10000.0 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
        self.register_buffer("cos", angle.cos()[:, None], persistent=False)
        self.register_buffer("sin", angle.sin()[:, None], persistent=False)
        distance = torch.arange(MAX_SEQ_LEN)[:, None] - torch.arange(MAX_SEQ_LEN)
        self.register_buffer("mask", (distance >= 0) & (distance <= MAX_SEQ_LEN // 2), persistent=False)

    @torch.no_grad()
    def init_weights(self) -> None:
        bound = (3 / WIDTH) ** 0.5
        nn.init.normal_(self.embedding.weight)
        nn.init.normal_(self.head.weight, std=0.001)
        for layer in self.layers:
            for f in (layer.q, layer.k, layer.v, layer.up):
                nn.init.uniform_(f.weight, -bound, bound)
            for f in (layer.out, layer.down, *([layer.gate] if layer.gate is not None else [])):
                nn.init.zeros_(f.weight)
        for table in self.values.values():
            nn.init.uniform_(table.weight, -bound, bound)
        for table in (self.embedding, *self.values.values()):
            table.to(torch.bfloat16)

    def forward(self, ids: Tensor) -> Tensor:
        T = ids.size(1)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type != "meta"):
            x = x0 = norm(self.embedding(ids))
            for i, layer in enumerate(self.layers):
                x = self.keep[i] * x + self.x0[i] * x0
                extra = self.values[str(i)](ids) if str(i) in self.values else None
                x = layer(x, extra, self.cos[:T], self.sin[:T], self.mask[:T, :T])
            logits = self.head(norm(x)).float()
        return SOFTCAP * torch.tanh(logits / SOFTCAP)


def build_model() -> Reference:
    model = Reference()
    model.init_weights()
    return model


def adamw(p: Tensor, g: Tensor, m: Tensor, v: Tensor, step: Tensor, lr: Tensor, beta1: Tensor) -> None:
    m.lerp_(g, 1 - beta1)
    v.lerp_(g.square(), 0.05)
    p.sub_(lr / (1 - beta1**step) * m / ((v / (1 - 0.95**step)).sqrt() + 1e-10))


def muon(p: Tensor, g: Tensor, m: Tensor, v: Tensor, momentum: Tensor, lr: Tensor, decay: Tensor) -> None:
    m.lerp_(g, 1 - momentum)
    x = g.lerp(m, momentum).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    tall = x.size(-2) > x.size(-1)
    for a, b, c in POLAR:
        gram = x.mT @ x if tall else x @ x.mT
        poly = b * gram + c * (gram @ gram)
        x = a * x + (x @ poly if tall else poly @ x)
    along = -1 if p.size(-2) >= p.size(-1) else -2
    mean = x.float().square().mean(along, keepdim=True)
    v.lerp_(mean, 0.05)
    scale = v.clamp_min(1e-10).rsqrt()
    before = mean.sum((-2, -1), keepdim=True).sqrt()
    after = (mean * scale.square()).sum((-2, -1), keepdim=True).sqrt().clamp_min(1e-10)
    x = x * (scale * before / after).to(x.dtype)
    p.sub_(lr * x + lr * decay * p * (x * p >= 0))


class Optimizer:
    def __init__(self, model: Reference) -> None:
        scale = (WIDTH / 768) ** -0.5
        self.adam = [(model.head.weight, HEAD_LR * scale, 0.8), (model.embedding.weight, EMBEDDING_LR * scale, 0.8)]
        self.adam += [(table.weight, EMBEDDING_LR * scale, 0.8) for table in model.values.values()]
        self.adam += [(model.keep, 0.01 * SCALAR_LR, 0.8), (model.x0, SCALAR_LR, 0.96)]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p, _, _ in self.adam]
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for p in model.layers.parameters():
            shapes.setdefault(p.shape, []).append(p)
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.seconds = [m.mean(-1 if m.size(-2) >= m.size(-1) else -2, keepdim=True) for m in self.momenta]
        self.adamw, self.muon = (torch.compile(f, dynamic=False) if COMPILE else f for f in (adamw, muon))
        self.steps = 0

    def state(self) -> list[Tensor]:
        own = [p for p, _, _ in self.adam] + [p for group in self.groups for p in group]
        return [*own, *self.momenta, *self.seconds, *(m for pair in self.moments for m in pair)]

    @torch.no_grad()
    def step(self, progress: float) -> None:
        self.steps += 1
        rate = min(1.0, (1 - progress) / WARMDOWN)
        warm = min(self.steps - 1, 300) / 300
        for (p, lr, beta1), (m, v) in zip(self.adam, self.moments, strict=True):
            self.adamw(p, p.grad, m, v, *(torch.tensor(float(x)) for x in (self.steps, lr * rate, beta1)))
            p.grad = None
        for group, m, v in zip(self.groups, self.momenta, self.seconds, strict=True):
            p, g = torch.stack(list(group)), torch.stack([q.grad for q in group])
            lr = rate * MATRIX_LR * max(1.0, p.size(-2) / p.size(-1)) ** 0.5
            settings = (0.85 + 0.1 * warm, lr, WEIGHT_DECAY * (1 - progress))
            self.muon(p, g, m, v, *(torch.tensor(x) for x in settings))
            torch._foreach_copy_(group, list(p.unbind()))
            for q in group:
                q.grad = None


def main() -> None:
    seed_everything()
    torch.set_float32_matmul_precision("high")
    device = pick_device()
    plain = build_model().to(device)
    model = torch.compile(plain, dynamic=False) if COMPILE else plain
    optimizer, parts = Optimizer(plain), BATCH_TOKENS // (MICRO_ROWS * MAX_SEQ_LEN)

    def micro_step(x: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        (loss / parts).backward()
        return loss.detach()

    loader = make_dataloader(MICRO_ROWS, MAX_SEQ_LEN, "train", device)
    for x, y in loader.warmup_batches(3 * COMPILE, optimizer.state()):
        micro_step(x, y)
        optimizer.step(0.0)
    optimizer.steps = step = 0
    loss = torch.tensor(math.nan)
    for part, (x, y, progress) in enumerate(loader, 1):
        loss = micro_step(x, y)
        if part % parts:
            continue
        optimizer.step(progress)
        step += 1
        if SMALL or step % 10 == 0:
            log_step(step=step, progress=progress, loss=loss.item())
            if not loss.item() < 100:
                sys.exit("the loss exploded")
    finish(plain, train_loss=loss.item(), optimizer_steps=step)


if __name__ == "__main__":
    main()
