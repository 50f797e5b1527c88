from __future__ import annotations

import ast
import random

from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.search.sampler import constants, propose
from autoresearch.workspace.assets import task_folder

SOURCE = '''"""A trainer."""
RATE = 0.02  # é: columns are bytes in a syntax tree
MOMENTUM: float = 0.95
DEPTH = 4
LOG_EVERY_S = 3.0
NAME = "x"
A = B = 0.5
WIDE = 0.1 + 0.2
negative = 1.5
if True:
    INNER = 2.0
'''


def test_only_plain_named_numbers_of_the_top_level_are_offered() -> None:
    assert [(c.name, c.value) for c in constants(SOURCE)] == [("RATE", 0.02), ("MOMENTUM", 0.95)]


def test_a_proposal_changes_one_number_and_nothing_else() -> None:
    for seed in range(20):
        proposal = propose(SOURCE, set(), random.Random(seed))
        assert proposal is not None
        before, after = SOURCE.splitlines(), proposal.source.splitlines()
        assert len(before) == len(after)
        [line] = [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
        assert after[line].startswith(proposal.name)
        assert "# é" in after[1]
        ast.parse(proposal.source)
        assert fingerprint({"train.py": SOURCE.encode()}) != fingerprint({"train.py": proposal.source.encode()})


def test_a_fraction_stays_a_fraction() -> None:
    for seed in range(40):
        proposal = propose("MOMENTUM = 0.95\n", set(), random.Random(seed))
        assert proposal is not None
        value = float(proposal.source.split("=")[1])
        assert 0 < value < 1
        assert value != 0.95


def test_nothing_is_proposed_twice_and_the_choices_end() -> None:
    tried: set[str] = set()
    rng = random.Random(1)
    while (proposal := propose(SOURCE, tried, rng)) is not None:
        assert proposal.description not in tried
        tried.add(proposal.description)
    assert len(tried) == 8  # two constants, four factors


def test_the_same_seed_proposes_the_same() -> None:
    assert propose(SOURCE, set(), random.Random(5)) == propose(SOURCE, set(), random.Random(5))


def test_the_trainer_of_the_pretrain_task_has_enough_constants_to_sample() -> None:
    source = (task_folder("pretrain") / "train.py").read_text(encoding="utf-8")
    names = {c.name for c in constants(source)}
    assert len(names) >= 8
    assert "MATRIX_LR" in names
