"""The shakespeare task: what it makes of a text, and that its model may not look ahead."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from harness.errors import TaskError, Verdict
from harness.task import Budget
from harness.text.rows import open_rows
from task_programs import graded, prepare_of, train_of

PLAY = "\n\n".join(
    f"SPEAKER {n % 7}:\nWhat, are we {n} and {n * n % 101} yet? Thou art number {n}." for n in range(4000)
)


@pytest.fixture(scope="module")
def shakespeare() -> ModuleType:
    return prepare_of("shakespeare")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def task(shakespeare: ModuleType, source: str, **options: Any) -> Any:
    return shakespeare.Shakespeare(shakespeare.HERE, shakespeare.Options(source=source, **options), Budget("steps", 20))


class Play(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PLAY)))
        self.end_headers()
        self.wfile.write(PLAY.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_the_text_comes_from_its_url_once_and_only_with_the_right_hash(
    shakespeare: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Play)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(shakespeare, "URL", f"http://127.0.0.1:{server.server_port}/input.txt")
    with pytest.raises(TaskError, match="use --source python"):
        task(shakespeare, "shakespeare").prepare()
    monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(PLAY.encode()).hexdigest())
    folder = task(shakespeare, "shakespeare").prepare()
    server.shutdown()
    server.server_close()
    rows = {name: open_rows(folder / f"{name}.bin") for name in ("train", "search", "locked", "control")}
    assert all(part.shape[1] == 129 and len(part) > 20 for part in rows.values())
    plain = bytes(byte for byte in np.concatenate([*rows.values()]).ravel() if byte < 256)
    assert len(plain) > 0.95 * len(PLAY) and b"Thou art number 3999." in plain
    again = task(shakespeare, "shakespeare", seq_len=64).prepare()  # without the server
    assert open_rows(again / "search.bin").shape[1] == 65


@pytest.mark.slow
def test_its_own_model_is_scored_in_bits_per_byte_and_one_that_looks_ahead_is_tampering(
    shakespeare: ModuleType, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "play.txt").write_text(PLAY)
    fewer = dataclasses.replace(shakespeare.PROFILES["tiny"], eval_tokens=2**13, probes=128)
    monkeypatch.setitem(shakespeare.PROFILES, "tiny", fewer)
    made = task(shakespeare, str(tmp_path / "play.txt"))
    made.prepare()
    with train_of("shakespeare", shakespeare) as train:
        torch.manual_seed(0)
        model = train.build_model().eval()
    metrics = graded(monkeypatch, made, model, tmp_path / "run")
    rows = torch.from_numpy(open_rows(made.prepared() / "search.bin").astype(np.int64))
    with torch.no_grad():
        logits = model(rows[:, :-1]).double()
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    plain = rows[:, 1:].flatten() < 256
    assert metrics["val_bpb"] == pytest.approx(nats[plain].sum().item() / plain.sum().item() / np.log(2), abs=1e-4)

    honest = type(model).forward

    def forward(self: Any, ids: torch.Tensor) -> torch.Tensor:
        out = honest(self, ids).clone()
        out[:, :-1] += 5 * torch.nn.functional.one_hot(ids[:, 1:], 260)
        return out

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(Verdict, match="later tokens"):
        graded(monkeypatch, made, model, tmp_path / "run")
