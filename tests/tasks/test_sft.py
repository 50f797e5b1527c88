"""The sft task: which conversations it learns from, how a response is scored, what low-rank changes compute."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from harness import kept
from harness.errors import TaskError, Verdict
from harness.task import Allowances, Budget
from harness.text.rows import open_rows
from harness.text.tokenizer import Tokenizer
from task_programs import graded_weights, kept_of_pretrain, learned

PROGRAM = '''
import os

class Thing:
    @property
    def area(self):
        """Return the area.

        More about it.
        """
        # of a square
        return self.side * 2

    def nothing(self):
        """Only words."""

    def short(self): """In a line."""; return 1

    async def later(self):
        """Not now."""
        return 2

def outer(a,
          b=1):
    "Say it."

    def inner(x):
        """Inside."""
        return x
    return inner(a) + b
'''


@pytest.fixture(scope="module")
def parts(sft_parts: Any) -> Any:
    return sft_parts


@pytest.fixture(scope="module")
def tokens() -> Tokenizer:
    return Tokenizer([bytes([value]) for value in range(256)], 260)


def tokens_of(task: Any) -> Tokenizer:
    return Tokenizer.load(task.data_folder() / "base" / "tokenizer.json")


def function(number: int) -> str:
    """A function of which the body follows from the docstring but for some digits."""
    digits = int.from_bytes(hashlib.blake2b(bytes([number % 256, number // 256]), digest_size=4).digest())
    return f'def f{number}(x):\n    """Return x and {number}."""\n    return x + {number} - {digits}\n'


@pytest.fixture(scope="module")
def task(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A small task, prepared, on a library of the test's own."""
    root = tmp_path_factory.mktemp("library")
    for name, numbers in (("plain.py", range(300)), ("tkinter/more.py", range(300, 700))):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("\n".join(function(number) for number in numbers))
    (root / "tkinter" / "again.py").write_text(function(7))  # as in the part that a run can read
    known = sysconfig.get_path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysconfig, "get_path", lambda name, *a, **k: str(root) if name == "stdlib" else known(name))
        patch.setenv("AUTORESEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        small = parts.prepare.Profile(1, 32, 2, 300, 64, 10**6, 60, 16, 100, Allowances(weights_bytes=2**24))
        patch.setitem(parts.prepare.PROFILES, "tiny", small)
        patch.setattr(parts.prepare, "device", lambda: torch.device("cpu"))
        made = parts.prepare.Sft(parts.prepare.HERE, parts.prepare.Options(), Budget("steps", 20))
        made.prepare()
        yield made


# ------------------------------------------------------------------------------------------------------------
# Conversations
# ------------------------------------------------------------------------------------------------------------


def test_a_documented_function_becomes_signature_and_docstring_and_its_body(parts: Any) -> None:
    found = dict(parts.pairs.functions(PROGRAM))
    assert found == {
        'def area(self):\n    """Return the area."""': "# of a square\nreturn self.side * 2",
        'def outer(a,\n          b=1):\n    """Say it."""': (
            'def inner(x):\n    """Inside."""\n    return x\nreturn inner(a) + b'
        ),
        'def inner(x):\n    """Inside."""': "return x",
    }
    with pytest.raises(SyntaxError):
        list(parts.pairs.functions("print 'old'"))


def test_held_out_functions_are_of_the_folders_that_a_run_cannot_read(task: Any, parts: Any) -> None:
    tokens = tokens_of(task)
    texts = {
        split: {tokens.decode(row.tolist()).partition("<|end|>")[0] for row in task.arrays(split)["ids"]}
        for split in ("train", "search", "locked", "control")
    }
    assert {split: len(own) for split, own in texts.items()} == {
        split: len(task.arrays(split)["ids"]) for split in texts
    }
    numbers = {split: {int(text.split("def f")[1].split("(")[0]) for text in own} for split, own in texts.items()}
    assert numbers["train"] == set(range(300))
    assert numbers["search"] | numbers["locked"] | numbers["control"] <= set(range(300, 700))
    assert all(50 < len(numbers[split]) <= 100 for split in ("search", "locked", "control"))
    assert not numbers["search"] & numbers["locked"] and not numbers["search"] & numbers["control"]


def test_the_base_has_not_read_what_is_held_out(task: Any) -> None:
    rows = open_rows(task.text.prepared() / "train.bin")
    text = "".join(tokens_of(task).decode(row.tolist()) for row in rows)
    assert "Return x and 123." in text and not any(f"Return x and {n}." in text for n in range(300, 700))


def test_the_span_is_the_response_and_its_end(parts: Any, tokens: Tokenizer) -> None:
    chat = [("user", "hello"), ("assistant", "hi"), ("user", "how?"), ("assistant", "good")]
    spelled = parts.chat_ids.OwnIds(tokens)
    ids, start = spelled.ids_of(chat)
    assert tokens.decode(ids.tolist()) == (
        "<|bos|><|user|>hello<|assistant|>hi<|end|><|user|>how?<|assistant|>good<|end|>"
    )
    assert tokens.decode(ids[start:].tolist()) == "good<|end|>"
    long = [("user", "x"), ("assistant", "y" * 30)]
    made = parts.pairs.arrays([("train", chat), ("train", chat), ("train", long), ("search", chat)], spelled, 29, 5)
    assert made["train"]["ids"].shape == (1, 30) and made["train"]["span"].tolist() == [[start, len(ids)]]
    assert made["search"]["ids"].shape == (0, 30)  # what is learned is not held out


def test_chats_of_a_file_are_split_by_what_is_asked(parts: Any, tmp_path: Path) -> None:
    def line(*messages: tuple[str, str]) -> str:
        return json.dumps({"messages": [{"role": role, "content": text} for role, text in messages]})

    lines = [line(("user", f"q{n}"), ("assistant", f"a{n} {k}")) for n in range(200) for k in range(2)]
    lines += [line(("system", "be brief"), ("user", "hi"), ("assistant", "ho"), ("user", "left open"))]
    lines += [line(("user", "no answer")), line(("user", "x"), ("tool", "t"), ("assistant", "y")), ""]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(lines))
    found = list(parts.pairs.chats(path))
    assert len(found) == 401 and found[-1][1] == [("user", "be brief\n\nhi"), ("assistant", "ho")]
    splits: dict[str, set[str]] = {}
    for split, chat in found:
        splits.setdefault(chat[0][1], set()).add(split)
    assert all(len(own) == 1 for own in splits.values())
    assert {split for own in splits.values() for split in own} == {"train", "search", "locked", "control"}
    table = pa.table({"messages": [json.loads(line)["messages"] for line in lines if line]})
    pq.write_table(table, tmp_path / "chats.parquet")
    assert list(parts.pairs.chats(tmp_path / "chats.parquet")) == found
    for text in ("no json", '{"text": "x"}', '{"messages": [{"role": "user"}]}'):
        path.write_text(text)
        with pytest.raises(TaskError, match="messages"):
            list(parts.pairs.chats(path))


