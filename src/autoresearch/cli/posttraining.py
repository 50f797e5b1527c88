"""Commands for what comes after pretraining: `generate` makes data to train on, `judge` compares two models."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoresearch import __version__
from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.cli.progress import Display
from autoresearch.errors import AutoresearchError, MachineError, StopReached

if TYPE_CHECKING:
    from autoresearch.models.calls import Calls
    from autoresearch.models.chat import Model
    from autoresearch.models.params import Params


def register(app: typer.Typer) -> None:
    app.command("generate")(generate)
    app.command("judge")(judge)


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of all its files; with some there, it goes on.")]
ParamsFile = Annotated[
    Path | None,
    typer.Option("--params-file", metavar="FILE", help="Parameters as YAML; options go before.", show_default=False),
]


def _option(*names: str, help: str, metavar: str, default: object = None, **more: Any) -> Any:
    """Return an option that is not given unless it is typed: then a file, or the default that is shown, holds."""
    shown = str(default) if default is not None else False
    return typer.Option(*names, help=help, metavar=metavar, show_default=shown, **more)


Seed = Annotated[int | None, _option("--seed", help="Another one asks all anew.", metavar="N", default=0)]
Format = Annotated[
    str | None,
    _option("--format", help="json_schema, json_object or none: what the server can enforce.", metavar="WORD",
            default="json_schema"),
]  # fmt: skip
Concurrency = Annotated[int | None, _option("--concurrency", help="Requests at a time.", metavar="N", default=8)]
LimitS = Annotated[float | None, _option("--limit-s", help="Longest for one request.", metavar="SECONDS", default=300)]
MaxUsd = Annotated[float | None, _option("--max-usd", help="Spend no more US dollars in this folder.", metavar="X")]
Price = Annotated[
    list[str] | None,
    _option("--price", help="What a model costs: US dollars a million tokens.", metavar="MODEL=IN,OUT"),
]
Temperature = Annotated[float | None, _option("--temperature", help="As the server has it if not given.", metavar="T")]
MaxTokens = Annotated[int | None, _option("--max-tokens", help="Tokens of an answer.", metavar="N", default=2048)]


def generate(
    folder: Folder,
    params_file: ParamsFile = None,
    about: Annotated[str | None, _option("--about", help="What the examples are to teach.", metavar="TEXT")] = None,
    model: Annotated[str | None, _option("--model", help="Who writes them.", metavar="MODEL[@URL]")] = None,
    key: Annotated[str | None, _option("--key", help="Name of the variable with its key.", metavar="VARIABLE")] = None,
    subtype: Annotated[
        list[str] | None, _option("--subtype", help="A kind of it; as often as there are.", metavar="TEXT")
    ] = None,
    subtype_count: Annotated[
        int | None, _option("--subtype-count", help="Kinds to ask for otherwise.", metavar="N", default=8)
    ] = None,
    prompts: Annotated[int | None, _option("--prompts", help="Prompts of a subtype.", metavar="N", default=10)] = None,
    held_out: Annotated[
        int | None, _option("--held-out", help="Of these, kept for judge.", metavar="N", default=0)
    ] = None,
    turns: Annotated[
        int | None, _option("--turns", help="Messages of the user in a prompt.", metavar="N", default=1)
    ] = None,
    examples: Annotated[int | None, _option("--examples", help="Answers to a prompt.", metavar="N", default=1)] = None,
    system: Annotated[str | None, _option("--system", help="System prompt of the examples.", metavar="TEXT")] = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    format: Format = None,
    concurrency: Concurrency = None,
    limit_s: LimitS = None,
    max_usd: MaxUsd = None,
    price: Price = None,
    seed: Seed = None,
    as_json: JsonFlag = False,
) -> None:
    """Make examples to train on, with a model.

    Subtypes of what it is about, prompts of each, an answer to each prompt, from any server that speaks Chat
    Completions (OpenAI, vLLM, Ollama). DIR/examples.jsonl has them as chat lines, DIR/held_out.jsonl the prompts that
    were held out. Each call is in DIR/calls.jsonl as soon as it has ended: after a kill the same command goes on, and
    asks nothing twice. All parameters are saved in DIR/generate.yaml. Keys come from the environment or the file .env.

    Example: autoresearch generate data --about "unit conversions, with steps" --model gpt-5.5 --max-usd 2

    Example: autoresearch generate data --model qwen3:8b@http://127.0.0.1:11434/v1 --about "answers to a child"
    """
    from autoresearch.models import generate as work
    from autoresearch.models.params import GenerateParams, prices_of
    from autoresearch.models.served import served_of
    from autoresearch.reports import judged

    given = {"about": about, "subtypes": tuple(subtype) if subtype else None, "subtype_count": subtype_count,
             "prompts": prompts, "held_out": held_out, "turns": turns, "examples": examples, "system": system,
             "temperature": temperature, "max_tokens": max_tokens, "format": format, "concurrency": concurrency,
             "limit_s": limit_s, "max_usd": max_usd, "seed": seed, "model": partial(served_of, model, key),
             "prices": partial(prices_of, price or ())}  # fmt: skip
    params: GenerateParams = _load(GenerateParams, "generate", folder, params_file, given)
    with _working("generate", folder, params) as (models, calls, tick):
        made = work.Generator(here() / folder, params, models["model"], calls, tick).run()
    again = f"autoresearch generate {shlex.quote(str(folder))}"
    view = {"folder": str(folder), "subtypes": made.subtypes, "prompts": made.prompts, "held_out": made.held_out,
            "examples": made.examples, "left_out": dict(made.left_out), "complete": made.whole, "next": again,
            **judged.calls_view(calls)}  # fmt: skip
    of = f"of {len(made.subtypes)} subtypes and {made.prompts} prompts"
    lines = [f"examples {made.examples} in {folder / work.EXAMPLES}, {of}"]
    lines += [f"held out {made.held_out} prompts in {folder / work.HELD_OUT}"] if made.held_out else []
    lines += judged.calls_lines(calls)
    lines += judged.left_out_lines(made.left_out)
    lines += [] if made.whole else [f"again    what came to nothing is asked again by: {again}"]
    emit(as_json, view, lines)


def judge(
    folder: Folder,
    params_file: ParamsFile = None,
    prompts: Annotated[
        str | None, _option("--prompts", help="JSON lines with prompt or messages, and property.", metavar="FILE")
    ] = None,
    base: Annotated[str | None, _option("--base", help="The model before.", metavar="MODEL[@URL]")] = None,
    tuned: Annotated[str | None, _option("--tuned", help="The model after.", metavar="MODEL[@URL]")] = None,
    judge: Annotated[str | None, _option("--judge", help="Who judges.", metavar="MODEL[@URL]")] = None,
    base_key: Annotated[
        str | None, _option("--base-key", help="Name of the variable with its key.", metavar="VARIABLE")
    ] = None,
    tuned_key: Annotated[str | None, _option("--tuned-key", help="Likewise.", metavar="VARIABLE")] = None,
    judge_key: Annotated[str | None, _option("--judge-key", help="Likewise.", metavar="VARIABLE")] = None,
    criteria: Annotated[str | None, _option("--criteria", help="What makes an answer better.", metavar="TEXT")] = None,
    labels: Annotated[
        str | None, _option("--labels", help="Pairs that people have judged, as JSON lines.", metavar="FILE")
    ] = None,
    generator: Annotated[
        str | None, _option("--generator", help="Model that made the data of the tuned one.", metavar="MODEL")
    ] = None,
    same_judge: Annotated[
        bool | None, typer.Option("--same-judge", help="Let it judge its own answers, too.", show_default=False)
    ] = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    judge_temperature: Annotated[
        float | None, _option("--judge-temperature", help="Of the judge.", metavar="T")
    ] = None,
    judge_max_tokens: Annotated[
        int | None, _option("--judge-max-tokens", help="Tokens of a verdict.", metavar="N", default=1024)
    ] = None,
    format: Format = None,
    concurrency: Concurrency = None,
    limit_s: LimitS = None,
    max_usd: MaxUsd = None,
    price: Price = None,
    seed: Seed = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a tuned model with its base, by a third one.

    Both answer the same prompts, of one turn or several. Each pair of answers is judged in both orders; what is said in
    one of them alone is a tie. Tells the win rate by property, how much longer the answers are, and what the judge
    itself prefers: with --labels, beside what people prefer. For people to read; no experiment is kept by it. Goes on
    after a kill, as generate does. DIR/report.json has everything.

    Example: autoresearch judge verdicts --prompts data/held_out.jsonl --base qwen3 --tuned qwen3-sft --judge gpt-5.5

    Example: autoresearch judge verdicts --params-file judge.yaml --tuned second@http://127.0.0.1:8000/v1
    """
    from autoresearch.models import judge as work
    from autoresearch.models.conversation import Labelled, Prompt, read_rows
    from autoresearch.models.params import JudgeParams, prices_of
    from autoresearch.models.served import served_of
    from autoresearch.reports import judged
    from autoresearch.system.file_hashes import sha256_of
    from autoresearch.system.files import write_atomic

    given = {"prompts": prompts, "base": partial(served_of, base, base_key),
             "tuned": partial(served_of, tuned, tuned_key), "judge": partial(served_of, judge, judge_key),
             "criteria": criteria, "labels": labels, "generator": generator, "same_judge": same_judge,
             "temperature": temperature, "max_tokens": max_tokens, "judge_temperature": judge_temperature,
             "judge_max_tokens": judge_max_tokens, "format": format, "concurrency": concurrency, "limit_s": limit_s,
             "max_usd": max_usd, "seed": seed, "prices": partial(prices_of, price or ())}  # fmt: skip
    params: JudgeParams = _load(JudgeParams, "judge", folder, params_file, given)
    files = {name: here() / path for name, path in (("prompts", params.prompts), ("labels", params.labels)) if path}
    asked = read_rows(files["prompts"], Prompt)
    labelled = read_rows(files["labels"], Labelled) if params.labels else []
    hashes = {name: sha256_of(path.read_bytes()) for name, path in files.items()}  # now: they may change meanwhile
    work.check_apart(params, asked)
    with _working("judge", folder, params) as (models, calls, tick):
        compared = work.Comparison(here() / folder, params, models, calls, tick).run(asked, labelled)
        view = {"params": params.model_dump(mode="json"), "version": __version__, "sha256": hashes,
                **judged.compared_view(compared), **judged.calls_view(calls)}  # fmt: skip
        write_atomic(here() / folder / work.REPORT, _pretty(view))
    lines = judged.compared_lines(compared) + judged.calls_lines(calls)
    emit(as_json, view, [*lines, f"wrote    {folder / work.REPORT}, {folder / work.JUDGMENTS}"])


