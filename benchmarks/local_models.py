"""A server of models on this machine that speaks Chat Completions, for `generate` and `judge`.

    python benchmarks/local_models.py PORT smollm2=FILE.gguf base=DATA tuned=DATA:WEIGHTS

A file that ends in `.gguf` is run by llama.cpp (package `llama-cpp-python`), which holds an answer to the schema that
is asked for. DATA is the data folder of an `sft` workspace: its base, the harness's GPT or a model of the hub, with its
tokenizer; WEIGHTS are tensors of the same shapes, as a run of `train.py` leaves them. Loopback only, one request at a
time.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Protocol

ASSETS = Path(__file__).resolve().parents[1] / "assets"

Answer = tuple[str, str, int, int]
"""Text, finish_reason, tokens read, tokens written."""


class Local(Protocol):
    def answer(self, request: Mapping[str, Any]) -> Answer:
        """Answer a request of Chat Completions."""
        ...


class Gguf:
    """A file of llama.cpp."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self.model = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=1, verbose=False)
        self.draws = count(1)

    def answer(self, request: Mapping[str, Any]) -> Answer:
        asked: dict[str, Any] = {"messages": request["messages"], "max_tokens": request.get("max_tokens", 256)}
        if (shape := request.get("response_format", {})).get("type") == "json_schema":
            asked["response_format"] = {"type": "json_object", "schema": shape["json_schema"]["schema"]}
        drawn = {"temperature": request.get("temperature", 0.8), "seed": next(self.draws)}
        made = self.model.create_chat_completion(**asked, **drawn)
        choice, used = made["choices"][0], made["usage"]
        text = choice["message"]["content"] or ""
        return text, choice["finish_reason"], used["prompt_tokens"], used["completion_tokens"]


class Tuned:
    """A base of `sft`, tuned or not; the likeliest token each time, or as the temperature says."""

    def __init__(self, data: Path, weights: Path | None) -> None:
        import bases
        import torch
        from chat_ids import HubIds, OwnIds
        from harness import hub
        from harness.text.tokenizer import Tokenizer

        self.model: Any = bases.load(data / "base").eval()
        if weights is not None:
            self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.of_hub = (data / "base" / hub.CONFIG).exists()
        folder = str(data / "base")
        self.spelled: Any = OwnIds(Tokenizer.load(data / "base" / "tokenizer.json")) if not self.of_hub else None
        if self.of_hub:
            self.spelled = HubIds(folder, hub.tokenizer(folder, offline=True))

    def answer(self, request: Mapping[str, Any]) -> Answer:
        import torch
        from harness import lm

        chat = [(each["role"], each["content"]) for each in request["messages"]]
        ids, start = self.spelled.ids_of([*chat, ("assistant", "")])
        prompt, end = torch.from_numpy(ids[:start].astype("int64"))[None], self.spelled.end
        warm = float(request.get("temperature", 0.0))
        room = (self.model.context if self.of_hub else self.model.sizes.context) - start
        if room < 1:
            return "", "length", start, 0
        most = min(room, request.get("max_tokens", room))
        if self.of_hub:
            drawn = {"do_sample": True, "temperature": warm} if warm else {"do_sample": False}
            with torch.inference_mode():
                rows = self.model.model.generate(
                    prompt, max_new_tokens=most, eos_token_id=end, pad_token_id=end, **drawn
                )
            wrote = rows[0, start:].tolist()
        else:
            length = torch.tensor([start])
            rows = lm.write(self.model, prompt, length, most, end, warm, torch.Generator().manual_seed(1))
            wrote = lm.behind(rows, length, most)[0].tolist()
        told = wrote[: wrote.index(end)] if end in wrote else wrote
        return self.spelled.tokens.decode(told), "stop" if end in wrote else "length", start, len(told)


def serve(port: int, models: Mapping[str, Local]) -> ThreadingHTTPServer:
    """Return a server that answers on loopback until it is shut down."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in models]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model = models.get(request.get("model"))
            if model is None:
                self.reply(404, {"error": {"message": f"there is no model {request.get('model')!r}"}})
                return
            with turn:
                text, why, read, wrote = model.answer(request)
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": why}
            used = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
            made = {"id": "local", "object": "chat.completion", "created": int(time.time()), "model": request["model"]}
            self.reply(200, {**made, "choices": [choice], "usage": used})

        def reply(self, status: int, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def load(word: str) -> tuple[str, Local]:
    """Return the name and the model of NAME=FILE.gguf, NAME=DATA or NAME=DATA:WEIGHTS."""
    name, _, where = word.partition("=")
    if where.endswith(".gguf"):
        return name, Gguf(Path(where))
    data, _, weights = where.partition(":")
    return name, Tuned(Path(data), Path(weights) if weights else None)


def main(words: Sequence[str]) -> None:
    sys.path[:0] = [str(ASSETS), str(ASSETS / "tasks" / "sft")]
    server = serve(int(words[0]), dict(map(load, words[1:])))
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
