"""Writes the evaluator's result file itself, and leaves a process that writes it again."""

import json
import os

from honest import RUN, predict, save  # noqa: F401

RESULT = json.dumps({"outcome": "ok", "metrics": {"loss": 0.0}, "manifest": None})

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    (RUN / "result.json").write_text(RESULT)
    if os.fork() == 0:
        os.setsid()
        while True:
            (RUN / "result.json").write_text(RESULT)
