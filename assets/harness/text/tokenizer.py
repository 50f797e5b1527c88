"""Byte-level BPE, and the tokenizer whose tokens are bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.files import read_json, write_json
from harness.text.documents import cut

if TYPE_CHECKING:
    import tiktoken

SPECIAL_TOKENS = ("<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
SPLIT_PATTERN = (  # GPT-4's, but at most two digits in a token, as nanochat has it for small vocabularies
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Byte-level BPE: learned by rustbpe, run by tiktoken, stored as JSON. The last four ids are special.

    With no tokens but the 256 bytes, a token is a byte.
    """

    def __init__(self, tokens: list[bytes], vocab_size: int, pattern: str = SPLIT_PATTERN) -> None:
        self.tokens, self.vocab_size, self.pattern = tokens, vocab_size, pattern
        self.special = {name: vocab_size - len(SPECIAL_TOKENS) + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.bos = self.special["<|bos|>"]

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        import tiktoken

        ranks = {token: rank for rank, token in enumerate(self.tokens)}
        return tiktoken.Encoding("pretrain", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens=self.special)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """The same texts give the same tokenizer. Little text leaves some ids without a token."""
        if vocab_size == 256 + len(SPECIAL_TOKENS):
            return cls([bytes([value]) for value in range(256)], vocab_size)
        import rustbpe

        trainer = rustbpe.Tokenizer()
        pieces = (piece for text in texts for piece in cut(text, 2**16))  # it holds a thousand of them at a time
        trainer.train_from_iterator(pieces, vocab_size - len(SPECIAL_TOKENS), 1024, SPLIT_PATTERN)
        ranked = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
        return cls([token for _, token in ranked], vocab_size)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """From a tokenizer.json. Raises TaskError."""
        table = read_json(path)
        return cls([base64.b64decode(token) for token in table["tokens"]], table["vocab_size"], table["pattern"])

    def save(self, path: Path) -> None:
        own = {"vocab_size": self.vocab_size, "pattern": self.pattern, "special": self.special}
        write_json(path, own | {"tokens": [base64.b64encode(token).decode() for token in self.tokens]})

    def encode(self, *texts: str) -> np.ndarray:
        """uint16 ids of documents, each behind its <|bos|>; special tokens spelled out are plain text."""
        parts: list[Any] = []
        for text in texts:
            byte = len(self.tokens) == 256
            ids = (
                np.frombuffer(text.encode(), np.uint8)
                if byte
                else self.encoding.encode_to_numpy(text, disallowed_special=())
            )
            parts += [[self.bos], ids]
        return np.concatenate(parts, dtype=np.uint16, casting="unsafe")

    def decode(self, ids: Iterable[int]) -> str:
        names = {rank: name.encode() for name, rank in self.special.items()}
        return b"".join(names[i] if i in names else self.tokens[i] for i in ids).decode("utf-8", "replace")

    def token_bytes(self, reference: bool = False) -> np.ndarray:
        """int64 [vocab]: raw bytes of each token; 0 for special tokens and for ids without a token.

        With `reference` as karpathy/autoresearch counts them: of a token that is not UTF-8 by itself, those of the
        characters that stand in for it.
        """
        own = [len(t.decode("utf-8", "replace").encode()) if reference else len(t) for t in self.tokens]
        return np.array(own + [0] * (self.vocab_size - len(own)), dtype=np.int64)
