"""Sources, splits, tokenizer and packed rows."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import itertools
import json
import random
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from harness.errors import TaskError
from harness.files import Progress
from harness.task import Budget
from harness.text import corpus, documents, packing
from harness.text.rows import HEADER, MAGIC, open_rows, write_rows
from pretrain_workspace import new_workspace, story

MIXED = [
    "plain words",
    "caf\u00e9 na\u00efve",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "\U0001f600\U0001f469\u200d\U0001f680 ok",
    "\x00\x7f\ufffd\t\r\n",
    "  12345 <|bos|> x",
]


def task(prepare: ModuleType, source: Path | str, **options: object) -> Any:
    return prepare.Pretrain(prepare.HERE, prepare.Options(source=str(source), **options), Budget("steps", 3.0))


def hashes(folder: Path) -> dict[str, str]:
    return json.loads((folder / "manifest.json").read_text())["sha256"]


# Tokenizer


def test_the_same_text_gives_the_same_tokenizer(prepare: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare.Tokenizer.train((story(n) for n in range(30)), 700).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_stored_tokenizer_encodes_as_before(prepare: ModuleType, tmp_path: Path) -> None:
    tokenizer = prepare.Tokenizer.train([story(1), *MIXED], 400)
    tokenizer.save(tmp_path / "t.json")
    again = prepare.Tokenizer.load(tmp_path / "t.json")
    for text in MIXED:
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


def tokenizers(prepare: ModuleType) -> list[Any]:
    return [prepare.Tokenizer.train((story(n) for n in range(5)), 500), prepare.Tokenizer.train([], 260)]


@pytest.mark.parametrize("text", [*MIXED, b"caf\xe9 \xf0\x9f\x98 cut".decode("utf-8", "replace")])
def test_token_bytes_add_up_to_the_bytes_of_the_text(prepare: ModuleType, text: str) -> None:
    for tokenizer in tokenizers(prepare):
        ids = tokenizer.encode(text)
        assert ids[0] == tokenizer.bos
        assert tokenizer.decode(ids[1:].tolist()) == text
        assert tokenizer.token_bytes()[ids].sum() == len(text.encode())


def test_token_bytes_are_those_of_tiktoken(prepare: ModuleType) -> None:
    [tokenizer, plain] = tokenizers(prepare)
    sizes = [len(tokenizer.encoding.decode_single_token_bytes(i)) for i in range(len(tokenizer.tokens))]
    assert tokenizer.token_bytes()[: len(sizes)].tolist() == sizes
    assert plain.encode("ab\u00e9").tolist() == [256, 97, 98, 0xC3, 0xA9]


def test_the_reference_counts_a_lone_byte_of_a_character_as_three(prepare: ModuleType) -> None:
    plain = prepare.Tokenizer.train([], 260)
    assert plain.token_bytes(reference=True)[[65, 0xC3, 0xA9, 256]].tolist() == [1, 3, 3, 0]


def test_special_tokens_have_the_last_ids_and_no_bytes(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.train([story(3)], 320)
    assert list(tokenizer.special.values()) == [316, 317, 318, 319]
    assert tokenizer.token_bytes()[316:].tolist() == [0, 0, 0, 0]
    assert tokenizer.bos not in tokenizer.encode("a <|bos|> in a text is text")[1:]


# Packing


def packed(prepare: ModuleType, documents: list[list[int]], width: int) -> list[list[int]]:
    arrays = (np.array(document, dtype=np.uint16) for document in documents)
    return [row.tolist() for row in packing.pack(arrays, width)]


def plain_best_fit(documents: list[list[int]], width: int, buffer: int, refill: int) -> list[list[int]]:
    """The same rule, written with a plain list that is searched for each choice."""
    waiting, rows, row, left = [], [], [], list(documents)
    while left or waiting:
        while left and len(waiting) < buffer:
            waiting, left = waiting + left[:refill], left[refill:]
        room = width - len(row)
        fitting = [d for d in waiting if len(d) <= room]
        chosen = max(fitting, key=len) if fitting else min(waiting, key=len)  # the first of equals
        waiting.remove(chosen)
        row += chosen[:room]
        if len(row) == width:
            rows.append(row)
            row = []
    return rows


def mixed_documents(count: int, seed: int) -> list[list[int]]:
    """Some much longer than a row of 33; no two alike, so that the order of equals shows."""
    rng = random.Random(seed)
    sizes = (rng.choice([1, 2, 5, 15, 31, 32, 33, 90, 300]) for _ in range(count))
    return [[9999, *(rng.randrange(9000) for _ in range(size))] for size in sizes]


@pytest.mark.parametrize(("buffer", "refill"), [(7, 3), (1000, 128)])
def test_packing_equals_a_plain_best_fit(
    prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, buffer: int, refill: int
) -> None:
    monkeypatch.setattr(packing, "PACK_BUFFER", buffer)
    monkeypatch.setattr(packing, "PACK_REFILL", refill)
    documents = mixed_documents(1500, buffer)
    rows = packed(prepare, documents, 33)
    assert len(rows) > 500
    assert rows == plain_best_fit(documents, 33, buffer, refill)
    assert all(row[0] == 9999 for row in rows)


@pytest.mark.parametrize("block", [1, 7, 64, 10**6])
def test_documents_come_back_from_files_of_tokens_whatever_is_read_at_a_time(
    prepare: ModuleType, tmp_path: Path, block: int
) -> None:
    documents = mixed_documents(60, 3)
    for number, part in enumerate((documents[:25], [], documents[25:])):
        flat = np.array([token for document in part for token in document], dtype="<u2")
        (tmp_path / f"{number}.bin").write_bytes(HEADER.pack(MAGIC, 1, len(flat)) + flat.tobytes())
    found = packing.read_tokens(sorted(tmp_path.iterdir()), 9999, block)
    assert [document.tolist() for document in found] == documents


def test_cutting_long_documents_keeps_all_their_tokens(prepare: ModuleType) -> None:
    document = [9999, *range(32 * 5 + 7)]
    pieces = list(packing.cut_tokens([np.array(document, dtype=np.uint16)], 33))
    assert [token for piece in pieces for token in piece.tolist()[1:]] == document[1:]
    assert all(piece[0] == 9999 and len(piece) <= 33 for piece in pieces)


def test_a_truncated_file_of_rows_is_refused(prepare: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    row = np.arange(1, 6, dtype=np.uint16)
    assert write_rows([row, row + 5], path, 5, Progress("rows")) == 2
    assert open_rows(path).tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TaskError, match="damaged"):
        open_rows(path)


# Sources and splits


def test_cut_loses_nothing_and_keeps_to_its_limit(prepare: ModuleType) -> None:
    for text in (story(1, 500), "x" * 1000, "a b " * 300):
        parts = list(documents.cut(text, 100))
        assert "".join(parts) == text
        assert max(map(len, parts)) <= 100


def texts_of(prepare: ModuleType, folder: Path, split: str) -> set[str]:
    tokenizer = prepare.Tokenizer.load(folder / "tokenizer.json")
    return {tokenizer.decode(row[1:]) for row in open_rows(folder / f"{split}.bin").tolist()}


def test_no_document_is_in_two_splits(prepare: ModuleType, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    texts = [story(n % 300) for n in range(400)]  # a hundred come twice
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    chosen = task(prepare, path)
    folder = chosen.prepare()
    counts = json.loads((folder / "manifest.json").read_text())["splits"]
    total = path.stat().st_size
    found: dict[str, set[str]] = {split: set() for split in documents.SPLITS}
    for split, text, _ in documents.documents(chosen.source_files(), "text", chosen.share(total), 4096):
        found[split].add(text)
    assert not any(found[one] & found[other] for one, other in itertools.combinations(documents.SPLITS, 2))
    assert set().union(*found.values()) == set(texts)
    assert sum(count["documents"] for count in counts.values()) == 400
    assert counts["search"]["rows"] > 0 < counts["locked"]["rows"]
    kept = texts_of(prepare, folder, "train")
    assert not kept & (texts_of(prepare, folder, "search") | texts_of(prepare, folder, "locked"))


def test_no_more_text_is_read_than_the_profile_says(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prepare.PROFILES, "tiny", dataclasses.replace(prepare.PROFILES["tiny"], text_bytes=50_000))
    for n in range(9):
        (tmp_path / f"{n}.txt").write_text(story(n, 200))
    chosen = task(prepare, tmp_path)
    files = chosen.source_files()
    read = sum(size for _, _, size in documents.documents(files, "text", chosen.share(50_000), 4096))
    assert 30_000 < read <= 50_000
    assert len(files) < 9


def test_preparing_twice_makes_the_same_and_a_changed_source_is_noticed(
    prepare: ModuleType, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(story(n) for n in range(60)))
    chosen = task(prepare, path)
    folder = chosen.prepare()
    first, made = hashes(folder), (folder / "train.bin").stat().st_mtime_ns
    chosen.prepare()
    assert (folder / "train.bin").stat().st_mtime_ns == made
    chosen.prepare(force=True)
    assert hashes(folder) == first
    path.write_text("\n\n".join(story(n) for n in range(70)))
    chosen.prepare()
    assert hashes(folder) != first
    assert not list(folder.parent.rglob("*.part"))


def test_another_row_length_is_packed_without_tokenising_again(
    prepare: ModuleType, cache: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = task(prepare, text_file).prepare()

    def refuse(*_: object) -> None:
        raise AssertionError("the text was tokenised again")

    monkeypatch.setattr(corpus, "write_tokens", refuse)
    other = task(prepare, text_file, seq_len=64).prepare()
    assert open_rows(one / "train.bin").shape[1] == 257
    assert open_rows(other / "train.bin").shape[1] == 65
    assert (one / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()


def test_preparing_that_was_killed_goes_on_and_ends_the_same(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(6):
        (source / f"{n}.txt").write_text(story(n, 900))
    monkeypatch.setattr(corpus, "GROUP_BYTES", 50_000)
    seen, groups, whole = [], 0, corpus.write_tokens
    for stop in (99, 0, 1, 2):
        monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / f"cache{stop}"))
        calls: list[Any] = []

        def interrupted(*arguments: Any, stop: int = stop, calls: list[Any] = calls) -> None:
            calls.append(arguments)
            if len(calls) == stop + 1:
                raise KeyboardInterrupt
            whole(*arguments)

        monkeypatch.setattr(corpus, "write_tokens", interrupted)
        if stop < 99:
            with pytest.raises(KeyboardInterrupt):
                task(prepare, source).prepare()
            calls.clear()
            calls += [None] * 99
        seen.append(hashes(task(prepare, source).prepare()))
        groups = len(calls) if stop == 99 else groups
        assert stop == 99 or len(calls) == 99 + groups - stop  # what was finished is not done again
    assert groups > 2
    assert all(each == seen[0] for each in seen)


def test_byte_tokens_make_a_vocabulary_of_bytes(prepare: ModuleType, cache: Path, text_file: Path) -> None:
    chosen = task(prepare, text_file, tokenizer="byte")
    folder = chosen.prepare()
    assert chosen.profile.vocab_size == 260
    assert open_rows(folder / "train.bin").max() == 256
    assert all(text in text_file.read_text() or "\n" in text for text in texts_of(prepare, folder, "search"))


def test_climbmix_uses_shards_that_are_there_and_holds_out_the_last(prepare: ModuleType, cache: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = cache / "climbmix"
    shards.mkdir(parents=True)
    for name, numbers in (("shard_00000", range(90)), ("shard_06542", range(80, 160))):
        pq.write_table(pa.table({"text": [story(n) for n in numbers]}), shards / f"{name}.parquet")
    chosen = task(prepare, "climbmix", shards=1)
    counts = json.loads((chosen.prepare() / "manifest.json").read_text())["splits"]
    assert counts["train"]["documents"] == 90
    assert counts["search"]["documents"] > 10 < counts["locked"]["documents"]
    assert sum(counts[split]["documents"] for split in ("search", "locked", "control")) == 80


def test_a_failed_download_names_the_shard_and_the_way_out(
    prepare: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def refuse(repo: str, name: str, **_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(TaskError, match=r"2 of 2 files did not arrive, first shard_00000\.parquet.*--source python"):
        task(prepare, "climbmix", shards=1).prepare()


BAD_SOURCES = {
    "missing.txt": (None, "does not exist"),
    "data.xyz": (b"abc", "no known kind"),
    "empty.txt": (b"", "too little text"),
    "short.txt": (b"Only one line.\n", "too little text"),
    "utf16.txt": ("wide letters".encode("utf-16"), "not UTF-8"),
    "cut.parquet": (b"PAR1 and then nothing", "cannot be read"),
    "long.jsonl": ("a long line", "split this document"),  # made when it is needed: each process here is forked
    "lines.jsonl": (b'{"text": "fine"}\n{"body": "not here"}\n', "lines.jsonl:2"),
    "folder": ("directory", "has no text"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    content, words = BAD_SOURCES[name]
    path = tmp_path / name
    if content == "directory":
        path.mkdir()
    elif content == "a long line":
        path.write_bytes(b'{"text": "' + b"x" * 2**28 + b'"}\n')
    elif content is not None:
        path.write_bytes(content)
    workspace = new_workspace(tmp_path / "ws", path, "steps = 3", tmp_path / "cache")
    done = workspace.run("prepare.py")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert words in line


def test_a_bad_toml_is_one_line(tmp_path: Path) -> None:
    workspace = new_workspace(tmp_path / "ws", "python", "steps = 3", tmp_path / "cache")
    workspace.edit("autoresearch.toml", "steps = 3", "hours = 3")
    done = workspace.run("prepare.py")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "budget" in line


def test_training_without_data_says_what_to_run(tmp_path: Path) -> None:
    workspace = new_workspace(tmp_path / "ws", "python", "steps = 3", tmp_path / "cache")
    done = workspace.run("prepare.py", "info")
    assert done.returncode == 1
    assert done.stderr == "error: the data is not prepared; run: python prepare.py\n"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as a download needs: the files of one dataset, by name."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    breaks: ClassVar[set[str]] = set()
    """Files whose next transfer ends half-way."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        self.asked.append(f"GET {name}" if with_body else self.path)
        body = self.files.get(name, b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body and name in self.breaks:
            self.breaks.remove(name)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_shards_are_downloaded_once_from_the_endpoint_that_is_set(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, numbers in (("shard_00000", range(90)), ("shard_06542", range(90, 160))):
        pq.write_table(pa.table({"text": [story(n) for n in numbers]}), tmp_path / f"{name}.parquet")
        Hub.files[f"{name}.parquet"] = (tmp_path / f"{name}.parquet").read_bytes()
    Hub.breaks.add("shard_00000.parquet")
    workspace = new_workspace(tmp_path / "ws", "climbmix", "steps = 3", tmp_path / "cache")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")}
    try:
        done = workspace.run("prepare.py", "--shards", "1", **endpoint)
        assert done.returncode == 0, done.stderr
        assert any("karpathy/climbmix-400b-shuffle" in path for path in Hub.asked)
        assert (tmp_path / "cache/climbmix/shard_00000.parquet").read_bytes() == Hub.files["shard_00000.parquet"]
        assert Hub.asked.count("GET shard_00000.parquet") == 2  # the transfer that broke off was tried again
        count = len(Hub.asked)
        again = workspace.run("prepare.py", "--shards", "1", "--force", **endpoint)
        assert again.returncode == 0, again.stderr
        assert len(Hub.asked) == count
        del Hub.files["shard_06542.parquet"]
        (tmp_path / "cache" / "climbmix" / "shard_06542.parquet").write_bytes(b"PAR1 and no more")
        failed = workspace.run("prepare.py", "--shards", "1", "--force", **endpoint)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1].startswith("error: 1 of 2 files did not arrive, first shard_06542")
    finally:
        server.shutdown()
