"""Forks twice out of its group, and goes on while it is evaluated."""

import json
import os
import time

from honest import DATA, RUN, fit, predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            good = fit(json.loads((DATA / "train.json").read_text()))
            time.sleep(1)
            while True:
                (RUN / "part").write_text(json.dumps(good))
                os.replace(RUN / "part", RUN / "weights.json")
        os._exit(0)
    os.wait()
