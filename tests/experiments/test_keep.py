"""Keep or discard end to end: real runs whose values come from the seed and from what the mutable files say."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from lab import Lab, Maker

NOISY = """noise=(0 30 -20 10 -30 20 5 -10 25 -15)
hundredths=$(($(cat src/base) + ${noise[$AUTORESEARCH_SEED]}))
[ $AUTORESEARCH_SEED = 1 ] && [ -f src/lucky ] && hundredths=$(cat src/lucky)
[ -f src/extra.sh ] && source src/extra.sh
echo METRIC total_ms=${hundredths:0:-2}.${hundredths: -2}
"""
"""Prints the base value of this commit, in hundredths, plus the noise of its seed."""


def run_of(lab: Lab) -> dict[str, Any]:
    return lab.events("run")[-1]


def set_base(lab: Lab, value: float) -> None:
    lab.write("src/base", f"{round(value * 100)}\n")


@pytest.fixture
def noisy(make_lab: Maker) -> Lab:
    """A lab with a noise of 0.25 that depends on nothing but the seed."""
    return make_lab(run={"command": NOISY})


def test_one_run_decides_where_the_task_says_that_the_metric_is_exact(make_lab: Maker) -> None:
    lab = make_lab(metric={"exact": True})
    lab.prints(99.9)
    assert "the metric repeats exactly" in lab.attempt().out
    assert (run_of(lab)["status"], run_of(lab)["seeds"]) == ("keep", [1])
    lab.assert_clean()
    lab.prints(99.95)
    lab.attempt()
    assert (run_of(lab)["status"], run_of(lab)["seeds"]) == ("discard", [1])
    lab.assert_clean()
    assert not lab.events("repeat")


def test_equal_values_prove_nothing_so_a_gain_comes_again_and_is_marked_as_one_draw(lab: Lab) -> None:
    lab.prints(99.9)
    assert "one draw: no value depends on its seed" in lab.attempt().out
    assert (run_of(lab)["status"], run_of(lab)["seeds"]) == ("keep", [1, 4, 5])
    assert [(e["experiment"], e["seed"]) for e in lab.events("repeat")] == [(1, 4), (1, 5)], "on both sides"
    lab.prints(99.8)
    lab.attempt()
    assert (run_of(lab)["status"], len(run_of(lab)["seeds"]), len(lab.events("repeat"))) == ("keep", 3, 2)
    lab.prints(99.95)
    lab.attempt()
    assert (run_of(lab)["status"], run_of(lab)["seeds"]) == ("discard", [1])
    lab.assert_clean()


def test_a_lucky_flip_of_a_metric_that_looks_exact_is_not_kept(make_lab: Maker) -> None:
    lab = make_lab(run={"command": NOISY.replace("(0 30 -20 10 -30 20 5 -10 25 -15)", "(0 0 0 0 0 0 0 0 0 0)")})
    lab.write("src/lucky", "9900")
    lab.attempt()
    run = run_of(lab)
    assert run["status"] == "discard" and run["values"][0] == 99 and run["values"][1] == 100, run


def test_equal_is_kept_when_it_is_simpler_and_not_otherwise(lab: Lab) -> None:
    lab.edit("sleep 0 && echo METRIC total_ms=100\n")
    lab.attempt()
    assert run_of(lab)["status"] == "discard" and "no better" in run_of(lab)["reason"]
    (lab.root / "src/other.txt").unlink()
    lab.attempt()
    assert run_of(lab)["status"] == "keep" and "simpler" in run_of(lab)["reason"]
    lab.assert_clean()
    assert not (lab.root / "src/other.txt").exists()


def test_simplicity_can_be_switched_off(make_lab: Maker) -> None:
    lab = make_lab(keep={"simplicity": False})
    (lab.root / "src/other.txt").unlink()
    lab.attempt()
    assert run_of(lab)["status"] == "discard"
    lab.assert_clean()
    assert (lab.root / "src/other.txt").read_text() == "other\n"


@pytest.mark.slow
def test_higher_is_better_when_the_task_says_so(make_lab: Maker) -> None:
    lab = make_lab(metric={"direction": "higher"})
    lab.prints(101)
    lab.attempt()
    assert run_of(lab)["status"] == "keep" and lab.session.gain == 1
    lab.prints(100.5)
    lab.attempt()
    assert run_of(lab)["status"] == "discard"


def test_greedy_keeps_whatever_one_run_says(make_lab: Maker) -> None:
    lab = make_lab(keep={"policy": "greedy"})
    assert run_of(lab)["seeds"] == [1]
    lab.edit("echo METRIC total_ms=$((98 + AUTORESEARCH_SEED))\n")
    lab.attempt()
    assert (run_of(lab)["status"], run_of(lab)["values"], run_of(lab)["metric"]) == ("keep", [99], 99)


def test_a_gain_below_the_minimum_is_discarded(make_lab: Maker) -> None:
    lab = make_lab(keep={"minimum_gain": 5})
    lab.prints(96)
    lab.attempt()
    assert run_of(lab)["status"] == "discard" and "minimum gain" in run_of(lab)["reason"]
    lab.prints(95)
    lab.attempt()
    assert run_of(lab)["status"] == "keep"


@pytest.mark.slow
@pytest.mark.parametrize(
    "tables", [{"keep": {"max_memory_mb": 1000}}, {"guard": {"peak_vram_mb": {"max": 1000}}}], ids=["old", "guard"]
)
def test_what_breaks_a_guard_is_discarded_however_good(make_lab: Maker, tables: dict[str, Any]) -> None:
    lab = make_lab(**tables)
    told = "peak_vram_mb was not reported, so its guard tells nothing"
    assert run_of(lab)["reason"] == f"baseline; {told}"
    lab.attempt("echo METRIC total_ms=300\n")
    assert run_of(lab)["status"] == "discard" and run_of(lab)["reason"].endswith(f"; {told}")
    lab.edit("echo METRIC total_ms=1; echo METRIC peak_vram_mb=1001\n")
    lab.attempt()
    assert run_of(lab)["status"] == "discard"
    assert run_of(lab)["reason"] == "peak_vram_mb is 1001, by 1 above the limit of 1000"
    lab.edit("echo METRIC total_ms=1; echo METRIC peak_vram_mb=1000\n")
    lab.attempt()
    assert run_of(lab)["status"] == "keep"


def test_a_discard_starts_few_git_processes(lab: Lab, sandboxed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.attempt("echo METRIC total_ms=300\n")  # what is made once is there
    started: list[str] = []

    class Counted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, **more: Any) -> None:
            started.append(args[0] if isinstance(args, list | tuple) else args)
            super().__init__(args, **more)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    lab.attempt("echo METRIC total_ms=301\n")
    assert run_of(lab)["status"] == "discard"
    assert 5 < started.count("git") <= (11 if sandboxed else 12)


class TestConfirm:
    def test_the_baseline_measures_the_noise(self, noisy: Lab) -> None:
        assert run_of(noisy)["seeds"] == [1, 2, 3]
        assert noisy.session.noise.dof == 2 and 0.2 < (noisy.session.noise.sd or 0) < 0.3

    def test_clearly_worse_costs_one_run(self, noisy: Lab) -> None:
        set_base(noisy, 101)
        noisy.attempt()
        assert (run_of(noisy)["status"], run_of(noisy)["seeds"]) == ("discard", [1])
        noisy.assert_clean()

    def test_a_real_gain_is_kept_on_fresh_seeds_alone(self, noisy: Lab) -> None:
        set_base(noisy, 95)
        noisy.attempt()
        run = run_of(noisy)
        assert run["status"] == "keep" and run["screened"]
        assert run["seeds"][:2] == [1, 4] and len(run["seeds"]) > 1  # the baseline has run 1, 2 and 3
        assert run["metric"] == sum(run["values"][1:]) / len(run["values"][1:])
        noisy.assert_clean()

    def test_luck_on_the_screening_seed_is_not_confirmed(self, noisy: Lab) -> None:
        noisy.write("src/lucky", "9700")
        noisy.attempt()
        run = run_of(noisy)
        assert run["status"] == "discard" and run["values"][0] == 97 and len(run["values"]) > 1, run
        assert "not confirmed" in run["reason"]
        assert run["metric"] > 99
        noisy.assert_clean()

    def test_seeds_that_the_incumbent_lacks_are_run_for_it_and_recorded(self, noisy: Lab) -> None:
        set_base(noisy, 95)
        noisy.attempt()
        had = set(noisy.session.incumbent.by_seed)  # type: ignore[union-attr]
        set_base(noisy, 94)
        noisy.attempt()
        run, repeats = run_of(noisy), [r for r in noisy.events("repeat") if r["experiment"] == 2]
        assert repeats
        assert set(run["seeds"][1:]) <= had | {r["seed"] for r in repeats}
        assert not had & {r["seed"] for r in repeats}
        noisy.assert_clean()

    def test_more_pairs_of_a_close_call_can_change_the_verdict(self, noisy: Lab) -> None:
        set_base(noisy, 99.9)
        noisy.call("try", "-m", "less", "--asi", "family=size", "--asi", "result=nothing")
        assert (run_of(noisy)["status"], run_of(noisy)["seeds"]) == ("discard", [1])
        assert noisy.call("try", "-m", "x", "--pairs", "4").code == 2
        done = noisy.call("try", "--again", "2", "--pairs", "4", "--json")
        assert done.json["status"] == "keep" and "over 3 pairs" in done.json["reason"], done
        assert noisy.events("start")[-1]["pairs"] == 4 and run_of(noisy)["alpha"] > 0
        assert run_of(noisy)["asi"] == {"family": "size"}, "what it is comes along, what came out does not"
        assert [r["seed"] for r in noisy.events("repeat")] == run_of(noisy)["seeds"][1:]
        noisy.assert_clean()

    def test_weights_are_kept_of_one_seed_of_what_is_kept(self, make_lab: Maker) -> None:
        lab = make_lab(run={"command": f'echo w > "$AUTORESEARCH_RUN_DIR/w.bin"\n{NOISY}', "weights": "w.bin"})
        set_base(lab, 101)
        lab.attempt()
        set_base(lab, 95)
        lab.attempt()
        assert run_of(lab)["status"] == "keep" and len(run_of(lab)["seeds"]) > 1 and lab.events("repeat")
        assert [p.parent.name for p in lab.workspace.run_dir(1, 0).parent.glob("*/w.bin")] == ["1"]
        assert not [*lab.workspace.run_dir(2, 0).parent.glob("*/w.bin")]
        assert [p.parent.name for p in lab.workspace.run_dir(3, 0).parent.glob("*/w.bin")] == ["1"]

    def test_what_a_night_has_spent_is_told(self, make_lab: Maker) -> None:
        lab = make_lab(run={"command": NOISY}, keep={"night_alpha": 0.05})
        assert "night_alpha  0 of 0.05 spent" in lab.call("status").out
        set_base(lab, 95)
        lab.attempt()
        told = lab.call("status", "--json").json["night_alpha"]
        assert told["budget"] == 0.05 and 0 < told["spent"] == run_of(lab)["alpha"] < 0.006

    def test_killed_during_the_confirmation_is_not_decided(self, noisy: Lab) -> None:
        noisy.write("src/extra.sh", "[ $AUTORESEARCH_SEED = 1 ] || kill -KILL $$\n")
        set_base(noisy, 90)
        noisy.attempt()
        run = run_of(noisy)
        assert (run["status"], run["outcome"], run["metric"], len(run["values"])) == ("crash", "killed", None, 1)
        noisy.assert_clean()
        again = noisy.call("try", "--again", "2")
        assert again.code == 0 and run_of(noisy)["run"] == 3

    def test_a_crash_during_the_confirmation_is_a_crash(self, noisy: Lab) -> None:
        noisy.write("src/extra.sh", "[ $AUTORESEARCH_SEED = 1 ] || exit 5\n")
        set_base(noisy, 90)
        noisy.attempt()
        assert (run_of(noisy)["status"], run_of(noisy)["outcome"], run_of(noisy)["metric"]) == ("crash", "crash", None)

    def test_a_baseline_with_more_seeds_adds_what_is_missing(self, noisy: Lab) -> None:
        assert noisy.call("baseline", "--seeds", "5").code == 0
        assert [r["seed"] for r in noisy.events("repeat")] == [4, 5]
        assert noisy.session.noise.dof == 4
        assert noisy.call("baseline", "--seeds", "5").code == 5
