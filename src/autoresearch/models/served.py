"""A model and the server that it is asked at, as a parameter; and the key for it, which no file of ours ever has."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from autoresearch.errors import PreconditionError

OPENAI = "https://api.openai.com/v1"
ADDRESS = "OPENAI_BASE_URL"
"""Variable with the server's address, where none is given; without it, OpenAI's own."""
KEY = "OPENAI_API_KEY"
"""Variable with the key for these two addresses. Others get none unless its variable is named."""

DOTENV = ".env"

_WORD = re.compile(r"^(?P<name>.+?)@(?P<address>https?://.+)$")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\n]*?))(?:\s+#.*)?\s*")
_SENDABLE = re.compile(r"[!-~]+")
_UNDATED = re.compile(r"([-@:](latest|\d{4}-?\d{2}-?\d{2}))+$")


class Served(BaseModel):
    """A model behind an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """As the server calls it."""
    address: str = ""
    """Base URL of an API like OpenAI's, with its `/v1`; empty: OPENAI_BASE_URL, else OpenAI's own."""
    key: str = Field(default="", pattern=r"^([A-Za-z_]\w*)?$")
    """Name of the environment variable that has the key; empty: OPENAI_API_KEY for the addresses above, else none."""

    @field_validator("address")
    @classmethod
    def _an_address(cls, address: str) -> str:
        if not address:
            return ""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address begins with http:// or https://")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("the port of an address is a number up to 65535") from None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address has no password, ? or # in it: it is saved; keys belong into variables")
        return address.rstrip("/")

    @property
    def of_openai(self) -> bool:
        return f".{urlsplit(self.address).hostname}".endswith((".openai.com", ".openai.azure.com"))

    def resolved(self, folder: Path) -> Served:
        """Return it with the address and the key's variable that hold now, in the environment and in `folder`/.env."""
        usual = (variable(ADDRESS, folder) or OPENAI).rstrip("/")
        try:
            found = Served(name=self.name, address=self.address or usual, key=self.key)
        except ValueError:  # its own address was checked before
            fix = f"set it to one, with nothing secret in it, or take it away: unset {ADDRESS}"
            raise PreconditionError(f"{ADDRESS} is no address of a server", fix) from None
        keyed = found.of_openai or (found.address == usual and variable(KEY, folder))
        return found if found.key or not keyed else found.model_copy(update={"key": KEY})

    def key_of(self, folder: Path) -> str | None:
        """Return the key; None for a server that needs none. Raises `PreconditionError` where one is missing."""
        if not self.key:
            return None
        key = variable(self.key, folder)
        if not key:
            fix = f"set {self.key}, in the environment or in a file {DOTENV} of the current folder"
            raise PreconditionError(f"there is no key for {self.address}", fix)
        if not _SENDABLE.fullmatch(key):  # not shown, and not left to a client that would show it
            raise PreconditionError(f"what {self.key} has is no key", f"set {self.key} anew: letters, digits and signs")
        return key


def served_of(word: str | None, key: str | None, before: object) -> dict[str, Any] | None:
    """Return what an option `MODEL` or `MODEL@URL` and one for its key make of what a file said; None without them.

    A key never goes with a model to another address than it was named for.
    """
    if word is None and key is None:
        return None
    known = dict(before) if isinstance(before, Mapping) else {}
    found = _WORD.match(word) if word is not None else None
    if word is not None:
        known["name"] = found["name"] if found else word
    if found is not None and found["address"].rstrip("/") != str(known.get("address", "")).rstrip("/"):
        known.pop("key", None)
        known["address"] = found["address"]
    if key is not None:
        known["key"] = key
    return known


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: a router's prefix, a date and capitals make no other one of it."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return _UNDATED.sub("", name.lower().rsplit("/", 1)[-1])


def variable(name: str, folder: Path) -> str | None:
    """Return a variable of the environment, else of the file .env in `folder`; None where it is in neither."""
    return os.environ.get(name) or _dotenv(folder).get(name) or None


def _dotenv(folder: Path) -> dict[str, str]:
    path = folder / DOTENV
    if not path.is_file():
        return {}
    found = map(_LINE.fullmatch, path.read_text("utf-8-sig", "replace").splitlines())
    return {m[1]: next((v for v in m.groups()[1:] if v is not None), "") for m in found if m}
