"""Codex as an agent: one process for a proposal, with its patch tool in a sandbox of its own, and no shell.

Without a shell it cannot read files, so the code is in the prompt. It patches the folder, or, where its model has no
patch tool or its sandbox does not work, gives the edit in its answer.
"""

from __future__ import annotations

import json
import re
import time
from calendar import timegm
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents import client
from autoresearch.loop.agents.answer import CHANGES, edit_of, object_in, schema
from autoresearch.loop.agents.base import NOTHING, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.edit import EditRefused, Replacement, apply
from autoresearch.loop.prompt import prompt
from autoresearch.models.prices import Prices

HOW = """All code is below; you have no shell. Make the change with apply_patch, paths relative to the folder. If
you have no such tool, or it fails, put the change into `edits` of your answer instead: path, old text, new text, each
old text being in its file exactly once, blanks included. Leave `edits` empty when you have patched. Answer with the
JSON object."""

OFF = ("shell_tool", "multi_agent", "goals", "apps", "view_image", "plugins", "hooks", "unbounded_connection_retries")
"""Features that are tools beside the patch, a person's own programs, and asking for ever where there is no network."""

SETTINGS = (
    'approval_policy="never"',
    'web_search="disabled"',
    "project_doc_max_bytes=0",
    "sandbox_workspace_write.network_access=false",
    "sandbox_workspace_write.exclude_slash_tmp=true",
    "sandbox_workspace_write.exclude_tmpdir_env_var=true",
)

