"""The `[metric]` table of a task file: what is measured, and where its number comes from."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from autoresearch.metrics import NAMES, compile_pattern, is_name


class Table(BaseModel):
    """A table of the task file: what it does not know is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _metric_name(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{name!r} is no name of a metric, which is made of {NAMES}")
    return name


MetricName = Annotated[str, AfterValidator(_metric_name)]
"""What a METRIC line can be named."""


class Source(Table):
    """Where one number comes from: a pattern in what the command prints, or a file that it writes; without either of
    them, METRIC lines on standard output."""

    pattern: str | None = None
    """A regular expression with one group, the number; the last match counts."""
    stream: Literal["stdout", "stderr"] | None = None
    """The stream that the pattern is looked for in; None is both, each by itself."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """Path in the folder of the command, where `*` stands for any letters; what is there before a run is removed."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """Where it is in the file: a path in JSON, a column of a table, a tag; None where the file is the number alone."""
    unit: str = ""
    """What may stand behind the number."""
    thousands: bool = False
    """Whether commas may stand between groups of three digits."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compile_pattern(pattern)
        return pattern

    @field_validator("file")
    @classmethod
    def _inside(cls, path: str | None) -> str | None:
        if path is not None and (path.startswith("/") or ".." in PurePosixPath(path).parts):
            raise ValueError(f"{path!r} must be a path inside the folder of the command")
        if path is not None and any("**" in part and part != "**" for part in PurePosixPath(path).parts):
            raise ValueError(f"{path!r}: in a name one * is enough, and ** is whole folders: a/**/b.json")
        return None if path is None else str(PurePosixPath(path))

    @model_validator(mode="after")
    def _one(self) -> Source:
        if self.pattern is not None and self.file is not None:
            raise ValueError("pattern and file both say where the number is; leave out one")
        if self.key is not None and self.file is None:
            raise ValueError("key says where in a file the number is; name the file")
        if self.stream is not None and self.pattern is None:
            raise ValueError("stream says where a pattern is looked for; give the pattern")
        return self

    @property
    def named(self) -> bool:
        """Whether it is anything but METRIC lines."""
        return self.pattern is not None or self.file is not None


class MetricTable(Source):
    name: MetricName
    direction: Literal["lower", "higher"]
    exact: bool = False
    """Whether the same code gives the same value, always. Where this is not said, equal values prove nothing."""
    secondary: tuple[str, ...] = ()
    sources: dict[MetricName, Source] = Field(default_factory=dict)
    """Other metric -> where its number comes from."""

    @model_validator(mode="after")
    def _named(self) -> MetricTable:
        if self.name in self.sources:
            raise ValueError(f"{self.name} is the metric itself, whose source stands in [metric]")
        if (bare := next((name for name, source in self.sources.items() if not source.named), None)) is not None:
            raise ValueError(f"sources.{bare} names neither pattern nor file")
        return self

    @property
    def places(self) -> dict[str, Source]:
        """Metric -> where its number comes from, for those that are not read from METRIC lines."""
        return {name: each for name, each in ((self.name, self), *self.sources.items()) if each.named}
