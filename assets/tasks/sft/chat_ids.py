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
        """(ids [n], place of the response's first one) of a conversation; the last is `end`. Raises Refused."""
        ...


class Refused(Exception):
    """A conversation cannot be spelled so; its words say why."""


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
        self.tokens = tokens
        end = self._end_of_a_turn() if tokens.chat_template else None
        if end is None and tokens.eos_token_id is None:
            raise TaskError(f"the tokenizer of {source} has no token that ends a text; name another model")
        self.end = int(tokens.eos_token_id if end is None else end)

    def _end_of_a_turn(self) -> int | None:
        """The special token that the template puts behind a response, which need not be the one that ends a text."""
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            whole = self.tokens.apply_chat_template(said, return_dict=False)
        except Exception:  # told of each conversation
            return None
        last = self._plain("b")[-1]
        if last not in whole:
            return None
        behind = whole[len(whole) - whole[::-1].index(last) :]
        return behind[0] if behind and behind[0] in self.tokens.added_tokens_decoder else None

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokens.encode(text, add_special_tokens=False)
        return ids

    def ids_of(self, chat: Chat) -> tuple[np.ndarray, int]:
        asked = [{"role": role, "content": text} for role, text in chat[:-1]]
        if self.tokens.chat_template:
            try:
                ids = self.tokens.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
            except Exception as error:  # a template is a program of the model's makers
                raise Refused(" ".join(str(error).split())[:160]) from None
        else:
            said = "".join(f"{role}: {text}\n" for role, text in chat[:-1])
            ids = self.tokens.encode(f"{said}assistant: ")
            while ids and ids[-1] == self.tokens.eos_token_id:  # which some put behind each text
                ids.pop()
        return np.array([*ids, *self._plain(chat[-1][1]), self.end], np.int32), len(ids)