# ------------------------------------------------------------------------------------------------------------
# Scores
# ------------------------------------------------------------------------------------------------------------


def test_the_score_is_that_of_each_response_by_itself_in_double_precision(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, model = tokens_of(task), task.base()
    bits = size = exact = 0.0
    for row, (start, stop) in zip(task.arrays("search")["ids"], task.arrays("search")["span"], strict=True):
        ids = torch.from_numpy(row[:stop].astype(np.int64))
        with torch.no_grad():
            logits = model.double()(ids[None, :-1])[0, start - 1 :]
        bits -= logits.log_softmax(-1).gather(-1, ids[start:, None]).sum().item() / math.log(2)
        size += len(tokens.decode(ids[start:-1].tolist()).encode())
        written = ids[:start].tolist()
        while len(written) < stop and written == ids[: len(written)].tolist():
            with torch.no_grad():
                written.append(int(model(torch.tensor([written]))[0, -1].argmax()))
        exact += written == ids.tolist()
    found = graded_weights(task, task.base(), tmp_path / "run", monkeypatch)
    assert found["response_bpb"] == pytest.approx(bits / size, rel=1e-5)
    assert found["base_bpb"] == pytest.approx(bits / size, rel=1e-5)
    assert found["exact_match"] == exact / 100 and found["learned_params_M"] == 0.5


def test_changes_that_were_learned_are_better_than_the_base_on_both_splits(
    task: Any, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = learned(task, parts, "train", 60, whole=False)
    for split in ("search", "locked"):
        found = graded_weights(task, model, tmp_path / "run", monkeypatch, split)
        assert found["response_bpb"] < 0.7 * found["base_bpb"]


@pytest.mark.slow
def test_who_knows_the_responses_by_heart_is_found_by_the_control(
    task: Any, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = learned(task, parts, "search", 300, whole=True)
    with pytest.raises(Verdict, match="easier than other held-out responses") as caught:
        graded_weights(task, model, tmp_path / "run", monkeypatch)
    assert caught.value.outcome == "tampered"


def test_other_budgets_and_sources_are_told(parts: Any, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="the budget of this task"):
        parts.prepare.Sft(parts.prepare.HERE, parts.prepare.Options(), Budget("flops", 1e9))
    with pytest.raises(TaskError, match="no profile"):
        parts.prepare.Options(profile="huge")


def test_so_few_conversations_that_a_known_split_would_not_show_are_refused(
    task: Any, parts: Any, tmp_path: Path
) -> None:
    path = tmp_path / "chats.jsonl"

    def refusal(count: int) -> str:
        chats = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}] for n in range(count)]
        path.write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
        made = parts.prepare.Sft(parts.prepare.HERE, parts.prepare.Options(source=str(path)), Budget("steps", 20))
        with pytest.raises(TaskError) as caught:
            made.make(1)
        return str(caught.value)

    assert "for search, and 30 are needed" in refusal(100)
    assert "for control, and 30 are needed" in refusal(450)


