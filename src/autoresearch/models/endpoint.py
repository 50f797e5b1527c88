"""Ask a model's server once: with a deadline, patient where patience helps, and with each refusal told apart.

The clients of the makers retry by status alone, so they are told not to (`max_retries=0`), and what is retried is here.
"""

from __future__ import annotations

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line

T = TypeVar("T")

ATTEMPTS = 4
LONGEST_WAIT_S = 60.0
"""A server that asks for more patience than this is left alone until then, and others work."""

OVERLOAD_S = 300.0
"""How long a server rests that is overloaded, out of reach, or does not say when it can be asked again."""

NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError")
"""Causes of a failed request that came before any of it was sent: of httpx, which the clients use, and of Python.
After a `ConnectionResetError` it may have been read, and is paid for."""

LONGEST_REST_S = 8 * 86400.0
"""No usage limit is longer than a week; a later reset time is a mistake."""

GAVE_UP = (504, 524)
"""A gateway says so that waited no longer for the server behind it, which may have answered and been paid."""

_SPENT_CODE = re.compile(r"spend_limit|usage_limit_exceeded|insufficient_(quota|credits|funds)|credit_balance|billing")
_SPENT_TEXT = re.compile(
    r"specified api usage limit|credit balance is too low|spend(ing)?.limit|insufficient (quota|funds|credits)"
    r"|out of credits|payment required",
    re.IGNORECASE,
)
"""Not the word billing: refusals of too many requests a minute name the page of that name, too."""

_NO_LOGIN = re.compile(r"api.?key.{0,30}(invalid|not valid)|invalid.{0,10}api.?key", re.IGNORECASE)


class EndpointFailed(AutoresearchError):
    """This request came to nothing: the server has an error, or did not like the request."""

    kind = "endpoint"
    of_request = False
    """Whether it is this request that the server refuses, whenever it is asked: too long, or its content."""
    others_answered = False
    """Whether the same model has answered a request that differs from this one in its words alone."""


class EndpointSilent(EndpointFailed):
    """The request was sent and no answer came: what it cost is unknown."""

    kind = "endpoint_silent"


class EndpointResting(EndpointFailed):
    """A usage limit, an overload, no connection: it may be asked again at `until`, seconds since 1970."""

    kind = "endpoint_resting"

    def __init__(self, message: str, until: float) -> None:
        super().__init__(message, "wait, or use another model")
        self.until = until


class EndpointGone(EndpointFailed):
    """The key is wrong, the money is spent, the model does not exist: a person must do something."""

    kind = "endpoint_gone"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said instead of answering."""

    status: int | None
    """Of HTTP; None when there was no connection."""
    message: str
    code: str = ""
    """The error's name in the words of the server, where it has one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    broken: bool = False
    """Whether the connection broke while the answer was awaited: it may have been paid for."""

    @property
    def spent(self) -> bool:
        """Whether money or a limit on spending is what is missing: waiting brings neither back."""
        told = _SPENT_CODE.search(self.code) or _SPENT_TEXT.search(self.message)
        return self.status == 402 or (self.status in (400, 403, 429) and told is not None)

    @property
    def no_login(self) -> bool:
        return self.status in (401, 403) or (self.status == 400 and _NO_LOGIN.search(self.message) is not None)

    @property
    def unanswered(self) -> bool:
        """Whether the request may have been answered, and paid for, all the same."""
        return self.broken or self.status in GAVE_UP

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status is None or self.status in (408, 429) or self.status >= 500

    def wait_s(self, now: float) -> float | None:
        """Return how long the server asks to be left alone, in seconds; None when it does not say."""
        text = self.headers.get("retry-after", "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            return float(text)
        when = email.utils.parsedate_tz(text) if text else None
        return max(0.0, email.utils.mktime_tz(when) - now) if when else None


@dataclass(frozen=True, slots=True)
class Patience:
    """The clock and the dice of a request; tests have their own."""

    now: Callable[[], float] = time.time
    """Seconds since 1970."""
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)


