"""Conversations in the ids of a model: by the harness's tokens of the roles, or as a model of the hub knows them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from harness.errors import TaskError
from harness.text.tokenizer import Tokenizer

Chat = list[tuple[str, str]]
"""(role, text): user and assistant in turn, the assistant's last."""


class ChatIds(Protocol):
    """How conversations are spelled."""

    end: int
    """The id that ends a response, and fills up a row."""

    def ids_of(self, chat: Chat) -> tuple[np.ndarray, int]:
        """(ids [n], place of the response's first one) of a conversation; the last is `end`. Raises TaskError."""
        ...


class OwnIds:
    """Of a base of our own, or of pretrain: each message behind the token of its role, each response ended."""

    def __init__(self, tokens: Tokenizer) -> None:
        self.tokens, self.end = tokens, tokens.special["<|end|>"]

    def ids_of(self, chat: Chat) -> tuple[np.ndarray, int]:
        parts, start = [[self.tokens.bos]], 0
        for role, text in chat:
            own = [self.tokens.special[f"<|{role}|>"], *self.tokens.encode(text)[1:]]
            start = sum(map(len, parts)) + 1
            parts.append([*own, self.end] if role == "assistant" else own)
        return np.concatenate(parts).astype(np.uint16), start


class HubIds:
    """Of a model of the hub: by its chat template, or where it has none each message behind the name of its role."""

    def __init__(self, source: str, tokens: Any) -> None:
        """`tokens` is a tokenizer of transformers. Raises TaskError for one without a token that ends a text."""
        if tokens.eos_token_id is None:
            raise TaskError(f"the tokenizer of {source} has no token that ends a text; name another model")
        self.source, self.tokens, self.end = source, tokens, int(tokens.eos_token_id)

    def ids_of(self, chat: Chat) -> tuple[np.ndarray, int]:
        asked = [{"role": role, "content": text} for role, text in chat[:-1]]
        if self.tokens.chat_template:
            try:
                ids = self.tokens.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
            except Exception as error:  # a template is a program of the model's makers
                reason = " ".join(str(error).split())[:160]
                told = f"the chat template of {self.source} refuses a conversation ({reason})"
                raise TaskError(f"{told}; leave such out of the file, or name another model") from None
        else:
            said = "".join(f"{role}: {text}\n" for role, text in chat[:-1])
            ids = self.tokens.encode(f"{said}assistant: ")
        response = self.tokens.encode(chat[-1][1], add_special_tokens=False)
        return np.array([*ids, *response, self.end], np.int32), len(ids)
