"""The machines of a cluster: what each says of itself, why some cannot be used, and which slots they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoresearch import __version__
from autoresearch.errors import AutoresearchError, PreconditionError, error_of
from autoresearch.journal.experiment import hardware_of

NO_TOKEN = b"InvalidAuthToken"
"""What Ray prints where a cluster refuses whoever has not its token; its error says something else."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster."""

    id: str
    name: str
    cpus: float
    """What Ray has of it to give; a slot that is a whole machine takes them all."""
    gpus: int
    version: str = ""
    """Of autoresearch there; empty where it could not be asked."""
    env: Mapping[str, object] = field(default_factory=dict)
    """What a line of the journal says of it."""
    kinds: tuple[str, ...] = ()
    """The kinds of its GPUs."""
    python: str | None = None
    """The version of the Python that runs use there."""
    data: str | None = None
    """The hash of its prepared data."""
    lost: str = ""
    """Why it said nothing of itself."""
    error: AutoresearchError | None = None
    """What it lacks."""

    @classmethod
    def of(cls, about: Mapping[str, Any], said: Mapping[str, Any]) -> Node:
        """Return a node by what Ray says of it, and what it says itself."""
        kinds = tuple(dict.fromkeys(gpu["name"] for gpu in said.get("machine", {}).get("gpus", ())))
        return cls(
            about["id"], f"{about['name']} ({about['address']})", about["cpus"], int(about["gpus"]) if kinds else 0,
            said.get("version", ""), said.get("env", {}), kinds, said.get("python"), said.get("data"),
            said.get("lost", ""), error_of(said["error"]) if "error" in said else None,
        )  # fmt: skip

    @property
    def hardware(self) -> str:
        """The class of machines whose numbers are compared with those made here."""
        return hardware_of(self.env)

    def refusal(self, python: str | None, data: str | None) -> AutoresearchError | None:
        """Return why no run can be made here, where `python` and `data` are those of the engine's machine, or None."""
        there, same = f"on {self.name}", f"install the same there: the wheel of autoresearch=={__version__}"
        if "No module named" in self.lost:
            return PreconditionError(f"{there} autoresearch is not installed where Ray is", same)
        if self.lost:
            return PreconditionError(f"{there} nothing can be measured: {self.lost}", "see there: autoresearch doctor")
        if self.version != __version__:
            return PreconditionError(f"{there} autoresearch is {self.version}, and {__version__} here", same)
        if self.error is not None:
            return PreconditionError(f"{there}: {self.error.message}", self.error.fix)
        if self.python != python:
            return PreconditionError(f"{there} runs would use Python {self.python}, and here {python}",
                                     "let both have the same environment")  # fmt: skip
        if self.data != data:
            return PreconditionError(f"{there} the prepared data is another than here",
                                     "prepare it again, here and there: python prepare.py --force")  # fmt: skip
        if self.kinds and not self.gpus:
            return PreconditionError(f"{there} Ray has none of the GPUs to give", "let ray start there with --num-gpus")
        if len(self.kinds) > 1:
            return PreconditionError(f"{there} are GPUs of several kinds: {', '.join(self.kinds)}",
                                     "let CUDA_VISIBLE_DEVICES name one kind when ray starts")  # fmt: skip
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """What one slot has of a cluster."""

    node: Node
    number: int
    """Of the slot on its machine; the first is 1."""
    of: int
    """How many slots this machine has."""
    cpus: float
    gpus: int


def refusals(nodes: Sequence[Node], python: str | None, data: str | None) -> list[AutoresearchError]:
    """Return why each machine that cannot be used cannot; of machines that lack the same only the first is in it."""
    found = [refused for node in nodes if (refused := node.refusal(python, data)) is not None]
    if not nodes:
        found = [PreconditionError("the Ray cluster has no machine with a CPU or a GPU to give", "see: ray status")]
    return found


def chosen(nodes: Sequence[Node], known: str | None) -> list[Place]:
    """Return the slots of the machines of one class: that of `known`, which numbers are to be compared with, else the
    one with the most slots. There is one for each GPU; a machine without any is one slot."""
    slots = Counter[str]()
    for node in nodes:
        slots[node.hardware] += node.gpus or 1
    best = known if known in slots else max(slots, key=lambda hardware: slots[hardware])
    places = []
    for node in nodes:
        if node.hardware == best:
            count = node.gpus or 1
            cpus = node.cpus / count if node.gpus else node.cpus
            places += [Place(node, n, count, int(cpus) or cpus, min(node.gpus, 1)) for n in range(1, count + 1)]
    # Turn about, so that what is made at once is spread over the machines.
    return sorted(places, key=lambda place: place.number)
