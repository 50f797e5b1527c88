"""A model of the Hugging Face hub as the base of the task sft, and in the oracle of prompt: tiny ones, made here."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from harness import hub
from harness.errors import TaskError
from harness.files import read_json
from harness.task import Budget
from task_programs import TASKS, graded_weights, learned

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def saved(folder: Path, **own: Any) -> Path:
    """A Llama of random weights whose head is its embedding, and a tokenizer of bytes and a few merges."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|start|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokens.train_from_iterator(["what is the square of that, said the clerk"] * 3, trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<|end|>")
    made.chat_template = own.pop("template", TEMPLATE)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
             "num_key_value_heads": 1, "max_position_embeddings": 128, "vocab_size": 300}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**sizes, "tie_word_embeddings": True, "attention_bias": True, **own})
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("hub") / "llama")


@pytest.fixture(scope="module")
def task(sft_parts: Any, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The task on that base and on chats whose responses follow from what is asked, prepared."""
    chats = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    asked = [(f"what is the square of {n}", f"é{n * n % 7}, said the clerk") for n in range(900)]
    lines = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in asked]
    chats.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        sizes = dataclasses.replace(sft_parts.prepare.PROFILES["tiny"], length=64, most=60)
        patch.setitem(sft_parts.prepare.PROFILES, "tiny", sizes)
        patch.setattr(sft_parts.prepare, "device", lambda: torch.device("cpu"))
        options = sft_parts.prepare.Options(source=str(chats), base=str(llama))
        made = sft_parts.prepare.Sft(sft_parts.prepare.HERE, options, Budget("steps", 20))
        made.prepare()
        yield made


def test_it_is_tuned_and_scored_by_the_bytes_of_the_responses(
    task: Any, sft_parts: Any, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    own = transformers.LlamaForCausalLM.from_pretrained(llama, dtype=torch.float64)
    tokens, data, nats = transformers.AutoTokenizer.from_pretrained(llama), task.arrays("search"), 0.0
    for row, (start, stop) in zip(data["ids"], data["span"], strict=True):
        assert tokens.decode(row[: stop - 1]).startswith("<|start|>user\nwhat is the square of ")
        ids = torch.from_numpy(row[:stop].astype(np.int64))
        with torch.no_grad():
            chances = own(ids[None, :-1]).logits[0, start - 1 :].log_softmax(-1)
        nats -= chances.gather(-1, ids[start:, None]).sum().item()
    texts = [tokens.decode(row[start : stop - 1]) for row, (start, stop) in zip(data["ids"], data["span"], strict=True)]
    assert all(text[0] == "é" and text.endswith("said the clerk") for text in texts)
    expected = nats / np.log(2) / sum(len(text.encode()) for text in texts)
    same = graded_weights(task, task.base(), tmp_path / "same", monkeypatch)
    assert same["response_bpb"] == pytest.approx(expected, rel=1e-5) == pytest.approx(same["base_bpb"], rel=1e-5)
    tuned = learned(task, sft_parts, "train", 40, whole=False)
    assert graded_weights(task, tuned, tmp_path / "tuned", monkeypatch)["response_bpb"] < 0.7 * expected


def test_changes_beside_every_matrix_are_merged_with_its_bias_and_the_head_changes_alone(
    task: Any, sft_parts: Any
) -> None:
    base, model = task.base(), task.base()
    assert len(sft_parts.train.add_changes(model)) == 2 * 8  # four of attention, three of the MLP, the head
    for module in model.modules():
        if isinstance(module, sft_parts.train.Lora):
            torch.nn.init.normal_(module.up, std=0.1)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias)
    ids = torch.randint(300, (3, 40))
    before = model(ids)
    sft_parts.train.merge(model)
    torch.testing.assert_close(model(ids), before, atol=1e-5, rtol=1e-5)
    state, table = model.state_dict(), "model.model.embed_tokens.weight"
    assert {name: x.shape for name, x in state.items()} == task.shapes()
    assert torch.equal(state[table], base.state_dict()[table])
    assert not torch.equal(state[table], state["model.lm_head.weight"])


def test_the_matrices_of_gpt_2_are_changed_like_those_of_others(sft_parts: Any, llama: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    own = transformers.GPT2LMHeadModel(config)
    for name in ("source", "copy"):
        (tmp_path / name).mkdir()
    hub.tokenizer(str(llama)).save_pretrained(tmp_path / "source")
    for name, parameter in own.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    own.save_pretrained(tmp_path / "source")
    model, ids = hub.copy(str(tmp_path / "source"), tmp_path / "copy"), torch.randint(300, (2, 30))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), own.eval()(ids).logits, atol=1e-5, rtol=1e-5)
    assert len(sft_parts.train.add_changes(model)) == 2 * 5  # two of attention, two of the MLP, the head
    sft_parts.train.merge(model)
    again = hub.copied(tmp_path / "copy").state_dict()
    assert {name: x.shape for name, x in model.state_dict().items()} == {name: x.shape for name, x in again.items()}


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a model needs: its files at each commit, and which one is the latest."""

    commits: ClassVar[dict[str, Path]] = {}
    latest: ClassVar[str] = ""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, _, told = self.path.partition("/org/name/resolve/")
        revision, _, name = told.partition("/")
        revision = self.latest if revision == "main" else revision
        file = self.commits.get(revision, Path("/nowhere")) / name
        body = file.read_bytes() if name and file.is_file() else b""
        if self.path.startswith("/becomes/"):
            Hub.latest, body = self.path.rpartition("/")[2], b"yes"
        self.send_response(200 if body else 404)
        about = {"Content-Length": str(len(body)), "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
                 "X-Repo-Commit": revision, **({} if body else {"X-Error-Code": "EntryNotFound"})}  # fmt: skip
        for header, value in about.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


READ = """
import json, os, sys, urllib.request
from pathlib import Path
import bases, torch
from harness import hub
from harness.files import read_json
from oracle import adopted
folder, later = Path(sys.argv[1]), sys.argv[2]
about, revision = adopted.make(folder, "org/name"), bases.revision_of("org/name")
urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/becomes/{later}").read()
asked = adopted.load(folder, read_json(folder / "model.json"), torch.device("cpu"), 8, 4).frozen.model.table
bases.spelled("org/name", 64, 2**20, revision)
bases.copy("org/name", folder / "copy", 64, 2**20, revision)
tuned, new = bases.load(folder / "copy").model, hub.loaded("org/name")
values = [float(table.flatten()[0]) for table in (asked, *(m.get_input_embeddings().weight for m in (tuned, new)))]
print(json.dumps([about, revision, bases.revision_of("org/name"), values]))
"""


@pytest.mark.sampled(0.2)
def test_all_of_a_model_of_the_hub_is_of_the_commit_that_it_had_first(llama: Path, tmp_path: Path) -> None:
    now, later = "a" * 40, "b" * 40
    Hub.commits, Hub.latest = {now: llama, later: saved(tmp_path / "later", vocab_size=310)}, now
    (tmp_path / "data/copy").mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    places = (TASKS / "sft", TASKS / "prompt", TASKS.parent)
    env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf"),
           "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}  # fmt: skip
    try:
        words = [sys.executable, "-c", READ, str(tmp_path / "data"), later]
        done = subprocess.run(words, env=env, capture_output=True, text=True)
    finally:
        server.shutdown()
    assert done.returncode == 0, done.stderr
    about, revision, then, values = json.loads(done.stdout.splitlines()[-1])
    assert about["revision"] == revision == now and then == later
    assert about["told"].startswith(f"org/name at revision {now}: ")
    models = [hub.loaded(str(place)) for place in Hub.commits.values()]
    first, second = (model.get_input_embeddings().weight[0, 0].item() for model in models)
    assert values == [first, first, second] and first != second


def test_the_commit_of_a_base_is_in_the_manifest(
    sft_parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(sft_parts.bases, "revision_of", lambda source: "c" * 40 if source == "org/name" else "")

    class Made(sft_parts.prepare.Sft):  # type: ignore[misc]  # a module that was loaded by path
        def make(self, workers: int) -> dict[str, dict[str, np.ndarray]]:
            return {"train": {"ids": np.zeros((1, 2))}}

        def complete(self, folder: Path) -> None:
            pass

    manifests = []
    for base in ("org/name", "trained"):
        made = Made(sft_parts.prepare.HERE, sft_parts.prepare.Options(base=base), Budget("steps", 20))
        manifests.append(read_json(made.prepare() / "manifest.json"))
    assert (manifests[0]["base"], manifests[0]["revision"]) == ("org/name", "c" * 40)
    assert not {"base", "revision"} & {*manifests[1]}


def test_a_model_without_a_template_has_each_message_behind_its_role(sft_parts: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "plain", template=None)
    spelled = sft_parts.bases.spelled(str(folder), 64, 2**20)
    chat = [("user", "hi"), ("assistant", "ho"), ("user", "again"), ("assistant", "well")]
    ids, start = spelled.ids_of(chat)
    assert spelled.tokens.decode(ids[:start]) == "user: hi\nassistant: ho\nuser: again\nassistant: "
    assert spelled.tokens.decode(ids[start:]) == "well<|end|>" and ids.dtype == np.int32


def test_what_cannot_be_a_base_is_named(
    sft_parts: Any, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bases = sft_parts.bases
    for folder in ("short", "large"):
        (tmp_path / folder).mkdir()
    with pytest.raises(TaskError, match="takes rows of 128 tokens, and this profile has 129"):
        bases.copy(str(llama), tmp_path / "short", 129, 2**20)
    with pytest.raises(TaskError, match="MiB of weights, and this profile takes 0; choose a larger profile"):
        bases.copy(str(llama), tmp_path / "large", 64, 2**14)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    with pytest.raises(TaskError, match="broken cannot be loaded"):
        bases.copy(str(broken), tmp_path / "short", 64, 2**20)
    strict = saved(tmp_path / "strict", template="{{ raise_exception('users alone') }}")
    spelled = bases.spelled(str(strict), 64, 2**20)
    found = [("train", [("user", "hi"), ("assistant", "ho")])]
    assert len(sft_parts.pairs.arrays(found, spelled, 64, 9)["train"]["ids"]) == 0
    assert "left out  1 conversations that the chat template refuses: users alone" in capsys.readouterr().out
    with pytest.raises(TaskError, match="has 0 MiB of weights, and this profile takes 0"):
        bases.spelled(str(llama), 64, 2**14)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TaskError, match="needs transformers; install it"):
        bases.spelled(str(llama), 64, 2**20)


def test_a_model_that_looks_ahead_is_none_to_begin_with(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    saved(tmp_path / "other")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
             "vocab_size": 300, "max_position_embeddings": 130}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.RobertaConfig(**sizes)
    transformers.RobertaForCausalLM(config).save_pretrained(tmp_path / "other")
    (tmp_path / "copy").mkdir()
    with pytest.raises(TaskError, match=r"looks at the tokens that follow|computes something else"):
        hub.copy(str(tmp_path / "other"), tmp_path / "copy")


def test_the_end_of_a_response_is_what_the_template_puts_there(sft_parts: Any, tmp_path: Path) -> None:
    other = TEMPLATE.replace("<|end|>", "<|start|>")  # the tokenizer's own end stays <|end|>
    spelled = sft_parts.bases.spelled(str(saved(tmp_path / "other", template=other)), 64, 2**20)
    ids, start = spelled.ids_of([("user", "hi"), ("assistant", "ho")])
    assert spelled.tokens.decode(ids[start:]) == "ho<|start|>"
    assert spelled.tokens.eos_token == "<|end|>"


def test_a_base_that_changed_is_copied_anew_and_one_that_is_gone_stays(sft_parts: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = sft_parts.bases.fingerprint(str(folder))
    (folder / "config.json").write_text('{"a": 1}')
    assert before != sft_parts.bases.fingerprint(str(folder)) and len(before) == len(hashlib.sha256().hexdigest())
    assert sft_parts.bases.fingerprint(str(tmp_path / "gone")) == sft_parts.bases.fingerprint("org/name") == ""


def test_the_oracle_of_prompt_asks_such_a_model_as_it_asks_its_own(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TASKS / "prompt"))
    adopted = importlib.import_module("oracle.adopted")
    assert adopted.make(tmp_path, str(llama))["model"] == str(llama)
    base = adopted.load(tmp_path, read_json(tmp_path / "model.json"), torch.device("cpu"), 8, 4)
    model, tokens = hub.loaded(str(llama)), hub.tokenizer(str(llama))
    string, target = base.allowed[:8], base.allowed[8:12]
    assert not {*tokens.all_special_ids} & {*base.allowed.tolist()}
    ids = torch.tensor([[tokens.eos_token_id, *string, *target]])
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(ids).logits[0, 8:-1], ids[0, 9:]).item()
    assert base.frozen.score(string, target)[0] == pytest.approx(expected, rel=1e-5)