class Endpoint:
    """A server with a model, in words for a person."""

    def __init__(self, name: str, login: str, patience: Patience | None = None) -> None:
        self.name = name
        """`Anthropic`, or the address."""
        self.login = login
        """What to do when the key is missing or wrong."""
        self.patience = patience or Patience()

    def ask(self, call: Callable[[float], T], refused: Callable[[Exception], Refusal | None], limit_s: float) -> T:
        """Return what `call(seconds left)` returns, asked again up to three times where that may help.

        `refused` says what an exception of the client means; None for one that is no refusal, which is raised. A call
        that takes longer than what is left is given up, and so is one whose connection broke, or whose gateway gave
        up: asking again would pay twice. Raises `EndpointResting`, `EndpointGone`, `EndpointSilent`, or
        `EndpointFailed` for the rest.
        """
        ends = time.monotonic() + limit_s
        for attempt in range(1, ATTEMPTS + 1):
            left_s = ends - time.monotonic()
            if left_s <= 0:  # what is not awaited must not be sent
                raise EndpointFailed(f"no time was left to ask {self.name}")
            try:
                return within(left_s, call)
            except TimeoutError:
                raise EndpointSilent(f"{self.name} did not answer within {limit_s:.3g} s") from None
            except Exception as error:
                refusal = refused(error)
                if refusal is None:
                    raise
            if refusal.unanswered:
                what = "broke off" if refusal.broken else f"answered {refusal.status}"
                raise EndpointSilent(f"{self.name} {what}: {one_line(refusal.message, 200)}")
            wait_s = self._wait_s(refusal, attempt)
            if wait_s is None or attempt == ATTEMPTS or wait_s >= ends - time.monotonic():
                raise self.error(refusal)
            self.patience.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def error(self, refusal: Refusal) -> EndpointFailed:
        """Return what a refusal means to whoever asked, once nothing more is tried."""
        now, status = self.patience.now(), refusal.status
        said = one_line(refusal.message, 200) or "no reason was given"
        answer = f"{self.name} answered {status}: {said}" if status else f"{self.name} cannot be reached: {said}"
        if refusal.spent:
            return EndpointGone(answer, "add credit or raise the spending limit there, or use another model")
        if refusal.no_login:
            return EndpointGone(answer, self.login)
        if status == 404:
            return EndpointGone(answer, "name a model and an address that there are")
        if status in (429, 503, 529, None):
            return EndpointResting(answer, rest_until(now, refusal.wait_s(now) or OVERLOAD_S))
        failed = EndpointFailed(answer)
        failed.of_request = status in (400, 413, 422)
        return failed

    def _wait_s(self, refusal: Refusal, attempt: int) -> float | None:
        """Return how long to wait before the same request is sent again; None when it is not."""
        if refusal.spent or refusal.no_login or not refusal.passing:
            return None
        asked = refusal.wait_s(self.patience.now())
        if asked is not None and asked > LONGEST_WAIT_S:
            return None
        # Several sessions that were refused together must not come back together.
        return (asked or 0.0) + self.patience.rng.uniform(0.5, 1.0) * 2.0**attempt


def rest_until(now: float, seconds: float) -> float:
    """Return when a rest of so many seconds ends, within what a usage limit can be; both since 1970."""
    return now + min(max(seconds, 0.0), LONGEST_REST_S)


def within(limit_s: float, call: Callable[[float], T]) -> T:
    """Return what `call(limit_s)` returns; raise `TimeoutError` when it takes longer, and leave it alone.

    A client's own time limit is between two bytes: a server that sends one now and then would hold it for ever.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(limit_s))
        except BaseException as error:  # handed to whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(limit_s, 0.0))
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


# --- reading what a server said ---


def fields(data: object, *path: str) -> Any:
    """Return what lies at a path in the objects of an answer; None where something on it is missing or no object."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def rows(data: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list in an answer; none when it is no list."""
    return [row for row in data if isinstance(row, Mapping)] if isinstance(data, list) else []


def refusal_of(error: Exception, unconnected: type[Exception], other: type[Exception]) -> Refusal | None:
    """Return what an exception without a status means; None for one that is a mistake of ours.

    `unconnected` and `other` are the classes of the client: no connection, and an answer that is none.
    """
    if isinstance(error, unconnected):
        cause = error.__cause__
        return Refusal(None, str(cause or error), broken=type(cause).__name__ not in NEVER_SENT)
    if isinstance(error, other | ValueError):  # JSON that is none, among others
        return Refusal(200, f"an answer that cannot be read: {error}", broken=True)
    return None
