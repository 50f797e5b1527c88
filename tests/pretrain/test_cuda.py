"""The loader on a GPU: copies overlap with work, and no batch is overwritten before it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pretrain_workspace import new_workspace

PROGRAM = """
import json, os
import numpy as np
import torch
import prepare as p

B, STEPS, PARTS = 16, 20, 2
device = torch.device("cuda")
loader = p.make_dataloader(B, p.MAX_SEQ_LEN, "train", device)
weight = torch.randn(4096, 4096, device=device)
sums, made = [], []
kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
with torch.profiler.profile(activities=kinds) as trace:
    for number, (x, y, progress) in enumerate(loader):
        for _ in range(20):  # work that is still queued when the next batch is asked for
            weight = (weight @ weight).mul_(0.0).add_(1e-3)
        place = torch.arange(1, x.numel() + 1, device=device).view_as(x)
        sums.append(((x * place).sum(), (y * place).sum()))
torch.cuda.synchronize()
rows = p.open_rows(p.TASK.prepared() / "train.bin")
epochs = -(-STEPS * PARTS * B // len(rows))  # a batch may begin in one epoch and end in the next
order = np.concatenate([np.random.default_rng((1, n)).permutation(len(rows)) for n in range(epochs)])
for number in range(STEPS * PARTS):
    chosen = rows[order[number * B : (number + 1) * B]].astype(np.int64)
    place = np.arange(1, B * p.MAX_SEQ_LEN + 1).reshape(B, -1)
    made.append((int((chosen[:, :-1] * place).sum()), int((chosen[:, 1:] * place).sum())))
found = [(int(a), int(b)) for a, b in sums]
spans = [(e.time_range.start, e.time_range.end, e.name) for e in trace.events() if e.device_type.name == "CUDA"]
copies = [s for s in spans if "HtoD" in s[2]]
work = [s for s in spans if "HtoD" not in s[2]]
overlapping = sum(any(w[0] < c[1] and c[0] < w[1] for w in work) for c in copies)
print(json.dumps({"equal": found == made, "batches": len(found), "copies": len(copies), "overlapping": overlapping}))
"""


def test_batches_are_those_of_the_file_and_copies_run_beside_the_work(tmp_path: Path, text_file: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    workspace = new_workspace(tmp_path / "ws", text_file, "steps = 40", tmp_path / "cache")
    done = workspace.run("prepare.py")
    assert done.returncode == 0, done.stderr
    (workspace.folder / "program.py").write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=workspace.folder, env=workspace.env, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr

    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["equal"]
    assert found["batches"] == 40
    assert found["overlapping"] > found["copies"] // 2