_STATUS = re.compile(r"(?:status:?|error|http) (\d{3})\b", re.IGNORECASE)
_LOGIN = re.compile(r"log ?in|sign in|refresh token|access token|api key", re.IGNORECASE)
_OVERLOAD = re.compile(r"overloaded|at capacity|high demand|stream disconnected|error sending request|connect", re.I)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Codex:
    """The program `codex`, without a person, its configuration, rules, MCP servers or a shell."""

    name = "codex"

    def __init__(self, model: str = "", now: Callable[[], float] = time.time, settings: Sequence[str] = ()) -> None:
        self.model = model
        """As `codex -m` takes it; empty for the program's own choice."""
        self._now = now
        self._settings = (*SETTINGS, *settings)
        """`key=value` in TOML, behind each a `-c`."""

    def ready(self) -> str | None:
        return client.missing("codex", "Codex", "@openai/codex")

    def cost_usd(self, brief: Brief) -> float | None:
        """Return None: the program has no limit of dollars, and does not say beforehand what it will read."""
        return None

    def propose(self, brief: Brief) -> Edit:
        program = client.program("codex")
        if program is None:
            raise AgentGone("Codex is not installed", self.ready() or "")
        words = [
            program, "exec", "--json", "--ephemeral", "--skip-git-repo-check", "--ignore-user-config", "--ignore-rules",
            "--sandbox", "workspace-write", "--output-schema", "{scratch}/schema.json",
            "--output-last-message", "{scratch}/last",
            # As settings, which a version that does not know one passes over; `--disable` would be an error there.
            *(word for feature in OFF for word in ("-c", f"features.{feature}=false")),
            *(word for setting in self._settings for word in ("-c", setting)),
            *(("-m", self.model) if self.model else ()), "-",
        ]  # fmt: skip
        files = {"schema.json": json.dumps(schema(edits=CHANGES["edits"]))}
        # In UTC the times that it tells can be read without knowing where we are.
        answered = client.run(words, prompt(brief, HOW, code=True).text, brief, files, {"TZ": "UTC"})
        lines = [*answered.lines()]
        usage = self._usage(lines, brief)
        failed = next((line for line in reversed(lines) if line.get("type") == "turn.failed"), None)
        if failed is not None:
            self._fail(_message(failed), usage)
        ended = next((line for line in reversed(lines) if line.get("type") == "turn.completed"), None)
        if ended is None:
            why = answered.trouble or f"it ended without an answer: {answered.complaint()}"
            if _LOGIN.search(why) and not lines:
                raise AgentGone(f"Codex: {why}", LOGIN, usage)
            raise ProposalFailed(f"Codex: {why}", usage)
        said = [_item(line).get("text") for line in lines if _item(line).get("type") == "agent_message"]
        text = answered.last or str(said[-1] if said else "")
        if not text.strip() and usage.input == 0:
            # This is how a usage limit looks to some versions: a turn in which nothing was asked.
            raise AgentResting("Codex: an empty turn, as at a usage limit", client.rests_until(self._now(), None))
        answer = object_in(text)
        edit = edit_of(answer, usage)
        changes = [
            Replacement(*(str(change.get(key, "")) for key in ("path", "old", "new")))
            for change in answer.get("edits") or ()
            if isinstance(change, dict)
        ]
        if changes:
            try:
                apply(brief.folder, brief.task.files.mutable, changes)
            except EditRefused as error:
                raise ProposalFailed(f"Codex: {error}", usage) from None
        return edit

    def _usage(self, lines: list[dict[str, Any]], brief: Brief) -> Usage:
        """Return the tokens of the last turn that said them. A turn that failed says none: what it cost is unknown,
        unless it failed before the model had said anything."""
        told = next((used for line in reversed(lines) if isinstance(used := line.get("usage"), dict)), None)
        if told is None:
            begun = any(line.get("type") == "turn.started" for line in lines)
            worked = any(_item(line).get("type") not in (None, "error") for line in lines)
            failed = any(line.get("type") == "turn.failed" for line in lines)
            return replace(NOTHING, model=self.model, usd=None) if worked or (begun and not failed) else NOTHING
        count = {key: int(client.number(value)) for key, value in told.items()}
        used = Usage(
            self.model,
            count.get("input_tokens", 0),
            count.get("cached_input_tokens", 0),
            count.get("cache_write_input_tokens", 0),
            count.get("output_tokens", 0),
        )
        return Prices(brief.task.prices, "openai").priced(used)

    def _fail(self, said: str, usage: Usage) -> NoReturn:
        """Raise what an error that the program reports means to the driver; it has no codes, only sentences."""
        message = f"Codex: {one_line(said, 200)}"
        found = _STATUS.search(said)
        status = int(found[1]) if found else None
        if "usage limit" in said.lower():
            raise AgentResting(message, client.rests_until(self._now(), _reset(said, self._now())), usage)
        if re.search(r"quota exceeded|billing|spend.?limit|credits? (balance|exhausted)|insufficient", said, re.I):
            raise AgentGone(message, "add credit or raise the limit with OpenAI, or name another agent", usage)
        if status == 429:
            raise AgentResting(message, client.rests_until(self._now(), None), usage)
        if status in (401, 403) or (status is None and _LOGIN.search(said)):
            raise AgentGone(message, LOGIN, usage)
        if status == 404 or "does not exist" in said or "not supported" in said:
            raise AgentGone(message, "name a model that this account may use: --agent codex:MODEL", usage)
        if status in (503, 529) or (status is None and _OVERLOAD.search(said)):
            raise AgentResting(message, self._now() + client.OVERLOAD_S, usage)
        raise ProposalFailed(message, usage)


LOGIN = "log in: codex login; or set CODEX_API_KEY"


def _item(line: dict[str, Any]) -> dict[str, Any]:
    item = line.get("item")
    return item if isinstance(item, dict) else {}


def _message(failed: dict[str, Any]) -> str:
    error = failed.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else str(error)


def _reset(said: str, now: float) -> float | None:
    """Return the time of `try again at 8:05 AM` or `... at Nov 29th, 2026 8:05 AM` (UTC), since 1970; None without one.

    A time without a date is the next one; one of the last hour is now, since clocks differ.
    """
    found = re.search(r"try again at (?:(\w{3})\w* (\d{1,2})\w*,? (\d{4}),? )?(\d{1,2}):(\d\d) ?([AP]M)?", said, re.I)
    if found is None:
        after = re.search(r"try again in ([^.]+)", said, re.I)
        seconds = client.seconds_in(after[1]) if after else None
        return None if seconds is None else now + seconds
    month, day, year, hour, minute, half = found.groups()
    hours = int(hour) % 12 + (12 if half.upper() == "PM" else 0) if half else int(hour)
    if month is not None and month.lower() in _MONTHS:
        return float(timegm((int(year), _MONTHS.index(month.lower()) + 1, int(day), hours, int(minute), 0, 0, 0, 0)))
    today = now - now % 86400
    at = today + 3600 * hours + 60 * int(minute)
    return at if at > now - 3600 else at + 86400
