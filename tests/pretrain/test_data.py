"""Sources, splits, tokenizer and packed rows."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import random
import threading
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from conftest import new_workspace, story

MIXED = [
    "plain words",
    "caf\u00e9 na\u00efve",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "\U0001f600\U0001f469\u200d\U0001f680 ok",
    "\x00\x7f\ufffd\t\r\n",
    "  12345 <|bos|> x",
]


def config(prepare: ModuleType, source: Path | str, **values: object) -> object:
    options = {"profile_name": "tiny", "column": "text", "shards": 0, "budget_kind": "steps", "budget": 3.0}
    return prepare.Config(source=str(source), **{**options, **values})


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


@pytest.mark.parametrize("text", MIXED)
def test_token_bytes_add_up_to_the_bytes_of_the_text(prepare: ModuleType, text: str) -> None:
    tokenizer = prepare.Tokenizer.train((story(n) for n in range(5)), 500)
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos
    assert tokenizer.decode(ids[1:].tolist()) == text
    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())


def test_special_tokens_have_the_last_ids_and_no_bytes(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.train([story(3)], 320)
    assert list(tokenizer.special.values()) == [316, 317, 318, 319]
    assert tokenizer.token_bytes()[316:].tolist() == [0, 0, 0, 0]
    assert tokenizer.bos not in tokenizer.encode("a <|bos|> in a text is text")[1:]


# Packing


def pack(prepare: ModuleType, documents: list[list[int]], width: int, cut_long: bool) -> list[list[int]]:
    file = io.BytesIO()
    packer = prepare.Packer(file, width, float("inf"), cut_long)
    for document in documents:
        packer.add(np.array(document, dtype=np.uint16))
    rows = packer.close()
    body = np.frombuffer(file.getvalue()[prepare.ROWS_HEADER.size :], dtype="<u2")
    return body.reshape(rows, width).tolist()


def plain_best_fit(documents: list[list[int]], width: int, size: int) -> list[list[int]]:
    """The same rule, written with a plain list that is searched for each choice."""
    waiting, rows, row, left = [], [], [], list(documents)
    while left or waiting:
        while left and len(waiting) < size:
            waiting.append(left.pop(0))
        room = width - len(row)
        fitting = [d for d in waiting if len(d) <= room]
        chosen = max(fitting, key=len) if fitting else min(waiting, key=len)  # the first of equals
        waiting.remove(chosen)
        row += chosen[:room]
        if len(row) == width:
            rows.append(row)
            row = []
    return rows


@pytest.mark.parametrize("size", [7, 1000])
def test_packing_equals_a_plain_best_fit(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(prepare, "PACK_BUFFER", size)
    rng = random.Random(size)
    documents = [
        [9999, *(rng.randrange(9000) for _ in range(rng.choice([1, 2, 5, 15, 31, 32, 33, 90])))] for _ in range(1500)
    ]
    rows = pack(prepare, documents, 33, cut_long=False)
    assert len(rows) > 500
    assert rows == plain_best_fit(documents, 33, size)
    assert all(row[0] == 9999 for row in rows)


def test_cutting_long_documents_keeps_all_their_tokens(prepare: ModuleType) -> None:
    document = [9999, *range(32 * 5)]
    rows = pack(prepare, [document], 33, cut_long=True)
    assert [token for row in rows for token in row[1:]] == document[1:]
    assert all(row[0] == 9999 for row in rows)


def test_a_truncated_file_of_rows_is_refused(prepare: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with path.open("wb") as file:
        packer = prepare.Packer(file, 5, float("inf"), False)
        packer.add(np.arange(1, 11, dtype=np.uint16))
        assert packer.close() == 1
    assert prepare.open_rows(path).tolist() == [[1, 2, 3, 4, 5]]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(prepare.TaskError, match="damaged"):
        prepare.open_rows(path)


# Sources and splits


def test_cut_loses_nothing_and_keeps_to_its_limit(prepare: ModuleType) -> None:
    for text in (story(1, 500), "x" * 1000, "a b " * 300):
        parts = list(prepare.cut(text, 100))
        assert "".join(parts) == text
        assert max(map(len, parts)) <= 100


def test_no_document_is_in_two_splits(prepare: ModuleType, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    texts = [story(n % 300) for n in range(400)]  # a hundred come twice
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    chosen = config(prepare, path)
    folder = prepare.prepare(chosen)
    counts = json.loads((folder / "manifest.json").read_text())["splits"]
    splits = prepare.held_out([path], chosen)
    search = {key for key, split in splits.items() if split == "search"}
    locked = {key for key, split in splits.items() if split == "locked"}
    everything = {key for key, _, _ in prepare.documents([path], chosen)}
    assert not search & locked
    assert search | locked < everything
    assert counts["search"]["rows"] > 0 < counts["locked"]["rows"]
    assert counts["train"]["documents"] == len(everything) - len(splits)
    tokenizer = prepare.Tokenizer.load(folder / "tokenizer.json")
    kept = {tokenizer.decode(row[1:]) for row in prepare.open_rows(folder / "train.bin").tolist()}
    for split in ("search", "locked"):
        rows = prepare.open_rows(folder / f"{split}.bin").tolist()
        assert not kept & {tokenizer.decode(row[1:]) for row in rows}


def test_preparing_twice_makes_the_same_and_a_changed_source_is_noticed(
    prepare: ModuleType, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(story(n) for n in range(60)))
    chosen = config(prepare, path)
    folder = prepare.prepare(chosen)
    first, made = prepare.manifest_hash(folder), (folder / "train.bin").stat().st_mtime_ns
    prepare.prepare(chosen)
    assert (folder / "train.bin").stat().st_mtime_ns == made
    prepare.prepare(chosen, force=True)
    assert prepare.manifest_hash(folder) == first
    path.write_text("\n\n".join(story(n) for n in range(70)))
    prepare.prepare(chosen)
    assert prepare.manifest_hash(folder) != first
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_climbmix_uses_shards_that_are_there_and_holds_out_the_last(prepare: ModuleType, cache: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    shards = cache / "climbmix"
    shards.mkdir(parents=True)
    for name, numbers in (("shard_00000", range(90)), ("shard_06542", range(80, 160))):
        pq.write_table(pa.table({"text": [story(n) for n in numbers]}), shards / f"{name}.parquet")
    chosen = config(prepare, "climbmix", shards=1)
    counts = json.loads((prepare.prepare(chosen) / "manifest.json").read_text())["splits"]
    assert counts["train"]["documents"] == 80  # ten of the first shard are in the last one too
    assert counts["search"]["documents"] > 10 < counts["locked"]["documents"]


def test_a_failed_download_names_the_shard_and_the_way_out(
    prepare: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def refuse(repo: str, name: str, **_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(
        prepare.TaskError, match=r"2 of 2 shards did not arrive, first shard_00000\.parquet.*--source python"
    ):
        prepare.prepare(config(prepare, "climbmix", shards=1))


BAD_SOURCES = {
    "missing.txt": (None, "does not exist"),
    "data.xyz": (b"abc", "no known kind"),
    "empty.txt": (b"", "too little text"),
    "short.txt": (b"Only one line.\n", "too little text"),
    "utf16.txt": ("wide letters".encode("utf-16"), "not UTF-8"),
    "cut.parquet": (b"PAR1 and then nothing", "cannot be read"),
    "lines.jsonl": (b'{"text": "fine"}\n{"body": "not here"}\n', "lines.jsonl:2"),
    "folder": ("directory", "has no text"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    content, words = BAD_SOURCES[name]
    path = tmp_path / name
    if content == "directory":
        path.mkdir()
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

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        self.asked.append(self.path)
        body = self.files.get(name, b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_shards_are_downloaded_once_from_the_endpoint_that_is_set(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name, numbers in (("shard_00000", range(90)), ("shard_06542", range(90, 160))):
        pq.write_table(pa.table({"text": [story(n) for n in numbers]}), tmp_path / f"{name}.parquet")
        Hub.files[f"{name}.parquet"] = (tmp_path / f"{name}.parquet").read_bytes()
    workspace = new_workspace(tmp_path / "ws", "climbmix", "steps = 3", tmp_path / "cache")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")}
    try:
        done = workspace.run("prepare.py", "--shards", "1", **endpoint)
        assert done.returncode == 0, done.stderr
        assert any("karpathy/climbmix-400b-shuffle" in path for path in Hub.asked)
        count = len(Hub.asked)
        again = workspace.run("prepare.py", "--shards", "1", "--force", **endpoint)
        assert again.returncode == 0, again.stderr
        assert len(Hub.asked) == count
        del Hub.files["shard_06542.parquet"]
        (tmp_path / "cache" / "climbmix" / "shard_06542.parquet").write_bytes(b"PAR1 and no more")
        failed = workspace.run("prepare.py", "--shards", "1", "--force", **endpoint)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1].startswith("error: 1 of 2 shards did not arrive, first shard_06542")
    finally:
        server.shutdown()
