from __future__ import annotations

import ast
import random

import pytest

from autoresearch.search.space import Knob, Value, blanked, problems, read_space, replaced, values_of
from autoresearch.workspace.assets import task_folder

TINY = {"profile": "tiny"}


def knobs(source: str | bytes) -> dict[str, Knob]:
    content = source if isinstance(source, bytes) else source.encode()
    return {knob.name: knob for knob in read_space({"train.py": content}, TINY)}


@pytest.mark.parametrize(
    ("line", "value", "range_text"),
    [
        ("RATE = 0.02  # [0.005, 0.08] log", 0.02, "[0.005, 0.08] log"),
        ("RATE: float = 2e-2  # Muon, of the matrices; [5e-3, .08]log", 0.02, "[0.005, 0.08] log"),
        ("BETA = 0.95  # [0.8, 0.995] log1m; second moment", 0.95, "[0.8, 0.995] log1m"),
        ("SHARE = 0.6  # part of the budget [0.1, 0.9]", 0.6, "[0.1, 0.9]"),
        ("SHIFT = -1.0  # [-2, +2]", -1.0, "[-2, 2]"),
        ("DEPTH = 4  # layers; [2, 8]", 4, "[2, 8]"),
        ("DEPTH = 4  # [1, 8.5]", 4, "[1, 8.5]"),
        ("STEPS = 1_000  # [100, 10_000] log", 1000, "[100, 10000] log"),
        ("WIDTH = 256  # [100, 1024] pow2", 256, "{128, 256, 512, 1024}"),
        ("WIDTH = 96  # [64, 128] pow2", 96, "{64, 96, 128}"),
        ("HEADS = 4  # {4, 2, 1}", 4, "{1, 2, 4}"),
        ("CAP = 0.0  # {0, 15, 30}; 0: none", 0.0, "{0.0, 15.0, 30.0}"),
        ("KIND = 'SSSL'  # {'L', \"SL\"}", "SSSL", "{'L', 'SL', 'SSSL'}"),
        ("GATED = True  # {True, False}", True, "{True, False}"),
        ("RATE = 0.2  # [0.005, 0.08] log", 0.2, "[0.005, 0.2] log"),
        ("CAP = {'full': 15.0, 'tiny': 5.0}[PROFILE]  # [1, 50] log", 5.0, "[1, 50] log"),
        ("CAP = {\n 'full': 15.0,  # [9, 20]\n 'tiny': 5.0,  # [4, 6]\n}[PROFILE]", 5.0, "[4, 6]"),
        ("CAP = {\n 'full': 15.0,\n 'tiny': 5.0,\n}[PROFILE]  # [4, 6]", 5.0, "[4, 6]"),
        # without a range
        ("RATE = 0.02  # of the matrices", 0.02, "[0.005, 0.08] log"),
        ("BASE = 10.0", 10.0, "[2.5, 40] log"),
        ("PART = 0.5", 0.5, "[0.125, 1] log"),
        ("BETA = 0.9", 0.9, "[0.6, 0.975] log1m"),
    ],
)
def test_a_comment_says_the_range_of_a_constant(line: str, value: Value, range_text: str) -> None:
    [knob] = knobs(line).values()
    assert (knob.value, type(knob.value), knob.range_text()) == (value, type(value), range_text)
    assert problems({"train.py": line.encode()}, TINY) == []


@pytest.mark.parametrize(
    "line",
    [
        "RATE = 0.02  # fixed",
        "RATE = 0.02  # [0.005, 0.08] log; fixed",
        "RATE = 0.0",
        "DEPTH = 4  # layers",
        "SHAPE = (2, 8)  # [2, 8]",
        "LOG_EVERY_S = 3.0",
        "rate = 0.02  # [0.005, 0.08]",
        "if True:\n    RATE = 0.02  # [0.005, 0.08]",
        "RATE = OTHER = 0.02  # [0.005, 0.08]",
        "RATE = 0.1 + 0.2  # [0.005, 0.8]",
        "RATE = 0.02  # [0.005, 0.08]\nRATE = 0.03",
        "RATE = 0.02  # [0.005, 0.08]\nRATE *= 2",
        "RATE = 0.02; DEPTH = 4  # [1, 8]",
        "CAP = {'full': 15.0}[PROFILE]  # [1, 50]",
        "CAP = {'full': 15.0, 'tiny': 5.0}[MODE]  # [1, 50]",
        "CAP = {'full': 15.0, 'tiny': 5.0}[PROFILE]",
        "KIND = 'a'  # a set {}, or {a: 1}",
        "RATE = 1e999  # [1, 2]",
        "def f(:",
    ],
)
def test_what_is_not_a_constant_of_its_own_or_has_no_range_is_left_alone(line: str) -> None:
    assert knobs(line) == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("RATE = 0.02  # [0.08, 0.005]", "empty"),
        ("RATE = 0.02  # [0, 1] log", "positive"),
        ("RATE = 1.5  # [0.8, 0.99] log1m", "below 1"),
        ("RATE = 0.5  # [1, 8] pow2", "whole"),
        ("ROWS = 0  # [4, 64] pow2", "from 1"),
        ("ROWS = 4  # [4, 7] pow2", "no other power"),
        ("GATED = True  # [0, 1]", "for numbers"),
        ("KIND = 'a'  # {'a'}", "one choice"),
        ("RATE = 0.02  # [1, 1e999]", "empty"),
        ("RATE = 0.02  # [1__0, 20]", "two numbers"),
    ],
)
def test_a_range_that_a_constant_cannot_have_is_told(line: str, why: str) -> None:
    [told] = problems({"train.py": line.encode()}, TINY)
    assert why in told and told.startswith(f"train.py: {line.partition(' ')[0]} = ")
    assert knobs(line) == {}


