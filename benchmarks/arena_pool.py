"""The pool of the arena: real edits of the pretrain task's train.py, each with its family and what kind it is.

    python benchmarks/arena_pool.py > benchmarks/edits/arena.jsonl

Kinds: `nothing` (no effect but another draw of the luck: other numbers drawn before the weights, weights drawn in
another order, code that says the same, constants of other machines), `knob` (a constant moved within its range),
`structure` (ten of `edits/pretrain.jsonl`, and others by hand) and `crash`. An edit is a list of replacements of text
that stands in the file exactly once, as `run --agent replay:FILE` takes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TRAIN = HERE.parent / "assets" / "tasks" / "pretrain" / "train.py"

KNOBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "MORE_DEPTH": ("size", ("1", "2")),
    "MORE_WIDTH": ("size", ("-1", "1", "2")),
    "MLP_RATIO": ("mlp", ("1", "3", "6")),
    "WINDOW_PATTERN": ("attention", ('"SL"',)),
    "SHORT_WINDOW": ("attention", ("0.03", "0.25", "0.5")),
    "ROPE_BASE": ("attention", ("500.0", "3000.0", "100000.0")),
    "QK_SCALE": ("attention", ("0.7", "0.95", "1.6")),
    "VALUE_EMBEDDINGS": ("embedding", ("False",)),
    "X0_INIT": ("normalisation", ("0.0", "0.2")),
    "BACKOUT_INIT": ("normalisation", ("0.2",)),
    "COPY_LENGTH": ("embedding", ("1.0", "2.0", "5.0")),
    "COPY_AGE": ("embedding", ("0.0", "0.8")),
    "COPY_DOUBT": ("embedding", ("1.0", "8.0")),
    "INIT_SCALE": ("initialisation", ("0.5", "1.5", "2.5")),
    "STEPS": ("batch", ("600", "4800")),
    "MATRIX_LR": ("learning rate", ("0.005", "0.01", "0.03", "0.06")),
    "EMBEDDING_LR": ("learning rate", ("0.08", "0.6", "1.2")),
    "HEAD_LR": ("learning rate", ("0.001", "0.008", "0.02")),
    "SCALAR_LR": ("learning rate", ("0.01", "0.2")),
    "MOMENTUM": ("optimiser", ("0.85", "0.97")),
    "MOMENTUM_STEPS": ("optimiser", ("50", "1000")),
    "NORMUON_BETA": ("optimiser", ("0.85", "0.98")),
    "ADAM_BETA1": ("optimiser", ("0.6", "0.9")),
    "ADAM_BETA2": ("optimiser", ("0.9", "0.99")),
    "WEIGHT_DECAY": ("optimiser", ("0.02", "0.4")),
    "EMBEDDING_DECAY": ("optimiser", ("0.0005", "0.05")),
    "WARMUP": ("schedule", ("0.0", "0.1")),
    "WARMDOWN": ("schedule", ("0.3", "0.8")),
    "FINAL_LR": ("schedule", ("0.0", "0.2")),
}
"""Constant -> its family, and what it is moved to."""

STRUCTURE = (
    ("mlp", "GELU in place of the squared ReLU", "F.relu(self.up(norm(x))).square()", "F.gelu(self.up(norm(x)))"),
    ("mlp", "SiLU in place of the squared ReLU", "F.relu(self.up(norm(x))).square()", "F.silu(self.up(norm(x)))"),
    ("mlp", "ReLU without the square", "F.relu(self.up(norm(x))).square()", "F.relu(self.up(norm(x)))"),
    ("mlp", "the MLP beside the attention, on the same input (parallel blocks)",
     "        return x + self.down(F.relu(self.up(norm(x))).square())",
     "        return x + self.down(F.relu(self.up(at(h, places))).square())"),
    ("attention", "queries and keys are not normalised", "rotate(norm(qkv[:, :, :2]), *turn)",
     "rotate(qkv[:, :, :2], *turn)"),
    ("attention", "no rotary embedding", "q, k = rotate(norm(qkv[:, :, :2]), *turn).to(qkv.dtype)",
     "q, k = norm(qkv[:, :, :2]).to(qkv.dtype)"),
    ("embedding", "the gate of the value embeddings is at most 1", "gate = 2 * torch.sigmoid(",
     "gate = torch.sigmoid("),
    ("normalisation", "the embedding is not normalised", "x = x0 = norm(self.embedding(ids))",
     "x = x0 = self.embedding(ids)"),
    ("normalisation", "no norm before the head", "return norm(x - self.backout * middle)",
     "return x - self.backout * middle"),
    ("initialisation", "what writes to the stream begins as the other matrices do", "nn.init.zeros_(layer.weight)",
     "nn.init.uniform_(layer.weight, -bound, bound)"),
    ("initialisation", "a head of larger weights", "nn.init.normal_(self.head.weight, std=0.001)",
     "nn.init.normal_(self.head.weight, std=0.02)"),
    ("optimiser", "Muon without the variance by neuron",
     "    update = update * (scale * (before / after).sqrt())\n", ""),
    ("optimiser", "momentum without Nesterov", "orthogonalize(g.lerp(momentum, beta), dtype)",
     "orthogonalize(momentum, dtype)"),
    ("optimiser", "decay also where it opposes the update", " - lr * decay * p * (update * p >= 0)",
     " - lr * decay * p"),
    ("optimiser", "three steps of Polar Express", "for a, b, c in POLAR:", "for a, b, c in POLAR[:3]:"),
    ("optimiser", "gradients clipped at norm 1", "        if machine().dtype != torch.float16 or self.unscale(",
     "        torch._foreach_mul_(gradients, float((1 / (size + 1e-6)).clamp(max=1)))\n"
     "        if machine().dtype != torch.float16 or self.unscale("),
    ("schedule", "the rate falls as a cosine", "    return FINAL_LR + (1.0 - FINAL_LR) * fall\n",
     "    fall = 0.5 - 0.5 * math.cos(math.pi * fall)\n    return FINAL_LR + (1.0 - FINAL_LR) * fall\n"),
    ("schedule", "the rate falls as one minus a root", "    return FINAL_LR + (1.0 - FINAL_LR) * fall\n",
     "    fall = 1 - math.sqrt(1 - fall)\n    return FINAL_LR + (1.0 - FINAL_LR) * fall\n"),
)  # fmt: skip
"""Family, description, and one replacement."""

CRASH = (
    ("attention", "heads of 63", '"tiny": 64}[PROFILE]  # K', '"tiny": 63}[PROFILE]  # K'),
    ("schedule", "half of the budget to warm up", "WARMUP = 0.02 ", "WARMUP = 0.5 "),
    ("batch", "three rows at a time", "MICRO_ROWS = 0 ", "MICRO_ROWS = 3 "),
    ("normalisation", "a name that torch does not have", "return F.rms_norm(x, (x.size(-1),))",
     "return F.root_mean_square(x, (x.size(-1),))"),
    ("mlp", "an output of the wrong size", "self.down = nn.Linear(MLP_RATIO * width, width, bias=False)",
     "self.down = nn.Linear(MLP_RATIO * width, width + 1, bias=False)"),
    ("normalisation", "the embedding is added nowhere, and its factor has no gradient",
     "x = self.keep[i] * x + self.x0[i] * x0", "x = self.keep[i] * x"),
    ("learning rate", "a rate at which the loss explodes", "HEAD_LR = 0.004 ", "HEAD_LR = 4000.0 "),
    ("speed", "the model is never handed over", "    finish(model, train_loss=mean,", "    dict(train_loss=mean,"),
    ("data", "a split that there is not", 'make_dataloader(rows, MAX_SEQ_LEN, "train", own.device)',
     'make_dataloader(rows, MAX_SEQ_LEN, "search", own.device)'),
)  # fmt: skip

REORDERED = (
    ("the head is drawn before the embedding",
     "        nn.init.normal_(self.embedding.weight)\n        nn.init.normal_(self.head.weight, std=0.001)\n",
     "        nn.init.normal_(self.head.weight, std=0.001)\n        nn.init.normal_(self.embedding.weight)\n"),
    ("the blocks are drawn from the last to the first",
     "        for block in self.blocks:\n            nn.init.uniform_",
     "        for block in reversed(self.blocks):\n            nn.init.uniform_"),
    ("the MLP is drawn before the attention",
     "            nn.init.uniform_(block.qkv, -bound, bound)\n"
     "            nn.init.uniform_(block.up.weight, -bound, bound)\n",
     "            nn.init.uniform_(block.up.weight, -bound, bound)\n"
     "            nn.init.uniform_(block.qkv, -bound, bound)\n"),
    ("the three matrices of attention are drawn one by one", "            nn.init.uniform_(block.qkv, -bound, bound)\n",
     "            for matrix in block.qkv:\n                nn.init.uniform_(matrix, -bound, bound)\n"),
    ("the weights are drawn with the next seed", "    model = build_model().to(own.device)\n",
     "    torch.manual_seed(torch.initial_seed() + 1)\n    model = build_model().to(own.device)\n"),
)  # fmt: skip
DRAWN = range(1, 25)
"""Numbers drawn before the weights, an edit for each."""

SAME = (
    ("a branch in place of a conditional expression", "    x = x.mT if tall else x\n",
     "    if tall:\n        x = x.mT\n"),
    ("a name for the first rate", "        return max(progress, 0.1 * WARMUP) / WARMUP\n",
     "        first = 0.1 * WARMUP\n        return max(progress, first) / WARMUP\n"),
    ("a name for what a layer has", "    return size[0] * (4 + 2 * MLP_RATIO) * size[1] ** 2\n",
     "    of_layer = (4 + 2 * MLP_RATIO) * size[1] ** 2\n    return size[0] * of_layer\n"),
    ("a larger loss is allowed", "MAX_LOSS = 50 ", "MAX_LOSS = 60 "),
    ("two assignments in place of one",
     "    tokens, flops = batch_rows() * MAX_SEQ_LEN, flops_of_token((layers, width))\n",
     "    tokens = batch_rows() * MAX_SEQ_LEN\n    flops = flops_of_token((layers, width))\n"),
    ("the line of progress is shorter", "{speed / 1e3:.1f} k tokens/s\")\n", "{speed / 1e3:.0f} k/s\")\n"),
    ("the curve has no activations", " gradient=gradient.item(),\n                 activation=activation,",
     " gradient=gradient.item(),\n                "),
    ("a larger model to choose from", "(11, 768))  # (layers", "(11, 768), (13, 896))  # (layers"),
    ("smaller heads on a large GPU", "HEAD_DIM = {\"full\": 128,", "HEAD_DIM = {\"full\": 64,"),
    ("another limit of logits on a large GPU", "LOGIT_CAP = {\"full\": 15.0,", "LOGIT_CAP = {\"full\": 20.0,"),
    ("less memory set aside", "else (1, 2**29)  # of the heap", "else (1, 2**28)  # of the heap"),
    ("the loss in smaller chunks", "(2**20 if machine()", "(2**19 if machine()"),
    ("a smaller constant against division by zero", "keepdim=True) + 1e-6)", "keepdim=True) + 1e-7)"),
    ("likewise of the variance", "    scale = (second + 1e-10).rsqrt()\n", "    scale = (second + 1e-12).rsqrt()\n"),
    ("likewise of the matches", "keepdim=True).clamp(min=1e-9)", "keepdim=True).clamp(min=1e-12)"),
    ("the collector looks at everything", "    gc.freeze()  # the collector need not look again at what stays\n", ""),
    ("the loss that is shown is smoother", "else 0.9 * mean + 0.1 * value", "else 0.95 * mean + 0.05 * value"),
    ("a smaller scale of the loss in half precision", "self.scale = 2.0**14 if", "self.scale = 2.0**12 if"),
    ("the loss is read less often on a GPU", "== \"cpu\" else 10  #", "== \"cpu\" else 20  #"),
    ("fewer digits of a coefficient", "(8.156554524902461, ", "(8.15655452, "),
    ("fewer steps to compile with", "    count = 3 if own.compiles", "    count = 2 if own.compiles"),
    ("more often a larger scale in half precision", "self.good_steps % 500 == 0", "self.good_steps % 400 == 0"),
    ("the size is printed with one digit", "{weights:.2f} M parameters", "{weights:.1f} M parameters"),
    ("a smaller epsilon of AdamW", "weight_decay=decay, eps=1e-10,", "weight_decay=decay, eps=1e-11,"),
)  # fmt: skip
"""Code that says the same, and constants that nothing on this machine depends on beyond rounding."""


def pool() -> Iterator[dict[str, Any]]:
    """Yield every edit of the pool."""
    text = TRAIN.read_text(encoding="utf-8")
    for name, (family, values) in KNOBS.items():
        old = re.search(rf"^{name} = [^\s#]+ ", text, re.M)
        assert old is not None, name
        for value in values:
            yield edit(f"{name} {value}", family, "knob", f"{name} = {value}", [(old[0], f"{name} = {value} ")])
    copying = 'COPIES = PROFILE == "tiny"  #'
    yield edit("COPIES False", "embedding", "knob", "COPIES = False", [(copying, "COPIES = False  #")])
    for cap in ("8.0", "30.0"):
        tiny = '"tiny": 0.0}[PROFILE]  # smooth', f'"tiny": {cap}}}[PROFILE]  # smooth'
        yield edit(f"LOGIT_CAP {cap}", "regularisation", "knob", f"LOGIT_CAP = {cap}", [tiny])
    for k, line in enumerate((HERE / "edits" / "pretrain.jsonl").read_text(encoding="utf-8").splitlines(), 1):
        known = json.loads(line)
        made = [(each["old"], each["new"]) for each in known["edits"]]
        yield edit(f"known {k}", known["asi"]["family"], "structure", known["description"], made)
    for kind, of in (("structure", STRUCTURE), ("crash", CRASH)):
        for k, (family, description, old_text, new_text) in enumerate(of, 1):
            yield edit(f"{kind} {k}", family, kind, description, [(old_text, new_text)])
    for k, (description, old_text, new_text) in enumerate(REORDERED, 1):
        yield edit(f"order {k}", "initialisation", "nothing", description, [(old_text, new_text)])
    for n in DRAWN:
        drawn = "    seed_everything()\n", f"    seed_everything()\n    torch.rand({n})\n"
        yield edit(f"drawn {n}", "initialisation", "nothing", f"weights after {n} other numbers", [drawn])
    for k, (description, old_text, new_text) in enumerate(SAME, 1):
        yield edit(f"same {k}", "simplify", "nothing", description, [(old_text, new_text)])


def edit(name: str, family: str, kind: str, description: str, made: list[tuple[str, str]]) -> dict[str, Any]:
    """Return one edit as a line of the pool."""
    edits = [{"file": "train.py", "old": old, "new": new} for old, new in made]
    return {"id": name, "kind": kind, "description": description, "asi": {"family": family}, "edits": edits}


def applied(text: str, edits: list[dict[str, str]]) -> str:
    """Return a file with replacements made; raise `ValueError` where an old text does not stand in it exactly once."""
    for each in edits:
        if text.count(each["old"]) != 1:
            raise ValueError(f"stands there {text.count(each['old'])} times: {each['old'][:60]!r}")
        text = text.replace(each["old"], each["new"])
    return text


def main() -> None:
    for each in pool():
        print(json.dumps(each))


if __name__ == "__main__":
    main()
