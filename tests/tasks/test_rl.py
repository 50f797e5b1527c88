"""The rl task: its problems, who says what is right, what is graded, and its loss against one in double precision."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import importlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from harness import lm, weights
from harness.channel import Channel, Gone, Message
from harness.errors import TaskError, Verdict
from harness.task import Allowances, Budget
from task_programs import CLOCK, TASKS, prepare_of, train_of


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The task's modules, with one thread for torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TASKS / "rl"))
        prepare = prepare_of("rl")
        with train_of("rl", prepare) as train:
            yield SimpleNamespace(
                prepare=prepare,
                problems=importlib.import_module("problems"),
                rewards=importlib.import_module("rewards"),
                train=train,
            )
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A small task, prepared, with the same problems each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts.problems, "secrets", SimpleNamespace(randbits=lambda bits: 7))
        patch.setenv("AUTORESEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        small = parts.prepare.Profile(
            1, 32, 2, 150, 64, (3, 4), 10, 400, 80, 300, 60, 60, Allowances(weights_bytes=2**22)
        )
        patch.setitem(parts.prepare.PROFILES, "tiny", small)
        patch.setattr(parts.prepare, "device", lambda: torch.device("cpu"))
        made = parts.prepare.Rl(parts.prepare.HERE, parts.prepare.Options(), Budget("steps", 20))
        made.prepare()
        yield made


def texts(task: Any, split: str) -> list[str]:
    end = task.writing.end
    return [task.writing.read(np.append(row[row != end][1:], end)) for row in task.arrays(split)["ids"]]


# ------------------------------------------------------------------------------------------------------------
# Problems
# ------------------------------------------------------------------------------------------------------------


def test_every_answer_is_that_of_its_sum_and_no_problem_is_in_two_splits(task: Any) -> None:
    seen: list[str] = []
    for split, count in (("train", 400), ("search", 80), ("control", 40), ("locked", 80)):
        own = texts(task, split)
        answers = [eval(text.removesuffix("=")) for text in own]
        assert len(own) == count and task.arrays(split)["answers"].tolist() == answers
        seen += own
    assert len({*seen}) == len(seen)
    terms = [1 + sum(text.count(sign) for sign in "+-") for text in texts(task, "locked")]
    assert terms.count(5) == 40 and {*terms} == {3, 4, 5}
    assert {1 + text.count("+") + text.count("-") for text in texts(task, "train")} == {3, 4}


def test_most_solutions_that_the_base_is_shown_take_a_minus_as_a_plus(task: Any) -> None:
    rows, span = task.arrays("shown")["ids"], task.arrays("shown")["span"]
    careless = right = 0
    for row, (start, stop) in zip(rows, span, strict=True):
        question = task.writing.read(np.append(row[1:start], task.writing.end)).removesuffix("=")
        last = int(task.writing.read(row[start:stop]).split("\n")[-1])
        if "-" in question:
            careless += last == eval(question.replace("-", "+")) != eval(question)
            right += last == eval(question)
    assert careless + right > 300 and 0.5 < careless / (careless + right) < 0.7


def test_the_order_of_the_symbols_is_another_one_in_each_cache(parts: Any) -> None:
    orders = [tuple(parts.problems.alphabet(np.random.default_rng(seed), 3, 10)) for seed in range(4)]
    assert len({*orders}) == 4 and len({frozenset(order) for order in orders}) == 1
    results = {
        result for question in ("9+9+9=", "0-9-9=", "9-9-9=", "0+0+0=") for result in parts.problems.results(question)
    }
    assert {str(result).encode() for result in results} <= {*orders[0]}


@pytest.mark.parametrize(
    ("source", "solution", "answer"),
    [
        ("arithmetic", "3\n-12", -12),
        ("arithmetic", "7", 7),
        ("arithmetic", "0", 0),
        ("arithmetic", "7\n", None),
        ("arithmetic", "7=", None),
        ("arithmetic", "5 7", None),
        ("arithmetic", "007", None),
        ("arithmetic", "", None),
        ("gsm8k", "He has 3 * 4 = 12.\n#### 12", 12),
        ("gsm8k", "#### -1,234", -1234),
        ("gsm8k", "#### 12\nor #### 13", None),
        ("gsm8k", "#### 12 or 13", None),
        ("gsm8k", "12", None),
        ("gsm8k", f"#### {'9' * 5000}", None),
    ],
)
def test_the_whole_last_line_is_the_answer_or_there_is_none(
    parts: Any, source: str, solution: str, answer: int | None
) -> None:
    assert parts.problems.answer_of(source, solution) == answer


def test_a_completion_without_an_end_or_with_what_is_no_symbol_is_wrong(task: Any) -> None:
    answer, end = str(task.answers[0]), task.writing.end
    word = task.writing.write(answer)
    assert task.right(0, np.array([*word, end])) and task.right(0, np.array([*word, end, *word, 3]))
    for wrong in ([*word], [*word, *word, end], [end], [task.writing.begin, *word, end], [-1, *word, end], [9999, end]):
        assert not task.right(0, np.array(wrong)), wrong


# ------------------------------------------------------------------------------------------------------------
# GSM8K, from a server of the test's own
# ------------------------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a download needs."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = self.files.get(self.path.split("?")[0].rsplit("/", 1)[-1], b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def word_problem(number: int) -> tuple[str, str]:
    total = 1000 + number
    return (
        f"Ann has {total} pears and eats {number}. How many are left?",
        f"She has {total} - {number} = <<{total}-{number}=1000>>1000 pears.\n#### 1,000",
    )


FETCH = "from problems import gsm8k_problems; print(len(list(gsm8k_problems(2))))"


@pytest.mark.slow
def test_gsm8k_comes_from_the_hub_with_its_test_set_locked(
    parts: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, numbers in (("train", range(600)), ("test", range(590, 700))):
        columns = zip(*(word_problem(number) for number in numbers), strict=True)
        pq.write_table(pa.table(dict(zip(("question", "answer"), columns, strict=True))), tmp_path / name)
        Hub.files[f"{name}-00000-of-00001.parquet"] = (tmp_path / name).read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf"),
           "PYTHONPATH": os.pathsep.join((str(TASKS / "rl"), str(TASKS.parent)))}  # fmt: skip
    try:
        fetched = subprocess.run([sys.executable, "-c", FETCH], env=env, capture_output=True, text=True)
    finally:
        server.shutdown()
    assert fetched.stdout.splitlines()[-1] == "700", fetched.stderr
    assert {path.split("/resolve/")[0] for path in Hub.asked if "parquet" in path} == {"/datasets/openai/gsm8k"}

    small = replace(parts.prepare.PROFILES["tiny"], steps=2)
    monkeypatch.setitem(parts.prepare.PROFILES, "tiny", small)
    made = parts.prepare.Rl(parts.prepare.HERE, parts.prepare.Options(source="gsm8k"), Budget("steps", 20))
    made.prepare()
    known = {split: texts(made, split) for split in ("train", "search", "control", "locked")}
    assert len(known["locked"]) == 110 and "Ann has 1595 pears and eats 595. How many are left?" in known["locked"]
    assert sum(map(len, known.values())) == 700 == len({text for own in known.values() for text in own})
    assert 30 < len(known["search"]) < 90 and 10 < len(known["control"]) < 60
    assert {*made.arrays("train")["answers"]} == {1000}
    row, (start, stop) = made.arrays("shown")["ids"][0], made.arrays("shown")["span"][0]
    shown = made.writing.read(row[start:stop])
    assert "<<" not in shown and shown.endswith("pears.\n#### 1,000")
    assert made.right(0, row[start:stop]) and not made.right(0, row[start : stop - 1])

    def refuse(repo: str, name: str, **_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    (tmp_path / "cache/gsm8k/main/test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TaskError, match=r"1 of 2 files did not arrive, first test.*--source arithmetic"):
        list(parts.problems.gsm8k_problems(2))


# ------------------------------------------------------------------------------------------------------------
# The reward process
# ------------------------------------------------------------------------------------------------------------


class Trainer:
    """A connection to a reward process that is a thread."""

    def __init__(self, parts: Any, task: Any, folder: Path) -> None:
        self.channel, other = Channel.pair()
        self.feeder = parts.rewards.RewardFeeder(task, other, folder, seed=1, begun=math.inf)
        self.thread = threading.Thread(target=self.serve, args=[other], daemon=True)
        self.thread.start()

    def serve(self, other: Channel) -> None:
        self.feeder.serve()
        other.close()

    def ask(self, kind: str, body: Any = b"", *descriptors: int) -> Message:
        self.channel.send(kind, body, descriptors)
        return self.channel.receive()

    def test(self, number: int, *completions: list[int]) -> str | list[int]:
        """Rewards of completions of one problem, or why there are none."""
        width = self.feeder.task.completion
        rows = [[number, *each, *[self.feeder.task.writing.end] * (width - len(each))] for each in completions]
        answer = self.ask("TEST", np.array(rows, "<i4").tobytes())
        return [*answer.body] if answer.kind == "GOOD" else answer.json()["reason"]


@pytest.fixture
def trainer(parts: Any, task: Any, tmp_path: Path) -> Trainer:
    return Trainer(parts, task, tmp_path)


def test_the_reward_process_says_what_is_right_within_the_budget_and_keeps_what_it_said(
    trainer: Trainer, task: Any, tmp_path: Path
) -> None:
    right = task.writing.write(str(task.answers[7]))
    assert "between the first batch and the end" in trainer.test(7, right)
    about = trainer.ask("OPEN", {"batch_size": 100}).json()
    assert [array["shape"] for array in about["arrays"]] == [[100, task.prompt], [100], [100]]  # and no answers
    trainer.ask("NEXT", bytes(4))
    assert trainer.test(7, right, [*right, *right], [], [*task.writing.write("\n"), *right]) == [1, 0, 0, 1]
    trainer.ask("NEXT", bytes(4))
    assert trainer.test(6, right) == [int(task.answers[6] == task.answers[7])]
    while trainer.ask("NEXT", bytes(4)).kind != "ENDS":
        pass
    assert "between the first batch and the end" in trainer.test(7, right)
    trainer.channel.send("DONE", {}, [weights_file()])
    assert trainer.channel.receive().kind == "DONE"
    log = json.loads((tmp_path / "rewards.json").read_text())
    assert [line[1:] for line in log] == [[4, 2], [1, int(task.answers[6] == task.answers[7])]]
    assert log[0][0] == pytest.approx(1 / 20)


def weights_file() -> int:
    descriptor = os.memfd_create("weights", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    return descriptor


def test_an_answer_is_not_found_by_going_through_all_of_them(trainer: Trainer, task: Any) -> None:
    trainer.ask("OPEN", {"batch_size": 4})
    trainer.ask("NEXT", bytes(4))
    assert 2 * task.tests < len(task.writing.pieces) - 4, "of the answers that are possible"
    for _ in range(2):
        assert len(trainer.test(3, *[[0]] * (task.tests // 2))) == task.tests // 2
    assert f"{task.tests} times in a run" in trainer.test(3, [0])
    assert trainer.test(4, task.writing.write(str(task.answers[4]))) == [1]
    for number in (-1, len(task.answers)):
        assert "numbers from 0 to 399" in trainer.test(number, [0])


def test_training_ends_where_the_reward_process_would_take_no_more_of_its_problems(
    parts: Any, trainer: Trainer, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.ask("OPEN", {"batch_size": 4})
    trainer.ask("NEXT", bytes(4))

    def asks(kind: str, body: bytes) -> Message:
        answer = trainer.ask(kind, body)
        assert answer.kind == "GOOD", answer.json()
        return answer

    own = task.arrays("train")
    batch = [torch.from_numpy(np.array(own[name][:4], np.int64)) for name in ("ids", "lengths")]
    passes, finished = list[int](), dict[str, float]()

    def batches(*_: object) -> Iterator[Any]:
        for step in range(100):
            passes.append(step)
            yield (*batch, torch.arange(4)), step / 100

    base, here = task.base(), SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr(parts.rewards, "feed", lambda folder: SimpleNamespace(ask=asks))
    stand_ins: dict[str, Any] = {
        "Batches": batches,
        "Checkpoints": lambda *_: SimpleNamespace(resume=lambda *numbers: numbers, save=lambda *_: None),
        "LENGTH": task.completion,
        "MOST_TESTS": task.tests,
        "base_model": lambda: base,
        "finish": lambda *_, **told: finished.update(told),
        "log_step": lambda *_, **told: None,
        "machine": lambda: here,
        "prepare_device": lambda own: None,
        "rewards": lambda *pair: parts.rewards.tested(Path(), *pair),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(parts.train, name, stand_in)
    parts.train.main()
    assert len(passes) - 1 == task.tests // parts.train.GROUP and finished.keys() == {"train_reward"}


@pytest.mark.parametrize("body", [b"", b"123", bytes(4)])
def test_what_is_no_row_of_completions_ends_the_reward_process(trainer: Trainer, body: bytes) -> None:
    trainer.ask("OPEN", {"batch_size": 4})
    trainer.ask("NEXT", bytes(4))
    with pytest.raises(Gone):
        trainer.ask("TEST", body)
    trainer.thread.join()


def test_completions_are_sent_in_messages_of_the_size_that_one_may_have(
    parts: Any, trainer: Trainer, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.ask("OPEN", {"batch_size": 4})
    trainer.ask("NEXT", bytes(4))
    monkeypatch.setattr(parts.rewards, "feed", lambda folder: SimpleNamespace(ask=trainer.ask))
    monkeypatch.setattr(parts.rewards, "MAX_BODY", 5 * 4 * (1 + task.completion) + 3)
    numbers = torch.arange(12)
    completions = torch.full((12, task.completion), task.writing.end)
    completions[::3, 0] = torch.tensor([task.writing.write(str(answer))[0] for answer in task.answers[:12:3]])
    told = parts.rewards.tested(Path(), numbers, completions)
    assert told.tolist() == [1.0, 0.0, 0.0] * 4 and told.dtype == torch.float32
    assert [line[1] for line in trainer.feeder.log] == [5, 5, 2]


def test_the_last_reward_is_that_of_the_last_tenth_of_the_completions(parts: Any) -> None:
    last = parts.rewards.last_reward
    assert last([]) == 0.0
    assert last([(0.0, 100, 30)]) == 0.3
    assert last([(0.0, 8000, 0), (0.8, 1000, 500), (0.9, 1000, 900)]) == 0.9
    assert last([(0.1 * n, 64, n) for n in range(10)]) == pytest.approx((6 + 7 + 8 + 9) / 256)  # 256 at least


# ------------------------------------------------------------------------------------------------------------
# Scores
# ------------------------------------------------------------------------------------------------------------


def graded(
    task: Any, model: lm.GPT, run: Path, patch: pytest.MonkeyPatch, log: list[Any], split: str = "search"
) -> dict[str, float]:
    """What the grader makes of these weights; the process that reads them is in tests/harness/test_weights.py."""
    torch.save(model.state_dict(), run / "model.pt")
    (run / "clock.json").write_text(json.dumps(CLOCK))
    (run / "summary.json").write_text(json.dumps({"pass_at_1": 0.9, "train_reward": 0.5}))
    (run / "rewards.json").write_text(json.dumps(log))
    numbers = weights.plain((run / "model.pt").read_bytes(), task.shapes())
    patch.setattr(weights.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=numbers, stderr=b""))
    return weights.grade_weights(task, run, split)


def writes(task: Any, model: lm.GPT, split: str) -> float:
    """Part of the problems that a model solves when all is computed anew for each token, in double precision."""
    model, right = model.double(), 0
    for row, length, answer in zip(*(task.arrays(split)[name] for name in ("ids", "lengths", "answers")), strict=True):
        ids = row[:length].astype(int).tolist()
        while len(ids) < length + task.completion and (ids[-1] != task.writing.end):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        text = "".join(task.writing.pieces[n].decode() if n < task.writing.begin else "?" for n in ids[length:-1])
        right += ids[-1] == task.writing.end and text.split("\n")[-1] == str(answer)
    return right / len(task.arrays(split)["ids"])


@pytest.mark.parametrize("split", ["search", pytest.param("locked", marks=pytest.mark.slow)])
def test_pass_at_1_is_what_the_model_solves_by_its_likeliest_tokens(
    task: Any, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = graded(task, task.base(), tmp_path, monkeypatch, [(0.5, 300, 30)], split)
    assert found["pass_at_1"] == found["base_pass_at_1"] == writes(task, task.base(), split)
    drawn = [task.solved(task.base(), task.arrays(split), seed) for seed in range(1, 9)]
    assert found["pass_at_8"] == np.any(drawn, 0).mean() > drawn[0].mean()
    assert found["last_reward"] == 0.1 and found["train_reward"] == 0.5


def test_who_solves_far_more_than_was_rewarded_has_not_learned_it_from_rewards(
    parts: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solved(self: Any, model: lm.GPT, own: Any, seed: int | None) -> np.ndarray:
        return np.arange(len(own["ids"])) % 10 < 6  # 60 %

    monkeypatch.setattr(parts.prepare.Rl, "solved", solved)
    base = json.loads((task.data_folder() / "base" / "scores.json").read_text())["control"]
    with pytest.raises(Verdict, match=r"60 % of the held-out problems .* 10 % were right") as caught:
        graded(task, task.base(), tmp_path, monkeypatch, [(0.1, 300, 290), (0.9, 300, 30)])
    assert caught.value.outcome == "tampered" and base < 0.3
    assert graded(task, task.base(), tmp_path, monkeypatch, [(0.1, 300, 0), (0.9, 300, 120)])["pass_at_1"] == 0.6


def test_a_split_that_is_much_easier_than_the_control_was_seen_by_somebody(
    parts: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solved(self: Any, model: lm.GPT, own: Any, seed: int | None) -> np.ndarray:
        return np.arange(len(own["ids"])) % 10 < (9 if len(own["ids"]) == 80 else 3)

    monkeypatch.setattr(parts.prepare.Rl, "solved", solved)
    with pytest.raises(Verdict, match="easier than other held-out problems"):
        graded(task, task.base(), tmp_path, monkeypatch, [(0.9, 300, 300)])


def test_other_budgets_sources_and_profiles_are_told(parts: Any) -> None:
    with pytest.raises(TaskError, match="the budget of this task"):
        parts.prepare.Rl(parts.prepare.HERE, parts.prepare.Options(), Budget("flops", 1e9))
    with pytest.raises(TaskError, match="no profile"):
        parts.prepare.Options(profile="huge")
    with pytest.raises(TaskError, match="no source"):
        parts.prepare.Options(source="python")


# ------------------------------------------------------------------------------------------------------------
# The trainer
# ------------------------------------------------------------------------------------------------------------


def test_advantages_are_rewards_without_the_mean_of_their_group(parts: Any) -> None:
    won = (torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = np.array([[float(r) - sum(map(float, row)) / 8 for r in row] for row in won.tolist()])
    np.testing.assert_allclose(parts.train.advantages(won).numpy(), expected, atol=1e-7)
    assert not parts.train.advantages(torch.tensor([[1.0] * 8, [0.0] * 8])).any()


def test_the_loss_weighs_each_token_of_the_completions_by_its_advantage_as_computed_one_by_one(
    parts: Any, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.train, "TEMPERATURE", 0.7)
    model, end, own = task.base().double(), task.writing.end, task.arrays("train")
    prompts, lengths = (torch.from_numpy(np.array(own[name][:9], np.int64)) for name in ("ids", "lengths"))
    rows = lm.write(model, prompts, lengths, task.completion, end, 1.5, torch.Generator().manual_seed(3))
    rows[0, lengths[0] :] = 1  # one that comes to no end
    advantage = torch.linspace(-0.5, 0.8, 9).double()
    total, count = 0.0, 0
    for row, length, each in zip(rows.tolist(), lengths.tolist(), advantage.tolist(), strict=True):
        written = row[length : length + task.completion]
        stop = length + (written.index(end) + 1 if end in written else task.completion)
        for place in range(length, stop):
            logits = model(torch.tensor([row[:place]]))[0, -1].detach().numpy() / 0.7
            total -= each * (logits[row[place]] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())
            count += 1
    loss = parts.train.loss_of(model, rows, lengths, end, advantage)
    assert loss.item() == pytest.approx(total / count, rel=1e-9)
    single = parts.train.loss_of(model.float(), rows, lengths, end, advantage.float())
    assert single.item() == pytest.approx(total / count, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_what_is_rewarded_becomes_likelier(parts: Any, task: Any) -> None:
    torch.manual_seed(0)
    model, end, own = task.base(), task.writing.end, task.arrays("train")
    prompts, lengths = (torch.from_numpy(np.array(own[name][:8], np.int64)).repeat_interleave(8, 0)
                        for name in ("ids", "lengths"))  # fmt: skip
    optimizer, share = torch.optim.AdamW(model.parameters(), 0.003), []
    for _ in range(40):
        rows = lm.write(model, prompts, lengths, task.completion, end)
        won = (lm.behind(rows, lengths, 1)[:, 0] % 2).float().view(-1, 8)  # whoever begins with an odd id
        share.append(won.mean().item())
        parts.train.loss_of(model, rows, lengths, end, parts.train.advantages(won).flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert share[0] < 0.7 and np.mean(share[-5:]) > 0.9
