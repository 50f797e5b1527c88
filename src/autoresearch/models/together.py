"""Many calls at the same time: so many, and no more; what cannot go on ends all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from autoresearch.errors import AutoresearchError
from autoresearch.models.calls import Calls, Stopped
from autoresearch.models.endpoint import EndpointFailed, EndpointGone, EndpointResting

T = TypeVar("T")

GIVE_UP = 5
"""After so many jobs in a row that came to nothing, all others would."""

LOOK_S = 1.0
"""How often `tick` is called, and how long an interrupt may wait to be seen."""


def together(
    jobs: Sequence[Callable[[], T]], calls: Calls, workers: int, tick: Callable[[int], None]
) -> list[T | EndpointFailed]:
    """Return what each job returned, or why it came to nothing, in their order; at most `workers` at the same time.

    A server that rests or is gone, dollars that are spent, `GIVE_UP` jobs that failed since a call was last answered,
    and every other error end the work: nothing more is sent, what is under way is waited for, and the first such error
    is raised. A request that its server refuses for what it asks does not count where that has answered others. What is
    under way at an interrupt is not waited for. `tick` is told how many jobs have ended.
    """
    ended: list[BaseException] = []
    in_a_row, answered = 0, calls.answered
    counting = threading.Lock()

    def guarded(job: Callable[[], T]) -> T:
        nonlocal in_a_row, answered
        try:
            result = job()
        except Stopped:
            raise
        except BaseException as error:
            with counting:  # here, and not where the results are gathered: the next job would be sent meanwhile
                in_a_row += not (isinstance(error, EndpointFailed) and error.of_request and error.others_answered)
                end = _end(error, in_a_row)
                if end is not None:
                    ended.append(end)
                    calls.stop()
            raise
        with counting:
            if calls.answered > answered:  # what a file of earlier calls answers says nothing of the server
                in_a_row, answered = 0, calls.answered
        return result

    pool = ThreadPoolExecutor(workers)
    futures = [pool.submit(guarded, job) for job in jobs]
    waiting = set(futures)
    try:
        while waiting:
            _, waiting = wait(waiting, timeout=LOOK_S)
            tick(len(jobs) - len(waiting))
    finally:
        if waiting:  # an interrupt
            calls.stop()
        pool.shutdown(wait=False, cancel_futures=True)
    if ended:
        raise ended[0]
    results: list[T | EndpointFailed] = []
    for future in futures:
        error = future.exception()
        results.append(error if isinstance(error, EndpointFailed) else future.result())
    return results


def _end(error: BaseException, in_a_row: int) -> BaseException | None:
    """Return what to end the work with, of a job that came to nothing; None where the others may go on."""
    if not isinstance(error, EndpointFailed) or isinstance(error, EndpointGone | EndpointResting):
        return error  # the next call would meet the same
    if in_a_row < GIVE_UP:
        return None
    message = f"{GIVE_UP} calls in a row came to nothing, the last one because {error.message}"
    return AutoresearchError(message, "correct that, and type the same again: what was answered is kept")
