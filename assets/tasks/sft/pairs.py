"""Conversations to learn from, and the rows that they become.

A conversation is a list of (role, text) that ends with the assistant's response, which alone is learned and scored. Two
sources: documented functions of Python's own library, and files of chats as `autoresearch generate` and the hub have
them.
"""

from __future__ import annotations

import ast
import json
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from chat_ids import Chat, ChatIds, Refused
from harness.errors import TaskError
from harness.text.documents import SPLITS, held_out_of_python, python_files, split_of

HIDDEN, FOUND = 0.4, 0.1
"""Parts of the library's held-out functions, and of the chats of a file, that go to each of search and locked."""


def library() -> Iterator[tuple[str, Chat]]:
    """(split, conversation) of the documented functions of Python's library: from signature and docstring to body.

    Those in the folders that no run needs are held out, since a run can read all the others."""
    for path in python_files():
        if path.suffix == ".py":
            held_out = held_out_of_python(path)
            with suppress(OSError, SyntaxError, ValueError):  # old files that this Python does not read
                for prompt, response in functions(path.read_text(encoding="utf-8")):
                    split = split_of(f"{prompt}{response}".encode(), HIDDEN) if held_out else "train"
                    if split != "train" or not held_out:
                        yield split, [("user", prompt), ("assistant", response)]


def functions(source: str) -> Iterator[tuple[str, str]]:
    """(signature with the docstring's first paragraph, body) of each documented function of a program, without its
    indentation. Raises SyntaxError."""
    lines = source.splitlines()
    with warnings.catch_warnings(action="ignore"):  # of escapes in old strings
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or len(node.body) < 2 or not (doc := ast.get_docstring(node)):
            continue
        last, end = node.body[0].end_lineno or 0, node.end_lineno or 0
        if node.body[1].lineno <= last:  # a body in the docstring's line
            continue
        head = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1]))
        about = textwrap.indent(doc.split("\n\n")[0], "    ").strip()
        body = textwrap.dedent("\n".join(lines[last:end])).strip("\n")
        yield f'{head}\n    """{about}"""', body


def chats(path: Path) -> Iterator[tuple[str, Chat]]:
    """(split, conversation) of each line of a jsonl or parquet file whose `messages` have an assistant's. What is asked
    alone decides the split, by its hash: other responses to it are in the same one. Raises TaskError."""
    for number, messages in enumerate(conversations(path), 1):
        try:
            chat = [(str(each["role"]), whole(str(each["content"]))) for each in messages]
        except (TypeError, KeyError):
            raise TaskError(f"{path}: conversation {number} has no messages of role and content") from None
        if len(chat) > 1 and chat[0][0] == "system":  # said with what is asked first
            chat[:2] = [("user", f"{chat[0][1]}\n\n{chat[1][1]}")]
        while chat and chat[-1][0] != "assistant":
            chat.pop()
        if len(chat) > 1 and chat[-1][1].strip() and {role for role, _ in chat} <= {"user", "assistant"}:
            asked = [message for message in chat[:-1] if message[0] != "assistant"]
            yield split_of(json.dumps(asked).encode(), FOUND), chat


def whole(text: str) -> str:
    """Without half of a character of two, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def conversations(path: Path) -> Iterator[list[dict[str, str]]]:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            file = pq.ParquetFile(path)
            if "messages" not in file.schema_arrow.names:
                raise KeyError("no column messages")
            for batch in file.iter_batches(batch_size=256, columns=["messages"]):
                yield from batch.column(0).to_pylist()
            return
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line)["messages"] for line in file if line.strip())
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:120] or type(error).__name__
        raise TaskError(f"{path} has no conversations ({reason}); each line needs messages: role, content") from None


def arrays(
    found: Iterable[tuple[str, Chat]], spelled: ChatIds, length: int, most: int
) -> dict[str, dict[str, np.ndarray]]:
    """Of each split `ids` [N, length + 1], filled up with the id that ends a response, and `span` int64 [N, 2], where
    the response begins and ends; of a held-out one also `size` int64 [N], the bytes of its text. Left out: what is
    longer, what came before, what cannot be spelled, and of a held-out split all beyond `most`."""
    rows: dict[str, dict[bytes, tuple[np.ndarray, int, int]]] = {split: {} for split in SPLITS}
    kind = np.dtype(np.uint16)
    refused = []
    for split, chat in found:
        try:
            ids, start = spelled.ids_of(chat)
        except Refused as why:
            refused.append(str(why))
            continue
        kind = ids.dtype
        if len(ids) <= length + 1 and (split == "train" or len(rows[split]) < most):
            rows[split].setdefault(ids.tobytes(), (ids, start, len(chat[-1][1].encode())))
    if refused:
        print(f"left out  {len(refused)} conversations that the chat template refuses: {refused[0]}", flush=True)
    learned = {*rows["train"]}
    made = {}
    for split, own in rows.items():
        kept = [row for key, row in own.items() if split == "train" or key not in learned]
        ids = np.full((len(kept), length + 1), spelled.end, kind)
        for row, (each, _, _) in zip(ids, kept, strict=True):
            row[: len(each)] = each
        span = np.array([(start, len(each)) for each, start, _ in kept], np.int64).reshape(-1, 2)
        made[split] = {"ids": ids, "span": span}
        if split != "train":
            made[split]["size"] = np.array([size for _, _, size in kept], np.int64)
    return made
