"""The trainer of the pretrain task: model, optimiser, schedule, loop. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once

A process of its own imports `build_model` from here, loads the saved weights strictly, and calls the model on int64
[B, T] ids; it must return logits [B, T, VOCAB_SIZE], each depending on its own row up to its own place only.

B rows, T tokens of a row, D width of the residual stream, H heads, K width of a head, V vocabulary, N tokens.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable
from typing import Any

# isort: off
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
from prepare import MAX_SEQ_LEN, MAX_WEIGHTS, PROFILE, TIME_BUDGET, VOCAB_SIZE
from prepare import DataLoader, finish, log_step, make_dataloader, seed_everything
# isort: on

import torch
import torch.nn.functional as F
from harness import attention, device
from harness.files import Progress
from harness.text.counts import MOST_TOKENS, SeenText, too_long
from harness.warmup import warmed_up
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters; a range at a comment's end is where the sampler looks
# ------------------------------------------------------------------------------------------------------------

# Model. 0 is: what this device trains best within the budget.
DEPTH = 0  # layers; 0: of SIZES
WIDTH = 0  # D, a multiple of HEAD_DIM; 0: of SIZES
MORE_DEPTH = 0  # layers beyond that; [-1, 6]
MORE_WIDTH = 0  # D beyond that, in units of HEAD_DIM; [-1, 6]
SIZES = ((2, 128), (4, 256), (6, 384), (6, 512), (8, 512), (9, 640), (11, 768))  # (layers, D) to choose from
HEAD_DIM = {"full": 128, "small": 64, "tiny": 64}[PROFILE]  # K; {32, 64, 128}
MLP_RATIO = 4  # hidden width of the MLP / D; [1, 8]
WINDOW_PATTERN = "SSSL"  # attention of the layers in turn, short or long, the last long; {"L", "SL", "SSSL"}
SHORT_WINDOW = 0.125  # short window / T; [0.03, 0.5] log
ROPE_BASE = 10000.0  # longest wavelength of the rotary embedding, in tokens / 2 pi; [300, 300000] log
QK_SCALE = 1.15  # factor on the normalised queries and keys, each; [0.6, 2.2] log
VALUE_EMBEDDINGS = True  # a second embedding, added to the values of every other layer; {True, False}
X0_INIT = 0.05  # part of the embedding that each layer adds to the stream, at the start; [0, 0.3]
BACKOUT_INIT = 0.0  # part of the middle layer's stream taken away before the head, at the start; [0, 0.5]
COPIES = PROFILE == "tiny"  # mix in what followed the same tokens earlier in the row; {True, False}
COPY_LENGTH = 3.0  # a match counts by its length to this power; [0.5, 6]
COPY_AGE = 0.35  # over its distance to this power; [0, 1]
COPY_DOUBT = 2.5  # a match of n tokens takes n / (n + this) of the probability; [0.5, 20] log
COUNTS = {"full": 0, "small": 0, "tiny": 3}[PROFILE]  # mix in what followed the last 2 to so many tokens; {0, 2, 3}
COUNT_DOUBT = 14.0  # followers of a context weigh 1 each, and the network this for each kind of them; [3, 60] log
LOGIT_CAP = {"full": 15.0, "small": 15.0, "tiny": 0.0}[PROFILE]  # smooth limit (Gemma 2), or 0; {0, 8, 15, 30}
INIT_SCALE = 1.0  # factor on the uniform init, whose standard deviation is then D ** -0.5; [0.3, 3] log

# Optimisation
BATCH_ROWS = 0  # rows of one optimiser step; 0: a power of two that gives about STEPS of them in the budget
STEPS = 1200  # twice as many halve the batch; {300, 600, 1200, 2400, 4800}
MATRIX_LR = 0.02  # Muon, matrices of the blocks; the singular values of one update; [0.003, 0.1] log
EMBEDDING_LR = 0.3  # AdamW, at width 768; scaled by (D / 768) ** -0.5; [0.03, 1.5] log
HEAD_LR = 0.004  # AdamW, likewise; [0.0005, 0.03] log
SCALAR_LR = 0.05  # AdamW, the scalars of the layers and the gates of the value embeddings; [0.005, 0.5] log
MOMENTUM = 0.95  # Muon, Nesterov; [0.8, 0.985] log1m
MOMENTUM_START = 0.85  # the same in the first step, rising over MOMENTUM_STEPS; [0.6, 0.95] log1m
MOMENTUM_STEPS = 300  # [20, 2000] log
NORMUON_BETA = 0.95  # Muon, second moment of a neuron; [0.8, 0.99] log1m
ADAM_BETA1 = 0.8  # [0.5, 0.95] log1m
ADAM_BETA2 = 0.95  # [0.8, 0.999] log1m
WEIGHT_DECAY = 0.1  # Muon, times the rate; cautious: only where it does not oppose the update; [0.01, 1] log
EMBEDDING_DECAY = 0.002  # AdamW, value embeddings, times the learning rate; [0.0001, 0.1] log
WARMUP = 0.02  # part of the budget in which the rate rises; [0, 0.2]
WARMDOWN = 0.6  # part of the budget, at its end, in which the rate falls; [0.1, 0.8]
FINAL_LR = 0.05  # rate at the end, in units of the full rate; [0, 0.3]

# Machine
MICRO_ROWS = 0  # rows of one forward pass; 0: as many as fit
COMPILE = None  # True, False, or None: on CUDA, where there is a compiler
MAX_LOSS = 50  # nats a token; more ends the run

# ------------------------------------------------------------------------------------------------------------
# Sizes for this machine and budget
# ------------------------------------------------------------------------------------------------------------


def machine() -> device.Machine:
    return device.machine(COMPILE)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return device.compiled(function, machine().compiles)


def model_size() -> tuple[int, int]:
    """(layers, D). Of SIZES the largest that sees seven tokens a matrix parameter within the budget, near which runs of
    300 s on an H100 were best (karpathy/autoresearch), of which a row fits in memory and the weights in MAX_WEIGHTS."""
    if math.isinf(TIME_BUDGET):
        layers, width = {"full": (9, 640), "small": (6, 384), "tiny": (2, 128)}[PROFILE]
    else:
        able = [(n, d) for n, d in SIZES if d % HEAD_DIM == 0 and weights_bytes((n, d)) <= MAX_WEIGHTS]
        fast = [size for size in able if 42 * matrix_parameters(size) ** 2 <= machine().likely * TIME_BUDGET]
        layers, width = ([s for s in fast if memory_bytes(1, True, s) <= 0.9 * machine().memory] or able[:1])[-1]
    return max(1, (DEPTH or layers) + MORE_DEPTH), max(HEAD_DIM, (WIDTH or width) + MORE_WIDTH * HEAD_DIM)


def matrix_parameters(size: tuple[int, int]) -> int:
    return size[0] * (4 + 2 * MLP_RATIO) * size[1] ** 2


def weights_bytes(size: tuple[int, int]) -> int:
    tables = (2 + VALUE_EMBEDDINGS * ((size[0] + 1) // 2)) * VOCAB_SIZE * size[1]
    return 4 * (matrix_parameters(size) + tables + (COUNTS > 0) * max(MOST_TOKENS, MAX_SEQ_LEN))


def flops_of_token(size: tuple[int, int]) -> float:
    """Floating-point operations of training on one token, attention within its windows included."""
    attended = sum(window * (1 - window / (2 * MAX_SEQ_LEN)) for window in windows(size[0]))
    return 6 * (matrix_parameters(size) + VOCAB_SIZE * size[1]) + 12 * size[1] * attended


def batch_rows() -> int:
    """Rows of one optimiser step."""
    if BATCH_ROWS:
        return BATCH_ROWS
    if math.isinf(TIME_BUDGET):  # then these rows are those of 1200 steps
        rows = {"full": 128, "small": 64, "tiny": 8}[PROFILE]
    else:
        rows = machine().likely * TIME_BUDGET / flops_of_token(model_size()) / MAX_SEQ_LEN / 1200
    return int(2 ** max(0, min(8, max(2, round(math.log2(rows)))) + round(math.log2(1200 / STEPS))))


def memory_bytes(rows: int, checkpoint: bool, size: tuple[int, int]) -> float:
    """An estimate of what training takes with `rows` rows in a forward pass, in bytes; leans to too much."""
    (layers, width), own, tables = size, machine(), 2 + VALUE_EMBEDDINGS * ((size[0] + 1) // 2)
    state = matrix_parameters(size) * (18 if own.compiles else 26) + VOCAB_SIZE * width * tables * 16  # and moments
    item, half = torch.finfo(own.dtype).bits // 8, own.dtype != torch.float32
    # What backward needs of a token, in widths: stream and norms, in 32 bits beside products in 16; the rest
    stream, products = ((3.5, 8) if own.compiles else (6, 5)) if half else (0, 12)
    scores = MAX_SEQ_LEN * width // HEAD_DIM * (attention.attention_paths(own, MAX_SEQ_LEN) == ["written_out"])
    layer = (4 * stream + item * (products + 2 * MLP_RATIO)) * width + item * scores
    kept = (layer + 8 * width * layers if checkpoint else layer * layers) + layer / 2
    kept += 32 * scores + 12 * width + COPIES * 24 * MAX_SEQ_LEN  # on the way back, at the head; matches
    holes, process = (1.25, 5 * 2**27) if own.device.type == "cpu" else (1, 2**29)  # of the heap; torch itself
    return state + rows * MAX_SEQ_LEN * kept * holes + min(rows * MAX_SEQ_LEN, loss_chunk()) * VOCAB_SIZE * 14 + process


def loss_chunk() -> int:
    """Tokens whose logits are in memory at a time."""
    return max(64, (2**20 if machine().device.type == "cpu" else 2**26) // VOCAB_SIZE)


def windows(layers: int) -> list[int]:
    """The window of each layer, in tokens; all long where a GPU has SDPA alone: a mask costs it more than it saves."""
    masked = attention.attention_paths(machine(), MAX_SEQ_LEN) == ["sdpa"]
    short = MAX_SEQ_LEN if masked else max(1, round(SHORT_WINDOW * MAX_SEQ_LEN))
    kinds = [WINDOW_PATTERN[i % len(WINDOW_PATTERN)] for i in range(layers - 1)] + ["L"]
    return [short if kind == "S" else MAX_SEQ_LEN for kind in kinds]


# ------------------------------------------------------------------------------------------------------------
# Model
# ------------------------------------------------------------------------------------------------------------


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without parameters."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) of x [B, T, ..., K] by angles [T, 1, 1, K / 2]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def copies(ids: Tensor, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What followed the same tokens earlier in the row: int64 [B, T] -> probabilities [B, T, T], which sum to less than
    1, and their tokens; with `places` those `at` them, [B, T]. The match model of compressors (PAQ; Mahoney, 2005), or
    an induction head without parameters (Olsson et al., 2022)."""
    T = ids.size(1)
    seen = F.pad(ids, (T, 0), value=-1).unfold(1, T + 1, 1)[:, :T]  # [B, T, T + 1]: the tokens up to each place
    place = torch.arange(T, dtype=torch.int16, device=ids.device)[:, None]
    last = torch.where(seen[..., :-1] == ids[..., None], -1, place)  # where the two differed: here, then at the latest
    last = last.cummax(1).values if places is None else last.masked_fill(place > places[:, None, None], -1).amax(1)
    seen, place = (seen, place) if places is None else (at(seen, places), places[:, None])
    length = (place - last).float()  # of the match that ends so many places before: T, ..., 2, 1
    weight = length.sign() * length**COPY_LENGTH * torch.arange(T, 0, -1, device=ids.device) ** -COPY_AGE
    longest = length.amax(-1, keepdim=True)
    share = longest / (longest + COPY_DOUBT) / weight.sum(-1, keepdim=True).clamp(min=1e-9)
    return weight * share, seen[..., 1:]


