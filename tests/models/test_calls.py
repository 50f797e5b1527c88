"""The file of calls itself: what threads that share it may do at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from waiting import PATIENCE_S

from autoresearch.journal.ledger import Usage
from autoresearch.models.calls import Call, Calls
from autoresearch.models.chat import ChatModel, Reply
from autoresearch.models.prices import Prices
from autoresearch.models.served import Served


class Slow(ChatModel):
    """Answers when its price was asked for twice: when somebody else wants to send a request, too."""

    def __init__(self) -> None:
        super().__init__(Served(name="m", address="http://127.0.0.1:9/v1"), None, Prices({}))
        self.sent = self.looks = 0
        self.two = threading.Event()

    def at_most(self, request: Mapping[str, Any]) -> float | None:
        self.looks += 1
        if self.looks == 2:
            self.two.set()
        return None

    def send(self, request: Mapping[str, Any], limit_s: float) -> Reply:
        self.sent += 1
        assert self.two.wait(PATIENCE_S)
        return Reply("an answer", "stop", Usage("m"))


def test_what_two_threads_ask_for_at_once_is_sent_by_one_of_them(tmp_path: Path) -> None:
    calls, model = Calls(tmp_path, lambda: 1), Slow()
    call = Call(model, {"messages": []}, "example")
    with ThreadPoolExecutor(2) as threads:
        first, second = (threads.submit(calls.once, call, PATIENCE_S) for _ in range(2))
        assert first.result(PATIENCE_S).text == second.result(PATIENCE_S).text == "an answer"
    assert (model.sent, calls.asked, calls.answered) == (1, 1, 1)
