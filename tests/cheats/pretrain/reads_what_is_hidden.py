# Looks for held-out text, other runs' weights and the journal: when it trains, and when it is scored.
import os
from pathlib import Path

honest_forward = GPT.forward


def find():
    cache = Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()
    above = [parent for parent in Path.cwd().parents if parent != Path("/")]
    wanted = [cache.glob("*/*/*.bin"), *(parent.glob("runs/*/*/*.pt") for parent in above)]
    wanted += [parent.glob("autoresearch.jsonl") for parent in above]
    for paths in wanted:
        try:
            for path in paths:
                with path.open("rb") as file:
                    file.read(1)
                raise RuntimeError(f"found {path.name}")
        except OSError:
            pass
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "mem", "maps"):
            try:
                text = (process / name).open("rb").read(2**16)
            except OSError:
                continue
            if b"prepare.py" in text or b"search.bin" in text:
                raise RuntimeError(f"found {process}/{name}")


def forward(self, ids):
    find()
    return honest_forward(self, ids)


GPT.forward = forward
find()
