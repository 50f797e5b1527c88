"""The arena of keep rules: its pool of edits, and the replay of the rules on a synthetic pool whose truth is known."""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import arena
import arena_pool
from arena_rules import RULES, Bench, Candidate, Pool

NOISE, SEEDS = 0.004, range(1, 6)


def lines() -> dict[str, dict[str, Any]]:
    """A synthetic pool of edits: a third of nothing, gains, harms, and some that crash."""
    kinds = {"nothing": 20, "gain": 12, "harm": 22, "crash": 6}
    return {
        f"{kind} {k}": {"id": f"{kind} {k}", "kind": kind, "edits": [{"old": f"{kind} {k}", "new": ""}]}
        for kind, count in kinds.items()
        for k in range(count)
    }


def gain_of(name: str) -> float:
    return {"gain": 0.012, "harm": -0.02}.get(name.partition(" ")[0], 0.0)


def rows(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Synthetic runs: a luck that all edits share on a seed, a luck of each run, and of each of the two splits."""
    rng = random.Random(seed)
    shared = {s: rng.gauss(0, NOISE / 2) for s in SEEDS}
    for name in (arena.PLAIN, *lines()):
        for s in SEEDS:
            row: dict[str, Any] = {"id": name, "seed": s, "cpu_s": 2.0 if name.startswith("crash") else 10.0}
            if name.startswith("crash"):
                yield {**row, "failed": "synthetic"}
                continue
            own = 2.3 - gain_of(name) + shared[s] + rng.gauss(0, NOISE)
            yield {**row, "search": own, "locked": own + 0.1 + rng.gauss(0, NOISE / 4)}


@pytest.fixture(scope="module")
def pool() -> Pool:
    return arena.measured_pool(lines(), [*rows()])


def test_every_edit_of_the_pool_goes_onto_the_file_and_makes_another_program() -> None:
    text = arena_pool.TRAIN.read_text("utf-8")
    made: dict[str, str] = {}
    for each in arena.edits_of_pool().values():
        code = arena_pool.applied(text, each["edits"])
        compile(code, each["id"], "exec")
        assert code != text and code not in made, (each["id"], made.get(code))
        made[code] = each["id"]
    kinds = Counter(each["kind"] for each in arena.edits_of_pool().values())
    assert kinds.total() == len(made) >= 120 and kinds["nothing"] >= kinds.total() / 3 and kinds["crash"] >= 5
    assert all(each["asi"]["family"] for each in arena.edits_of_pool().values())


def test_the_pool_that_is_committed_is_what_its_program_makes() -> None:
    assert [*arena.edits_of_pool().values()] == [json.loads(json.dumps(each)) for each in arena_pool.pool()]
    with pytest.raises(ValueError, match="stands there 2 times"):
        arena_pool.applied("a b a", [{"old": "a", "new": "c"}])


def test_effects_and_luck_are_found_from_runs(pool: Pool) -> None:
    known = {c.name: c for c in pool.candidates}
    assert len(known) == len(lines()) and pool.seconds == 10
    assert all(known[name].gain == (0.0, 0.0) for name in known if name.startswith("nothing"))
    assert all(known[name].gain is None and known[name].seconds == 2 for name in known if name.startswith("crash"))
    found = [c.gain[0] for c in pool.candidates if c.gain and c.kind == "gain"]
    assert statistics.fmean(found) == pytest.approx(0.012, abs=4 * NOISE * (2 / 5 / 12) ** 0.5 + NOISE)
    assert pool.noise == pytest.approx((NOISE**2 + (NOISE / 2) ** 2) ** 0.5, rel=0.25)
    assert statistics.fmean(p[0] for p in pool.luck) == pytest.approx(0, abs=1e-9)


def test_an_edit_that_fails_with_one_seed_crashes_and_one_without_runs_is_left_out() -> None:
    of = [row for row in rows() if row["id"] != "gain 3"]
    of += [{"id": "gain 4", "seed": 9, "cpu_s": 1.0, "failed": "synthetic"}]
    found = {c.name: c for c in arena.measured_pool(lines(), of).candidates}
    assert "gain 3" not in found and found["gain 4"].gain is None
    with pytest.raises(ValueError, match="the plain file"):
        arena.measured_pool(lines(), [row for row in of if row["id"] != arena.PLAIN])


def test_the_halves_are_disjoint_and_have_each_kind(pool: Pool) -> None:
    tuning, final = ({c.name for c in arena.half_of(pool, half).candidates} for half in ("tuning", "final"))
    assert not tuning & final and tuning | final == {c.name for c in pool.candidates}
    assert all(sum(name.startswith(kind) for name in final) >= 3 for kind in ("nothing", "gain", "harm", "crash"))


def test_a_run_on_top_of_what_was_kept_has_its_gain_and_the_same_run_comes_again(pool: Pool) -> None:
    bench = Bench(pool, random.Random(1))
    gain = next(c for c in pool.candidates if c.kind == "gain")
    assert bench.run(gain, 7) == bench.run(gain, 7) and bench.seconds == 20
    values = [v for seed in range(400) if (v := bench.run(None, seed))]
    bench.keep(gain)
    after = [v for seed in range(400) if (v := bench.run(None, seed))]
    assert gain.gain is not None
    for split in (0, 1):
        rise = statistics.fmean(v[split] for v in values) - statistics.fmean(v[split] for v in after)
        assert rise == pytest.approx(gain.gain[split], abs=4 * NOISE * (2 / 400) ** 0.5)
    assert bench.run(next(c for c in pool.candidates if c.kind == "crash"), 1) is None


@pytest.fixture(scope="module")
def played(pool: Pool) -> dict[str, list[arena.Played]]:
    return {rule: [arena.play(pool, rule, order, 60 * pool.seconds) for order in range(12)] for rule in RULES}


def mean(of: list[arena.Played], what: str) -> float:
    return statistics.fmean(getattr(p, what) for p in of if getattr(p, what) is not None)


@pytest.mark.slow
def test_luck_fools_the_rules_of_one_run_and_hardly_ours(played: dict[str, list[arena.Played]]) -> None:
    false = {rule: mean(of, "false_keeps") for rule, of in played.items()}
    assert false["greedy"] > 1 > 0.5 > false["ours"]
    assert false["two seeds"] <= false["greedy"] and false["bootstrap"] < false["greedy"]


@pytest.mark.slow
def test_every_rule_spends_its_budget_and_ours_finds_gains(played: dict[str, list[arena.Played]], pool: Pool) -> None:
    tried = {rule: mean(of, "experiments") for rule, of in played.items()}
    assert tried["greedy"] > tried["ours"] > 0.2 * tried["greedy"] and tried["bootstrap"] < 0.5 * tried["greedy"]
    assert all(mean(of, "gain") > 0 for rule, of in played.items() if rule != "greedy, MAD")
    assert mean(played["ours"], "missed") < 0.5
    again = arena.play(pool, "ours", 3, 60 * pool.seconds)
    assert again == played["ours"][3], "an order is the same whenever it is played"


def test_two_edits_of_the_same_place_are_not_both_kept(pool: Pool) -> None:
    twins = [Candidate(f"twin {k}", "gain", (0.05, 0.05), 10.0, frozenset({"here"})) for k in range(5)]
    found = arena.play(pool.of(twins), "greedy", 1, 1e9)
    assert found.gain == pytest.approx(0.05) and found.experiments == 1


def test_the_table_has_a_line_for_each_rule(pool: Pool) -> None:
    shown = [*arena.table(arena.half_of(pool, "final"), 2, 20)]
    assert [line.split(" | ")[0].strip("| ") for line in shown[2:]] == [*RULES]


def test_stacks_are_of_edits_that_gain_and_what_they_gain_together_is_compared(pool: Pool) -> None:
    text = "".join(line["edits"][0]["old"] + "\n" for line in lines().values()).replace("gain 1\n", "gain 1 \n")
    single = {name: {**line, "edits": [{"old": name + "\n", "new": "\n"}]} for name, line in lines().items()}
    commented = "\n".join("# " + line for line in text.splitlines()) + "\n"
    chains = arena.chains_of(single, pool, commented)
    assert len(chains) == arena.CHAINS and chains == arena.chains_of(single, pool, commented)
    parts = {part for of in chains.values() for part in of}
    assert all(min(c.gain) > 0 for c in pool.candidates if c.name in parts and c.gain)
    name, of = next(iter(chains.items()))
    stacked = [{"id": name, "seed": s, "cpu_s": 1.0, "search": 2.2, "locked": 2.3} for s in SEEDS]
    (line,) = arena.added_up({name: of}, pool, [*rows(), *stacked])
    measured = float(line.split("|")[3])
    assert measured == pytest.approx(0.1, abs=4 * NOISE)


def test_a_line_that_a_kill_cut_off_is_made_again(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    results.write_text('{"id": "", "seed": 1}\n{"id": "gain 1", "se')
    assert arena.rows_of(results) == [{"id": "", "seed": 1}] and arena.rows_of(tmp_path / "none") == []