def at(x: Tensor, places: Tensor | None) -> Tensor:
    """x [B, T, ...] at one place of each row, [B, ...]; all of it without places."""
    return x if places is None else x[torch.arange(len(x), device=x.device), places]


class Block(nn.Module):
    """Attention, then an MLP with squared ReLU (So et al., 2021), each on the normalised residual stream."""

    def __init__(self, width: int, value_embedding: bool) -> None:
        super().__init__()
        self.qkv = nn.Parameter(torch.empty(3, width, width))  # three matrices to the optimiser, one to the product
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, MLP_RATIO * width, bias=False)
        self.down = nn.Linear(MLP_RATIO * width, width, bias=False)
        if value_embedding:  # after ResFormer (Zhou et al., 2024), gated by head
            self.values = nn.Embedding(VOCAB_SIZE, width)
            self.gate = nn.Linear(32, width // HEAD_DIM, bias=False)

    def forward(self, x: Tensor, ids: Tensor, turn: tuple[Tensor, Tensor], attend: tuple[Any, ...]) -> Tensor:
        """x [B, T, D] -> [B, T, D]; `turn` is cosine and sine, `attend` a path of attention.PATHS, a window, its needs,
        and places or None: with them only these are gone on with, [B, D]."""
        B, T, D = x.shape
        h = norm(x)
        qkv = F.linear(h, self.qkv.flatten(0, 1)).view(B, T, 3, D // HEAD_DIM, HEAD_DIM)
        q, k = rotate(norm(qkv[:, :, :2]), *turn).to(qkv.dtype).unbind(2)  # [B, T, H, K]
        v = qkv[:, :, 2]
        if hasattr(self, "values"):
            gate = 2 * torch.sigmoid(self.gate(h[..., :32]))[..., None]  # [B, T, H, 1]
            v = v + (gate * self.values(ids).view_as(v)).to(v.dtype)
        path, window, needs, places = attend
        x = at(x + self.out(path(q, k, v, window, needs).reshape(B, T, D)), places)
        return x + self.down(F.relu(self.up(norm(x))).square())


class GPT(nn.Module):
    """Decoder-only transformer with an untied head."""

    checkpoint = False  # recompute blocks in the backward pass

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        with_values = [VALUE_EMBEDDINGS and i % 2 == (layers - 1) % 2 for i in range(layers)]
        self.embedding = nn.Embedding(VOCAB_SIZE, width)
        self.blocks = nn.ModuleList(Block(width, own) for own in with_values)
        self.head = nn.Linear(width, VOCAB_SIZE, bias=False)
        self.windows = windows(layers)
        self.keep = nn.Parameter(torch.ones(layers))  # factor on the stream, by layer
        self.x0 = nn.Parameter(torch.full((layers,), X0_INIT))  # factor on the embedding added to it
        self.backout = nn.Parameter(torch.tensor(BACKOUT_INIT))
        frequency = ROPE_BASE ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angle = torch.outer(torch.arange(MAX_SEQ_LEN), frequency)[:, None, None]  # [T, 1, 1, K / 2]
        self.register_buffer("cos", QK_SCALE * angle.cos(), persistent=False)
        self.register_buffer("sin", QK_SCALE * angle.sin(), persistent=False)
        self.seen = SeenText(MAX_SEQ_LEN, VOCAB_SIZE, COUNTS)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Uniform matrices of standard deviation D ** -0.5; what writes to the stream starts at 0."""
        bound = INIT_SCALE * (3 / self.embedding.embedding_dim) ** 0.5
        nn.init.normal_(self.embedding.weight)
        nn.init.normal_(self.head.weight, std=0.001)
        for block in self.blocks:
            nn.init.uniform_(block.qkv, -bound, bound)
            nn.init.uniform_(block.up.weight, -bound, bound)
            for layer in (block.out, block.down):
                nn.init.zeros_(layer.weight)
            if hasattr(block, "values"):
                nn.init.uniform_(block.values.weight, -bound, bound)
                nn.init.zeros_(block.gate.weight)

    def trunk(self, ids: Tensor, path: Callable[..., Tensor], needs: list[Any], places: Tensor | None) -> Tensor:
        """int64 [B, T] -> [B, T, D], what the head reads; with `places` [B, D], and no more than that takes."""
        turn = self.cos[: ids.size(1)], self.sin[: ids.size(1)]
        x = x0 = norm(self.embedding(ids))  # [B, T, D]
        for i, block in enumerate(self.blocks):
            x = self.keep[i] * x + self.x0[i] * x0
            wanted = places if i + 1 == len(self.blocks) else None
            arguments = (x, ids, turn, (path, self.windows[i], needs[i], wanted))
            x = checkpoint(block, *arguments, use_reentrant=False) if self.checkpoint else block(*arguments)
            if i == len(self.blocks) // 2:
                middle = x if x.dim() == 2 else at(x, places)
        return norm(x - self.backout * middle)

    def features(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """The trunk with the attention and the precision of this machine, compiled when training where that pays."""
        own, meta = machine(), ids.device.type == "meta"  # on the meta device the evaluator counts FLOPs
        path, needs = attention.PATHS["sdpa" if meta else attention.choose_attention(own, MAX_SEQ_LEN, HEAD_DIM)]
        made = [needs(*ids.shape, window, ids.device) for window in self.windows]
        trunk = compiled(GPT.trunk) if self.training and not meta else GPT.trunk
        with torch.autocast(own.device.type, own.dtype, enabled=own.half(self.training)):
            return trunk(self, ids, path, made, places)

    def forward(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]; with `places`, int64 [B], those at one place of each row, [B, V]."""
        own, h = machine(), self.features(ids, places)
        with torch.autocast(own.device.type, own.dtype, enabled=own.half(self.training)):
            logits = self.head(h).float()
        logits = LOGIT_CAP * torch.tanh(logits / LOGIT_CAP) if LOGIT_CAP else logits
        if not (COPIES or COUNTS) or ids.device.type == "meta":
            return logits
        p = self.seen.mixed(logits.softmax(-1), ids, places, COUNT_DOUBT)
        if COPIES:
            copied, tokens = copies(ids, places)
            p = (p * (1 - copied.sum(-1, keepdim=True))).scatter_add_(-1, tokens.clamp(min=0), copied)
        return p.clamp(min=1e-30).log()


def build_model() -> GPT:
    """The model with fresh weights, on the CPU; the evaluator calls this as well."""
    check_constants()
    model = GPT(*model_size())
    model.init_weights()
    return model


def check_constants() -> None:
    """Exit with one line when constants do not go together."""
    wrong = too_long(VOCAB_SIZE, COUNTS)
    if HEAD_DIM % 2 or HEAD_DIM < 2:
        wrong = f"HEAD_DIM = {HEAD_DIM} must be even, since rotary embeddings turn pairs, such as 64"
    elif min(DEPTH, WIDTH, BATCH_ROWS, MICRO_ROWS) < 0:
        wrong = "DEPTH, WIDTH, BATCH_ROWS and MICRO_ROWS must not be negative; 0 chooses for this machine"
    elif WIDTH % HEAD_DIM or not any(width % HEAD_DIM == 0 for _, width in SIZES):
        near = max(1, round(WIDTH / HEAD_DIM)) * HEAD_DIM
        wrong = f"WIDTH = {WIDTH} must be a multiple of HEAD_DIM = {HEAD_DIM}, such as {near}; so must one of SIZES"
    elif not WINDOW_PATTERN or set(WINDOW_PATTERN) - set("SL") or not 0 < SHORT_WINDOW <= 1:
        wrong = f"WINDOW_PATTERN = {WINDOW_PATTERN!r} must be letters S and L, such as 'SSSL', SHORT_WINDOW in (0, 1]"
    elif MICRO_ROWS and batch_rows() % MICRO_ROWS:
        fitting = [rows for rows in range(1, batch_rows() + 1) if batch_rows() % rows == 0]
        wrong = f"MICRO_ROWS = {MICRO_ROWS} must divide the {batch_rows()} rows of a batch: one of {fitting}, or 0"
    elif min(WARMUP, WARMDOWN) < 0 or WARMUP + WARMDOWN > 1:
        wrong = f"WARMUP + WARMDOWN = {WARMUP + WARMDOWN:g}: each must be at least 0, and the sum at most 1"
    elif VALUE_EMBEDDINGS and model_size()[1] < 32:
        wrong = f"VALUE_EMBEDDINGS need a width of 32 or more, and this one is {model_size()[1]}; set it to False"
    if wrong:
        raise SystemExit(f"error: train.py: {wrong}")


# ------------------------------------------------------------------------------------------------------------
# Loss and optimiser
# ------------------------------------------------------------------------------------------------------------


def loss_part(
    h: Tensor, w: Tensor, y: Tensor, cap: Tensor | None, stay: Tensor | None = None, copied: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(summed cross-entropy, gradient of h, gradient of w) of a chunk: h [N, D], w [V, D], y [N]; with copies `stay`
    [N] is what they leave of the probability and `copied` [N] what they give to y, both as logarithms."""
    z, y = h @ w.mT, y[:, None]  # [N, V], [N, 1]
    if cap is not None:
        z = cap * torch.tanh(z.float() / cap)
    log_p = z.log_softmax(-1, dtype=torch.float32)
    own = log_p.gather(-1, y)  # [N, 1]
    slope = log_p.exp_().scatter_add_(-1, y, -torch.ones_like(y, dtype=torch.float32))
    if stay is not None and copied is not None:
        ours = own + stay[:, None]
        own = torch.logaddexp(ours, copied[:, None])
        slope = slope * (ours - own).exp()  # what is copied already need not be learned
    if cap is not None:
        slope = slope * (1 - (z / cap).square())
    slope = slope.to(h.dtype)
    return -own.sum(), slope @ w, slope.mT @ h


class ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy of softcapped logits that are never all in memory: loss and gradients of each chunk of tokens
    are computed together (the idea of Liger Kernel, Hsu et al., 2024)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, y: Tensor, *mixed: Tensor) -> Tensor:
        """h [N, D], weight [V, D], y int64 [N], and both [N] of loss_part or nothing -> []; gradients come with it."""
        cap = torch.tensor(float(LOGIT_CAP)) if LOGIT_CAP else None
        h = h.to(machine().dtype)
        w, part, size = weight.to(h.dtype), compiled(loss_part), loss_chunk()
        grad_h, grad_w, total = torch.empty_like(h), torch.zeros_like(weight), torch.zeros((), device=h.device)
        for start in range(0, len(y), size):
            at = slice(start, start + size)
            loss, grad_h[at], own = part(h[at], w, y[at], cap, *(each[at] for each in mixed))
            grad_w += own
            total += loss
        ctx.save_for_backward(grad_h, grad_w)
        return total / len(y)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        grad_h, grad_w = ctx.saved_tensors
        factor = upstream / len(grad_h)
        return grad_h.float() * factor, grad_w * factor, *[None] * (len(ctx.needs_input_grad) - 2)


# Polar Express (Amsel et al., 2025): the quintics that bring singular values from [0.001, 1] to near 1 in five steps.
POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(g: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest semi-orthogonal matrix of each g [N, R, C], roughly: all singular values near 1. Products are in
    `dtype`, which is given and not asked for here: a cached function would break the compiled graph in two."""
    x = g.to(dtype)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for a, b, c in POLAR:
        s = x @ x.mT
        s = torch.baddbmm(s, s, s, beta=b, alpha=c)
        x = torch.baddbmm(x, s, x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


def muon(
    p: Tensor, g: Tensor, momentum: Tensor, second: Tensor, lr: Tensor, settings: list[Tensor], dtype: torch.dtype
) -> Tensor:
    """New matrices [N, R, C]: Muon (Jordan, 2024) with NorMuon's variance by neuron (Li et al., 2025), at unchanged
    norm of the update, and cautious decay (Chen et al., 2025). `momentum` and `second` change in place.

    `settings` are momentum, beta of the variance and weight decay, as tensors, so that a change compiles nothing; each
    is one of its own, since of tensors on the CPU a compiled kernel takes only those without dimensions.
    """
    beta, beta2, decay = settings
    momentum.lerp_(g, 1 - beta)
    update = orthogonalize(g.lerp(momentum, beta), dtype)
    mean = update.square().mean(dim=-1 if p.size(-2) >= p.size(-1) else -2, keepdim=True)  # [N, R, 1] or [N, 1, C]
    second.lerp_(mean, 1 - beta2)
    scale = (second + 1e-10).rsqrt()
    before, after = (x.sum(dim=(-2, -1), keepdim=True) + 1e-10 for x in (mean, mean * scale.square()))
    update = update * (scale * (before / after).sqrt())
    step = lr * max(1.0, p.size(-2) / p.size(-1)) ** 0.5
    return p - step * update - lr * decay * p * (update * p >= 0)


class Optimizer:
    """Muon for the matrices of the blocks, AdamW (Loshchilov & Hutter, 2019) for the rest.

    Matrices of one shape are updated as one batch. Written out here, since torch.optim imports the compiler, which
    takes seconds on a CPU.
    """

    def __init__(self, model: GPT) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for block in model.blocks:
            for p in (block.qkv, block.out.weight, block.up.weight, block.down.weight):
                shapes.setdefault(p.shape[-2:], []).append(p)
        self.matrices = list(shapes.values())
        stacks = [stacked(group) for group in self.matrices]
        self.momenta = [torch.zeros_like(stack) for stack in stacks]
        self.seconds = [torch.zeros_like(s.mean(-1 if s.size(-2) >= s.size(-1) else -2, keepdim=True)) for s in stacks]
        scale = (model.embedding.embedding_dim / 768) ** -0.5
        valued = [block for block in model.blocks if hasattr(block, "values")]
        values = [block.values.weight for block in valued]
        scalars = [model.keep, model.x0, model.backout]
        scalars += [block.gate.weight for block in valued]
        groups = [
            ([model.embedding.weight], EMBEDDING_LR * scale, 0.0),
            ([model.head.weight], HEAD_LR * scale, 0.0),
            (values, EMBEDDING_LR * scale, EMBEDDING_DECAY),
            (scalars, SCALAR_LR, 0.0),
        ]
        self.groups = [group for group in groups if group[0]]  # parameters, learning rate, decay
        self.others = [p for group, _, _ in self.groups for p in group]
        self.moments = {p: (torch.zeros_like(p), torch.zeros_like(p), p.new_zeros(())) for p in self.others}
        self.parameters = [p for group in self.matrices for p in group] + self.others
        self.steps, self.good_steps = 0, 0
        self.scale = 2.0**14 if machine().dtype == torch.float16 else 1.0  # of the loss, for small gradients in fp16

    def state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        return [*self.parameters, *self.momenta, *self.seconds, *(x for own in self.moments.values() for x in own)]

    @torch.no_grad()
    def step(self, rate: float) -> Tensor:
        """One update with all learning rates multiplied by `rate`; clears the gradients and returns their norm, []."""
        gradients = [p.grad for p in self.parameters]
        size = torch.stack(torch._foreach_norm(gradients)).norm() / self.scale
        if machine().dtype != torch.float16 or self.unscale(gradients, bool(size.isfinite())):
            self.steps += 1
            warm = min(1.0, self.steps / MOMENTUM_STEPS)
            momentum = MOMENTUM_START + warm * (MOMENTUM - MOMENTUM_START)
            dtype = torch.bfloat16 if machine().dtype == torch.bfloat16 else torch.float32
            settings = [torch.tensor(value) for value in (momentum, NORMUON_BETA, WEIGHT_DECAY)]
            for group, first, second in zip(self.matrices, self.momenta, self.seconds, strict=True):
                g = stacked([p.grad for p in group])
                new = compiled(muon)(stacked(group), g, first, second, torch.tensor(rate * MATRIX_LR), settings, dtype)
                parts = new.split([p.shape[:-2].numel() for p in group])
                torch._foreach_copy_(group, [part.view_as(p) for p, part in zip(group, parts, strict=True)])
            for group, lr, decay in self.groups:
                first, second, steps = zip(*(self.moments[p] for p in group), strict=True)
                torch._foreach_add_(steps, 1)
                torch._fused_adamw_(group, [p.grad for p in group], first, second, [], steps, lr=rate * lr,
                                    beta1=ADAM_BETA1, beta2=ADAM_BETA2, weight_decay=decay, eps=1e-10,
                                    amsgrad=False, maximize=False)  # fmt: skip
        self.clear_gradients()
        return size

    def clear_gradients(self) -> None:
        for p in self.parameters:
            p.grad = None

    def unscale(self, gradients: list[Tensor], finite: bool) -> bool:
        """Undo the scale of fp16; it is halved after an overflow, doubled after 500 good steps. Returns `finite`."""
        if finite:
            torch._foreach_div_(gradients, self.scale)
        self.good_steps = self.good_steps + 1 if finite else 0
        self.scale = max(1.0, self.scale / 2) if not finite else self.scale * (1 + (self.good_steps % 500 == 0))
        return finite


def stacked(tensors: list[Tensor]) -> Tensor:
    """Matrices [..., R, C] -> one batch [N, R, C]."""
    return torch.cat([x.view(-1, *x.shape[-2:]) for x in tensors])


def rate_at(progress: float) -> float:
    """Learning rate, in units of the full rate, when `progress` of the budget is spent."""
    if progress < WARMUP:
        return max(progress, 0.1 * WARMUP) / WARMUP
    fall = min(1.0, (1.0 - progress) / WARMDOWN) if WARMDOWN else 1.0
    return FINAL_LR + (1.0 - FINAL_LR) * fall


# ------------------------------------------------------------------------------------------------------------
# Training
# ------------------------------------------------------------------------------------------------------------


def train_step(model: GPT, optimizer: Optimizer, x: Tensor, y: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Forward and backward of one micro-batch, int64 [B, T], of `parts`: (mean loss [], what the head reads [N, D])."""
    features = model.features(x).flatten(0, 1)
    mixed = []
    if COPIES:
        copied, tokens = copies(x)
        mixed = [torch.log1p(-copied.sum(-1)).flatten(), (copied * (tokens == y[..., None])).sum(-1).log().flatten()]
    loss = ChunkedLoss.apply(features, model.head.weight, y.flatten(), *mixed)
    (loss * (optimizer.scale / parts)).backward()
    return loss.detach(), features.detach()


def fitting_loader(model: GPT, optimizer: Optimizer) -> tuple[DataLoader, int, bool]:
    """(loader, micro-batches of a step, whether graphs are compiled), after some steps on random tokens on a GPU."""
    own, total = machine(), batch_rows()
    rows, model.checkpoint = device.fit(lambda *how: memory_bytes(*how, model_size()), own.memory, total)
    count = 3 if own.compiles or own.device.type != "cpu" else 0

    def make(rows: int) -> DataLoader:
        return make_dataloader(rows, MAX_SEQ_LEN, "train", own.device)

    def steps(loader: DataLoader) -> None:
        for x, y in loader.warmup_batches(count, optimizer.state()):
            train_step(model, optimizer, x, y, 1)
            optimizer.step(0.0)
        optimizer.steps = optimizer.good_steps = 0

    return warmed_up(make, steps, optimizer.clear_gradients, MICRO_ROWS or rows, total, own)


def main() -> None:
    seed_everything()
    own = machine()
    device.prepare_device(own)
    model = build_model().to(own.device)
    optimizer = Optimizer(model)
    (layers, width), weights = model_size(), sum(p.numel() for p in model.parameters()) / 1e6
    print(f"model     {layers} layers x {width}, {weights:.2f} M parameters, on {own.device.type}", flush=True)
    loader, parts, compiles = fitting_loader(model, optimizer)
    how = [str(own.dtype)[6:], "compiled" if compiles else "eager", *["checkpointed"] * model.checkpoint]
    path = attention.choose_attention(own, MAX_SEQ_LEN, HEAD_DIM)
    print(f"batch     {batch_rows()} rows in {parts} parts; attention {path}; {', '.join(how)}", flush=True)
    shown, step, mean, begun = Progress("step"), 0, math.nan, time.monotonic()
    tokens, flops = batch_rows() * MAX_SEQ_LEN, flops_of_token((layers, width))
    check_every = 1 if own.device.type == "cpu" else 10  # reading the loss waits for the device
    gc.freeze()  # the collector need not look again at what stays
    for part, (x, y, progress) in enumerate(loader, 1):
        loss, features = train_step(model, optimizer, x, y, parts)
        model.seen.remember(x)
        if part % parts:
            continue
        rate = rate_at(progress)
        gradient = optimizer.step(rate)
        step += 1
        if step % check_every:
            continue
        value, speed = loss.item(), step * tokens / (time.monotonic() - begun)
        if not value <= MAX_LOSS:
            sys.exit(f"the loss is {value} at step {step}: stopping")
        mean = value if math.isnan(mean) else 0.9 * mean + 0.1 * value
        memory = torch.cuda.max_memory_allocated() / 2**20 if own.device.type == "cuda" else 0.0
        activation = features.float().square().mean().sqrt().item()
        log_step(step=step, tokens=step * tokens, progress=progress, loss=value, rate=rate, gradient=gradient.item(),
                 activation=activation, tokens_per_s=speed, memory_mb=memory)  # fmt: skip
        shown.update(f"{step:6d}  {100 * progress:5.1f} %  loss {mean:.4f}  {speed / 1e3:.1f} k tokens/s")
    speed = step * tokens / (time.monotonic() - begun)
    mfu = {"mfu_percent": 100 * flops * speed / own.peak} if own.peak else {}
    estimate = memory_bytes(loader.batch_size, model.checkpoint, (layers, width)) / 2**20
    finish(model, train_loss=mean, optimizer_steps=step, tokens_per_s=speed, estimated_memory_mb=estimate, **mfu)


if __name__ == "__main__":
    main()
