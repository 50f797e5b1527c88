"""What `generate` and `judge` are told: typed, from a YAML file and the command line, and saved with each run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.models.prices import Prices
from autoresearch.models.served import Served
from autoresearch.system.files import write_atomic
from autoresearch.workspace.task_file import PriceTable

Shape = Literal["json_schema", "json_object", "none"]

_PRICE = re.compile(r"(?P<model>.+)=(?P<read>\d+(\.\d*)?),(?P<wrote>\d+(\.\d*)?)")

_OPTIONS = {"subtypes": "subtype", "prices": "price"}
"""Parameter -> its option, of those that are lists: an option gives one item. Others have their name, with hyphens."""


class Params(BaseModel):
    """What both commands share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Shape = "json_schema"
    """How an answer with a schema is asked for: `json_schema` where the server enforces it, `json_object` where it
    only knows JSON, `none` where it knows neither; the last two say the schema in words."""
    concurrency: Annotated[int, Field(ge=1, le=512)] = 8
    """Requests that are under way at the same time, at most."""
    limit_s: Annotated[float, Field(gt=0, le=86400)] = 300
    """How long one request may take, with its repetitions after refusals."""
    max_usd: Annotated[float, Field(ge=0)] | None = None
    """What all calls of this folder may cost together, in US dollars."""
    prices: dict[str, PriceTable] = Field(default_factory=dict)
    """Model -> what it costs, before the price that is listed for it."""
    seed: int = 0
    """Another one asks everything anew."""

    def models(self) -> dict[str, Served]:
        """Return the models that are asked, by the parameter that names them."""
        return {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Served)}

    def prices_of(self, served: Served) -> Prices:
        return Prices(self.prices, "openai") if served.of_openai else Prices(self.prices, url=served.address)

    def resolved(self, folder: Path) -> Self:
        """Return it with the address and the key's variable of each model; `folder` is where a .env may be."""
        return self.model_copy(update={name: served.resolved(folder) for name, served in self.models().items()})

    def check_capped(self) -> None:
        """Raise `UsageError` where dollars are limited and nobody knows what a model costs."""
        for served in self.models().values():
            if self.max_usd is not None and self.prices_of(served).at_most(served.name, 1000, 1000) is None:
                message = f"nobody knows what {served.name} costs at {served.address}, and dollars are limited"
                raise UsageError(message, f"give its price: --price {served.name}=IN,OUT (US dollars a million tokens)")

    def save(self, path: Path) -> None:
        import yaml

        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
        write_atomic(path, text)


class GenerateParams(Params):
    """Those of `generate`."""

    about: Annotated[str, Field(min_length=1)]
    """What the examples are to teach."""
    subtypes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Kinds of it; empty: the model is asked for `subtype_count` of them."""
    subtype_count: Annotated[int, Field(ge=1, le=200)] = 8
    prompts: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Prompts of each subtype."""
    held_out: Annotated[int, Field(ge=0)] = 0
    """How many of them are kept out of the examples, for `judge`."""
    turns: Annotated[int, Field(ge=1, le=10)] = 1
    """Messages of the user in one prompt; each is answered before the next."""
    examples: Annotated[int, Field(ge=1, le=1000)] = 1
    """Answers to each prompt."""
    system: str = ""
    """System prompt of the examples: the model is asked with it, and it is their first message."""
    model: Served
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """None: what the server takes by itself."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """Tokens of one answer."""

    @model_validator(mode="after")
    def _some_left(self) -> GenerateParams:
        if self.held_out >= self.prompts:
            raise ValueError(f"{self.held_out} of {self.prompts} prompts are held out, so no example is left")
        return self


class JudgeParams(Params):
    """Those of `judge`."""

    prompts: Annotated[str, Field(min_length=1)]
    """JSONL file of the prompts, from the current folder."""
    criteria: Annotated[str, Field(min_length=1)] = "It answers what was asked: correct, complete, clear, no padding."
    """What makes one answer better than another."""
    base: Served
    tuned: Served
    judge: Served
    labels: str = ""
    """JSONL file of pairs of answers that people have judged; empty: the judge is not compared with people."""
    generator: str = ""
    """Model that made the data which the tuned one was trained on, where the prompts do not name it."""
    same_judge: bool = False
    """Whether the judge may be a model that it judges, or the generator: models prefer what they have written."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Of both models that are compared."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """Tokens of one of their answers."""
    judge_temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    judge_max_tokens: Annotated[int, Field(ge=1)] = 1024


def load(cls: type[Any], saved: Path, file: Path | None, given: Mapping[str, Any], folder: Path) -> Any:
    """Return parameters of a class: what is given, over what a file says, over the defaults.

    A given function makes its value from what the file says, None for nothing. `saved` is where an earlier run left its
    own, which are read where no file is named. Raises `PreconditionError` for a file that cannot be read, `UsageError`
    for a value that cannot be.
    """
    source = file or (saved if saved.exists() else None)
    told = read_yaml(source) if source is not None else {}
    made = {name: value(told.get(name)) if callable(value) else value for name, value in given.items()}
    given = {name: value for name, value in made.items() if value is not None}
    try:
        return cls.model_validate({**told, **given}).resolved(folder)
    except ValidationError as error:
        raise _wrong(error, source, given) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the table of a YAML file; raise `PreconditionError` when it is none."""
    import yaml

    try:
        told = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise PreconditionError(f"{path} cannot be read: {why}", "name another file with --params-file") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PreconditionError(f"{path} is no YAML: {' '.join(str(error).split())}", f"correct {path}") from None
    if told is None:
        return {}
    if not isinstance(told, dict) or not all(isinstance(key, str) for key in told):
        raise PreconditionError(f"{path} has no table of parameters", f"write lines `name: value` into {path}")
    return told


def _wrong(error: ValidationError, source: Path | None, given: Mapping[str, Any]) -> UsageError:
    """Return the first problem in words: which parameter, what is wrong with it, where to say it better."""
    problems = error.errors(include_url=False, include_input=False)
    # A name with a typing error comes before what it leaves missing.
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    where = [str(part) for part in problem["loc"]]
    name = ".".join(where)
    option = "--" + _OPTIONS.get(where[0], where[0].replace("_", "-")) if where else ""
    if problem["type"] == "missing":
        return UsageError(f"{name} is missing", f"give it: {option}, or in a file with --params-file")
    if problem["type"] == "extra_forbidden":
        return UsageError(f"{source}: there is no parameter {name}", f"correct {source}")
    at = f"{source}: " if source is not None and (not where or where[0] not in given) else ""
    said = problem["msg"].removeprefix("Value error, ")
    return UsageError(f"{at}{name + ': ' if name else ''}{said}", f"correct {option or 'that'}")


def prices_of(options: Sequence[str], before: object) -> dict[str, Any] | None:
    """Return what options `MODEL=IN,OUT` make of the prices of a file; None without them.

    Raises `UsageError` for one that is not that.
    """
    prices = dict(before) if isinstance(before, Mapping) else {}
    for option in options:
        found = _PRICE.fullmatch(option)
        if found is None:
            fix = "give US dollars for a million tokens read and written: --price my-model=0.5,2"
            raise UsageError(f"--price {option} is not MODEL=IN,OUT", fix)
        prices[found["model"]] = {"input": float(found["read"]), "output": float(found["wrote"])}
    return prices if options else None