Tick = Callable[[str, int, int], None]


def _load(kind: Any, command: str, folder: Path, file: Path | None, given: Mapping[str, Any]) -> Any:
    from autoresearch.models.chat import check_installed
    from autoresearch.models.params import load

    check_installed()
    return load(kind, here() / folder / f"{command}.yaml", here() / file if file is not None else None, given, here())


@contextlib.contextmanager
def _working(command: str, folder: Path, params: Params) -> Iterator[tuple[dict[str, Model], Calls, Tick]]:
    """Be at work in a folder: parameters saved, models at hand, the calls of earlier runs read.

    What ends the work says how to go on.
    """
    from autoresearch.models.calls import Calls, only_one
    from autoresearch.models.chat import ChatModel
    from autoresearch.models.endpoint import EndpointFailed, Patience
    from autoresearch.system.clock import wall_clock

    params.check_capped()
    keys = {name: served.key_of(here()) for name, served in params.models().items()}
    again = f"autoresearch {command} {shlex.quote(str(folder))}"
    place = here() / folder
    with only_one(place), Display() as display:
        params.save(place / f"{command}.yaml")
        calls = Calls(place, wall_clock, params.max_usd)
        calls.price({served.name: params.prices_of(served) for served in params.models().values()})
        calls.begin(command, __version__, params.model_dump(mode="json"))
        models: dict[str, Model] = {
            name: ChatModel(served, keys[name], params.prices_of(served), Patience(sleep=calls.rest))
            for name, served in params.models().items()
        }
        began = time.monotonic()

        def tick(what: str, done: int, of: int) -> None:
            tenths = 10 * done // of if of else 10
            display.tick(f"{what}: {10 * tenths} %", time.monotonic() - began)

        try:
            yield models, calls, tick
        except KeyboardInterrupt:
            raise AutoresearchError("interrupted; what was answered is kept", f"go on: {again}") from None
        except OSError as error:
            why = f"{error.strerror or error}: {error.filename or place}"
            raise MachineError(why, f"make room, or correct that; what was answered is kept; then: {again}") from None
        except StopReached as error:
            error.fix = f"what was answered is kept; go on: {again} --max-usd {_more(params.max_usd)}"
            raise
        except EndpointFailed as error:
            error.fix = f"{error.fix or 'correct that'}; what was answered is kept; then: {again}"
            raise


def _more(usd: float | None) -> str:
    return f"{2 * usd:g}" if usd else "1"


def _pretty(view: Mapping[str, Any]) -> str:
    import json

    return json.dumps(view, indent=1, allow_nan=False) + "\n"
