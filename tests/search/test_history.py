from __future__ import annotations

from typing import Any

import pytest
from sessions import pretrain_families, session

from autoresearch.journal.session import replay
from autoresearch.search import families, history


@pytest.mark.parametrize(
    ("description", "family"),
    [
        ("longer warmdown", "schedule"),
        ("matrix LR 0.04 -> 0.03", "learning rate"),
        ("Muon momentum .97", "optimiser"),
        ("total batch 2^18", "batch"),
        ("9 layers, 640 wide", "size"),
        ("remove the z-loss", "regularisation"),
        ("rewrite the sum in C", "other"),
    ],
)
def test_a_description_points_to_a_family_of_its_task(description: str, family: str) -> None:
    assert families.family_of(description, {}, pretrain_families()) == family


@pytest.mark.parametrize(
    ("description", "family"),
    [
        ("Remove the second pass", "simplify"),
        ("two threads", "parallel"),
        ("memoise the table", "cache"),
        ("quicksort, then a binary search", "algorithm"),
        ("longer warmdown", "other"),
        ("ioctl", "other"),
    ],
)
def test_a_task_without_families_of_its_own_has_those_of_any_program(description: str, family: str) -> None:
    assert families.family_of(description, {}) == family


def test_a_word_counts_where_it_stands_alone_and_a_star_stands_for_letters() -> None:
    mine = {"a": ("lr", "step size"), "b": ("warm*",), "c": ("*norm",)}
    assert [families.family_of(text, {}, mine) for text in ("LR x2", "the step  size", "slrs", "half-warm")] == [
        "a", "other", "other", "b",
    ]  # fmt: skip
    assert [families.family_of(text, {}, mine) for text in ("layernorm off", "norms", "(step size)")] == [
        "c", "other", "a",
    ]  # fmt: skip


def test_what_the_researcher_says_of_the_family_is_believed() -> None:
    assert families.family_of("longer warmdown", {"family": " Data  Order "}) == "data order"


def test_families_have_their_yield_and_the_most_tried_comes_first() -> None:
    s = session(
        ("keep", 90.0, "shorter warmup"), ("discard", 89.0, "warmdown .7"), ("crash", None, "wider"),
    )  # fmt: skip
    assert [(y.family, y.tried, y.kept, y.best_gain) for y in history.yields(s, pretrain_families())] == [
        ("schedule", 2, 1, 10.0),
        ("size", 1, 0, None),
    ]


def test_a_near_miss_is_within_twice_the_noise_of_its_parent_and_not_built_on_yet() -> None:
    rows = (("discard", 99.5, "a"), ("discard", 101.9, "b"), ("discard", 102.1, "c"), ("crash", None, "d"))
    assert [e.number for e in history.near_misses(session(*rows))] == [2, 3]
    assert [e.number for e in history.near_misses(session(*rows, ("discard", 120.0, "e", {"parent": 2})))] == [3]


def test_an_older_near_miss_that_the_best_has_left_behind_is_nothing_to_start_from() -> None:
    rows = (("discard", 99.5, "a"), ("keep", 90.0, "b"), ("discard", 91.0, "c"))
    s = session(*rows)
    assert [e.number for e in history.near_misses(s)] == [2, 4], "to be added to the best"
    assert [e.number for e in history.near_the_best(s)] == [4]
    equal = session(("discard", 99.5, "a"), ("keep", 98.5, "b"))
    assert [e.number for e in history.near_the_best(equal)] == [2], "as good as the best within the noise"


def test_code_that_was_measured_again_is_known_by_the_later_experiment() -> None:
    code = (("keep", 100.0, "base"), ("discard", 97.0, "one"), ("discard", 99.5, "two"), ("discard", 99.7, "one"))
    events: list[dict[str, Any]] = [{"type": "config", "metricName": "ms", "bestDirection": "lower", "segment": 0}]
    for n, (status, value, what) in enumerate(code, 1):
        parent = "c1" if n > 1 else None
        events += [
            {"type": "start", "experiment": n, "commit": f"c{n}", "parent": parent, "seed": 1, "fingerprint": what},
            {"run": n, "commit": f"c{n}", "parent": parent, "status": status, "metric": value, "values": [value]},
        ]
    s = replay(enumerate(events, 1))
    assert [e.number for e in history.ranked(s)] == [3, 4, 1], "a lucky first run is not among the best for ever"
    assert [e.number for e in history.near_misses(s)] == [3, 4]


def test_the_best_come_first_whatever_was_decided() -> None:
    s = session(("discard", 95.0, "a"), ("keep", 90.0, "b"), ("crash", None, "c"), ("discard", 120.0, "d"))
    assert [e.number for e in history.ranked(s)] == [3, 2, 1, 5]
    assert history.discards_in_a_row(s) == 2


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("halve the learning rate", "Halve LR", True),
        ("try a shorter warmdown", "shorter warmdowns", True),
        ("warmdown 0.5 -> 0.7", "warmdown 0.5 -> 0.3", False),
        ("wider MLP", "deeper MLP", False),
        ("", "", True),
    ],
)
def test_two_descriptions_that_say_the_same_are_similar(a: str, b: str, same: bool) -> None:
    assert (history.similarity(a, b) >= history.SAME) is same


def test_a_baseline_that_crashed_is_no_experiment_that_was_not_kept() -> None:
    rows = [("crash", None), ("keep", 100.0), ("discard", 101.0)]
    events = [{"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0}]
    events += [{"run": n, "commit": f"c{n}", "status": s, "metric": v} for n, (s, v) in enumerate(rows, 1)]
    found = replay(enumerate(events, 1))
    assert [e.number for e in history.candidates(found)] == [3] and history.discards_in_a_row(found) == 1