SOURCE = '''"""A trainer: ünïcödé."""
RATE = 0.02  # é: columns are bytes in a syntax tree; [0.002, 0.2] log
\x0c
ITEM: float = {"é": 1.0, "tiny": 0.5, "full": 0.5}[PROFILE]  # [0.1, 0.9]
ROWS = 0x10  # [4, 64] pow2
KIND = "é"  # {"plain", "é"}
GATED = False  # {True, False}
TEXT = """
RATE = 0.02  # [1, 2]
"""
def f(x=0.02): return RATE * x  # 0.02
'''


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_only_the_values_change(end: str, mark: bytes) -> None:
    content = mark + SOURCE.replace("\n", end).encode()
    space = read_space({"train.py": content}, TINY)
    assert [knob.name for knob in space] == ["RATE", "ITEM", "ROWS", "KIND", "GATED"]
    spelled = {"RATE": b"0.02", "ITEM": b"0.5", "ROWS": b"0x10", "KIND": '"é"'.encode(), "GATED": b"False"}
    rng = random.Random(7)
    for _ in range(30):
        chosen = rng.sample(space, rng.randint(1, 5))
        new = {knob.name: drawn(knob, rng) for knob in chosen}
        changed = replaced(content, new, TINY)
        assert values_of(changed, frozenset(new), TINY) == new
        lines, before = changed.split(b"\n"), content.split(b"\n")
        assert len(lines) == len(before)
        for was, now in zip(before, lines, strict=True):
            name = was.lstrip(mark).partition(b" ")[0].rstrip(b":").decode()
            if name in new and was != now:
                head, tail = was.split(spelled[name], 1)
                assert now == head + repr(new[name]).encode() + tail
            else:
                assert was == now


def drawn(knob: Knob, rng: random.Random) -> Value:
    return knob.at(rng.randrange(len(knob.choices)) if knob.choices else rng.random())


@pytest.mark.parametrize(
    "content",
    [
        b"# coding: latin-1\nKIND = '\xe9'  # {'a', 'b'}\nRATE = 0.02\n",  # no UTF-8
        b"# coding: latin-1\nRATE = 0.02\n",
        b"A = 1\rRATE = 0.02  # [0.01, 0.1]\rB = 2\r",
        b"\0",
        b"RATE = 0.02\n" + b"(" * 400,
    ],
)
def test_a_file_whose_columns_are_not_sure_is_left_alone(content: bytes) -> None:
    assert knobs(content) == {}
    assert blanked(content, frozenset({"RATE"}), TINY) == content


def test_a_constant_that_is_not_there_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="OTHER"):
        replaced(SOURCE.encode(), {"RATE": 0.1, "OTHER": 1.0}, TINY)


@pytest.mark.parametrize(
    "line",
    [
        "X = 0.02  # [0.005, 0.08] log",
        "X = 0.95  # [0.5, 0.999] log1m",
        "X = 3.0  # [-5, 5]",
        "X = 300  # [100, 900]",
        "X = 64  # [8, 4000] log",
    ],
)
def test_a_position_and_its_value_fit(line: str) -> None:
    [knob] = knobs(line).values()
    for position in [0.0, 1.0, *(random.Random(3).random() for _ in range(50))]:
        value = knob.at(position)
        there = knob.position(value)
        assert there is not None and knob.lower <= float(value) <= knob.upper
        # Whole numbers are as coarse as they are; others have few digits.
        assert knob.whole or (abs(there - position) <= 0.01 and len(repr(value)) <= 7), value
        assert knob.at(there) == value or not knob.whole
        assert ast.literal_eval(repr(value)) == value
    assert knob.position(1e9) is None and knob.position("x") is None


def test_a_fraction_near_one_moves_by_its_distance_from_one() -> None:
    [knob] = knobs("MOMENTUM = 0.95").values()
    assert [knob.at(p) for p in (0.0, 0.5, 1.0)] == [0.8, 0.95, 0.9875]


def test_the_trainer_of_the_pretrain_task_has_knobs_in_every_profile() -> None:
    files = {"train.py": (task_folder("pretrain") / "train.py").read_bytes()}
    for profile in ("full", "small", "tiny"):
        space = read_space(files, {"profile": profile})
        assert {"MATRIX_LR", "WARMDOWN"} <= {knob.name for knob in space}
        assert problems(files, {"profile": profile}) == []
