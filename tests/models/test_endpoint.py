"""Asking a model's server: what is tried again, what is told to whom, and when it is given up."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from email.utils import formatdate

import httpx
import pytest

from autoresearch.models.chat import without_keys
from autoresearch.models.endpoint import (
    LONGEST_REST_S,
    OVERLOAD_S,
    Endpoint,
    EndpointFailed,
    EndpointGone,
    EndpointResting,
    EndpointSilent,
    Patience,
    Refusal,
    refusal_of,
)

NOW = 1_790_000_000.0


class Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


@dataclass
class Asked:
    """An endpoint that refuses so often, and then answers; its sleeps are noted and take no time."""

    refusals: list[Refusal]
    slept: list[float] = field(default_factory=list)
    calls: int = 0

    def __call__(self, limit_s: float = 900.0) -> str:
        endpoint = Endpoint("There", "set A_KEY", Patience(lambda: NOW, self.slept.append, random.Random(1)))
        return endpoint.ask(self._call, lambda e: e.refusal if isinstance(e, Refused) else None, limit_s)

    def _call(self, left_s: float) -> str:
        self.calls += 1
        if self.refusals:
            raise Refused(self.refusals.pop(0))
        return "an answer"


def refusal(status: int | None, message: str = "no", code: str = "", **headers: str) -> Refusal:
    return Refusal(status, message, code, {key.replace("_", "-"): value for key, value in headers.items()})


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529, 408, None])
def test_what_passes_is_tried_again_with_growing_waits(status: int | None) -> None:
    asked = Asked([refusal(status)] * 3)
    assert asked() == "an answer" and asked.calls == 4
    for wait, most in zip(asked.slept, (2, 4, 8), strict=True):
        assert most / 2 <= wait <= most


def test_a_short_wait_that_the_server_asks_for_is_kept() -> None:
    asked = Asked([refusal(429, retry_after="20"), refusal(429, retry_after=formatdate(NOW + 30, usegmt=True))])
    assert asked() == "an answer"
    assert 21 <= asked.slept[0] <= 22 and 32 <= asked.slept[1] <= 34


@pytest.mark.parametrize(
    ("refused", "until"),
    [
        (refusal(429, retry_after="5000"), NOW + 5000),
        (refusal(429, retry_after=str(90 * 86400)), NOW + LONGEST_REST_S),
        (refusal(503, retry_after="400"), NOW + 400),
    ],
)
def test_a_long_wait_is_a_rest_until_then(refused: Refusal, until: float) -> None:
    asked = Asked([refused])
    with pytest.raises(EndpointResting, match="There answered") as resting:
        asked()
    assert (resting.value.until, asked.calls, asked.slept) == (until, 1, [])


@pytest.mark.parametrize("status", [429, 529, 503, None])
def test_what_does_not_pass_in_four_attempts_is_a_rest(status: int | None) -> None:
    asked = Asked([refusal(status)] * 9)
    with pytest.raises(EndpointResting) as resting:
        asked()
    assert (resting.value.until, asked.calls) == (NOW + OVERLOAD_S, 4)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    asked = Asked([refusal(429, retry_after="50")])
    with pytest.raises(EndpointResting) as resting:
        asked(limit_s=40)
    assert (resting.value.until, asked.slept) == (NOW + 50, [])


@pytest.mark.parametrize(
    "refused",
    [
        refusal(400, "You have reached your specified API usage limits. You will regain access on 2026-12-01."),
        refusal(400, "Your credit balance is too low to access the Anthropic API."),
        refusal(429, "You exceeded your current quota", "insufficient_quota"),
        refusal(429, "no", "credit_balance_exhausted"),
        refusal(429, "no", "project_spend_limit_exceeded"),
        refusal(429, "no", "organization_usage_limit_exceeded"),
        refusal(403, "no", "billing_error"),
        refusal(402),
    ],
)
def test_spent_money_is_never_waited_for(refused: Refusal) -> None:
    asked = Asked([refused])
    with pytest.raises(EndpointGone) as gone:
        asked()
    assert asked.calls == 1 and "credit" in gone.value.fix


def test_a_minute_that_is_full_is_no_spent_money() -> None:
    text = "Rate limit reached for m on requests per min. Add a payment method: https://example.org/account/billing"
    asked = Asked([refusal(429, text, "rate_limit_exceeded requests")])
    assert asked() == "an answer" and asked.calls == 2


@pytest.mark.parametrize(("status", "fix"), [(401, "set A_KEY"), (403, "set A_KEY"), (404, "name a model")])
def test_a_person_must_see_to_the_key_and_to_the_model(status: int, fix: str) -> None:
    asked = Asked([refusal(status)])
    with pytest.raises(EndpointGone) as gone:
        asked()
    assert asked.calls == 1 and fix in gone.value.fix


def test_another_error_is_this_requests_alone() -> None:
    asked = Asked([refusal(413, "too long\x1b[31m\nfor me")])
    with pytest.raises(EndpointFailed) as failed:
        asked()
    assert type(failed.value) is EndpointFailed and failed.value.message == "There answered 413: too long for me"
    assert asked.calls == 1
    asked = Asked([refusal(500)] * 9)
    with pytest.raises(EndpointFailed) as failed:
        asked()
    assert type(failed.value) is EndpointFailed and asked.calls == 4


@pytest.mark.parametrize("refused", [Refusal(None, "reset", broken=True), refusal(504), refusal(524)])
def test_what_may_have_been_answered_is_not_paid_for_twice(refused: Refusal) -> None:
    asked = Asked([refused])
    with pytest.raises(EndpointSilent):
        asked()
    assert asked.calls == 1


class Unconnected(Exception):
    """What a client raises for each of these causes."""


@pytest.mark.parametrize(
    ("cause", "sent"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("late"), False),
        (httpx.PoolTimeout("all are in use"), False),
        (httpx.ReadError("broke off"), True),
        (ConnectionResetError("reset"), True),
        (ConnectionAbortedError("aborted"), True),
        (None, True),
    ],
)
def test_only_what_was_never_sent_may_be_sent_again(cause: Exception | None, sent: bool) -> None:
    error = Unconnected("no answer")
    error.__cause__ = cause
    found = refusal_of(error, Unconnected, KeyError)
    assert found is not None and found.unanswered == sent


def test_a_call_that_hangs_is_left_alone() -> None:
    never = threading.Event()
    with pytest.raises(EndpointSilent, match=r"within 0\.05 s"):
        Endpoint("There", "").ask(lambda _: never.wait(), lambda _: None, 0.05)
    never.set()


def test_nothing_is_sent_that_would_not_be_awaited() -> None:
    asked = Asked([])
    with pytest.raises(EndpointFailed) as failed:
        asked(limit_s=0.0)
    assert type(failed.value) is EndpointFailed and asked.calls == 0


def test_a_mistake_of_ours_is_no_refusal() -> None:
    def call(_: float) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        Endpoint("There", "").ask(call, lambda _: None, 10)


def test_a_key_that_a_server_repeats_is_in_no_refusal() -> None:
    key = "sk-" + "a1" * 12
    found = without_keys(Refusal(401, f"Virtual key expected. Received={key}", "auth"), key, None, "EMPTY")
    assert found == Refusal(401, "Virtual key expected. Received=***", "auth") and without_keys(None, key) is None