# ------------------------------------------------------------------------------------------------------------
# The trainer
# ------------------------------------------------------------------------------------------------------------


def test_a_low_rank_change_computes_what_the_full_matrix_does_and_its_slopes_are_those_of_it(parts: Any) -> None:
    torch.manual_seed(0)
    own = torch.nn.Linear(12, 20, bias=False).double()
    made, x = parts.train.Lora(own, 3, 1.7).double(), torch.randn(5, 12, dtype=torch.float64)
    assert torch.equal(made(x), own(x))  # nothing is changed yet
    torch.nn.init.normal_(made.up)
    full = (own.weight + 1.7 * made.up @ made.down).detach().requires_grad_()
    out, goal = made(x), torch.randn(5, 20, dtype=torch.float64)
    torch.testing.assert_close(out, x @ full.T)
    ((out - goal) ** 2).sum().backward()
    ((x @ full.T - goal) ** 2).sum().backward()
    torch.testing.assert_close(made.up.grad, 1.7 * full.grad @ made.down.T)
    torch.testing.assert_close(made.down.grad, 1.7 * made.up.T @ full.grad)


def test_what_is_merged_is_the_base_in_its_shapes_and_answers_the_same(task: Any, parts: Any) -> None:
    torch.manual_seed(2)
    base, model = task.base(), task.base()
    learned = parts.train.add_changes(model)
    assert len(learned) == 2 * (4 + 1) and all(
        p.requires_grad == any(p is x for x in learned) for p in model.parameters()
    )
    for parameter in learned:
        torch.nn.init.normal_(parameter, std=0.1)
    expected = {
        name: own.weight + own.scale * own.up @ own.down
        for name, own in model.named_modules()
        if isinstance(own, parts.train.Lora)
    }
    ids = torch.randint(300, (3, 40))
    before = model(ids)
    parts.train.merge(model)
    state = model.state_dict()
    assert {name: x.shape for name, x in state.items()} == {name: x.shape for name, x in base.state_dict().items()}
    assert all(torch.equal(state[f"{name}.weight"], matrix) for name, matrix in expected.items())  # to the last digit
    assert all(
        torch.equal(state[n], x) for n, x in base.state_dict().items() if n.removesuffix(".weight") not in expected
    )
    torch.testing.assert_close(model(ids), before, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(base(ids), before, atol=0.1)


def test_the_loss_is_the_mean_of_the_responses_tokens_whatever_they_are_filled_up_with(task: Any, parts: Any) -> None:
    data = {name: torch.from_numpy(np.array(array)[:7]) for name, array in task.arrays("train").items()}
    ids, span, model = data["ids"].view(torch.int16), data["span"], task.base().double()
    total, count = 0.0, 0
    for row, (start, stop) in zip(ids.long(), span.tolist(), strict=True):
        logits = model(row[None, : stop - 1])[0, start - 1 :]
        total += torch.nn.functional.cross_entropy(logits, row[start:stop], reduction="sum").item()
        count += stop - start
    assert parts.train.loss_of(model, ids, span).item() == pytest.approx(total / count)
    ids[:, int(span[:, 1].max()) :] = 5
    assert parts.train.loss_of(model, ids, span).item() == pytest.approx(total / count)


def test_conversations_of_several_turns_that_ask_the_same_are_in_one_split(parts: Any, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    turns = [[("user", f"q{n}"), ("assistant", f"drawn {k}"), ("user", "and then?"), ("assistant", "so")]
             for n in range(60) for k in range(3)]  # fmt: skip
    lines = [json.dumps({"messages": [{"role": role, "content": text} for role, text in turn]}) for turn in turns]
    path.write_text("\n".join(lines))
    splits: dict[str, set[str]] = {}
    for split, chat in parts.pairs.chats(path):
        splits.setdefault(chat[0][1], set()).add(split)
    assert len(splits) == 60 and all(len(own) == 1 for own in splits.values())
    assert len({split for own in splits.values() for split in own}) > 1


def test_odd_chats_are_read_or_named(parts: Any, tmp_path: Path) -> None:
    half = tmp_path / "half.jsonl"
    half.write_text(r'{"messages": [{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "ok"}]}')
    [(_, chat)] = parts.pairs.chats(half)
    assert chat == [("user", "?"), ("assistant", "ok")]
    pq.write_table(pa.table({"conversations": [["a"]]}), tmp_path / "other.parquet")
    with pytest.raises(TaskError, match="messages"):
        list(parts.pairs.chats(tmp_path / "other.parquet"))


def test_chats_that_were_added_to_are_prepared_anew(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("one")
    task = parts.prepare.Sft(parts.prepare.HERE, parts.prepare.Options(source=str(path)), Budget("steps", 5))
    made = list[str]()
    monkeypatch.setattr(parts.prepare.Sft, "data_folder", lambda self: tmp_path / "data")

    def make(self: object, workers: int) -> dict[str, dict[str, np.ndarray]]:
        made.append(path.read_text())
        return {}

    monkeypatch.setattr(parts.prepare.Sft, "make", make)
    monkeypatch.setattr(parts.prepare.Sft, "complete", lambda self, folder: None)
    for text in ("one", "one", "two", "two"):
        path.write_text(text)
        task.prepare()
    assert made == ["one", "two"]


@pytest.mark.slow
def test_a_kept_model_of_pretrain_is_tuned_and_scored_like_a_base_of_our_own(
    task: Any, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, model = kept_of_pretrain(tmp_path, 128)
    sizes = dataclasses.replace(parts.prepare.PROFILES["tiny"], length=128)
    monkeypatch.setitem(parts.prepare.PROFILES, "tiny", sizes)
    lab = tmp_path / "lab"
    for words in (["init", "-q"], ["add", "train.py", "prepare.py", "autoresearch.toml"],
                  ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "kept"]):  # fmt: skip
        subprocess.run(["git", "-C", lab, *words], check=True)
    commit = subprocess.run(["git", "-C", lab, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    (lab / "autoresearch.jsonl").write_text(json.dumps({"run": 1, "commit": commit.strip()}))
    (lab / "train.py").write_text("raise RuntimeError('of a later experiment')\n")
    made = parts.prepare.Sft(parts.prepare.HERE, parts.prepare.Options(base=str(weights)), Budget("steps", 20))
    assert made.data_folder() != task.data_folder()
    made.prepare()
    shutil.rmtree(tmp_path / "lab")
    assert made.prepare() == made.data_folder(), "nothing is read from there any more"
    ids = torch.from_numpy(made.arrays("search")["ids"][:3, :-1].astype(np.int64))
    with torch.no_grad():
        torch.testing.assert_close(made.base().eval()(ids), model.eval()(ids))
    same = graded_weights(made, made.base(), tmp_path / "same", monkeypatch)
    assert same["response_bpb"] == pytest.approx(same["base_bpb"])
    tuned = learned(made, parts, "train", 12, whole=False)
    assert {*tuned.state_dict()} == {*model.state_dict()}
    assert graded_weights(made, tuned, tmp_path / "tuned", monkeypatch)["response_bpb"] < 0.9 * same["base_bpb"]


def test_a_base_whose_rows_are_too_short_or_that_is_none_is_named(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"0" * 2**20)
    monkeypatch.setattr(kept, "copied", lambda source, folder: weights)
    model = torch.nn.Linear(1, 1)
    monkeypatch.setattr(kept, "loaded", lambda folder: (model, 64))
    with pytest.raises(TaskError, match="takes rows of 64 tokens, and this profile has 65"):
        parts.prepare.bases.copy(str(weights), tmp_path, 65, 2**20)
    with pytest.raises(TaskError, match="has 1 MiB of weights, and this profile takes 1; choose a larger profile"):
        parts.prepare.bases.copy(str(weights), tmp_path, 64, 2**20 - 1)
    model.register_buffer("places", torch.arange(3))
    with pytest.raises(TaskError, match="has places, which is no number that could be tuned"):
        parts.prepare.bases.copy(str(weights), tmp_path, 64, 2**20)
    monkeypatch.undo()
    for path in (tmp_path / "model.pt", tmp_path):
        with pytest.raises(TaskError, match="not in a workspace of pretrain"):
            kept.tokenizer(str(path))
