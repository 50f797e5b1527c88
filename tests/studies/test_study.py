"""`confirm` and `replicate`: honest numbers, each use of the locked split written down, nothing decided."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from lab import Lab, Maker

from autoresearch.experiments import undisturbed
from autoresearch.journal import events
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.statistics.locked import LEAST_SEEDS, PRICES
from autoresearch.studies import study

pytestmark = pytest.mark.slow

TRAIN = 'cat src/base > "$AUTORESEARCH_RUN_DIR/weights"; [ -z "$AUTORESEARCH_SPLIT" ]'
"""Training: the level of the metric, in hundredths, is what the mutable folder says. It is not told any split."""

JUDGE = r"""level=$(cat "$AUTORESEARCH_RUN_DIR/weights")
[ "$AUTORESEARCH_SPLIT" = locked ] && level=$((10000 - (10000 - level) / 2))
value=$(awk -v l=$level -v s=$AUTORESEARCH_SEED 'BEGIN { print (l + s * 37 % 11) / 100 }')
exec > "$AUTORESEARCH_RESULT"
echo "{\"outcome\": \"ok\", \"metrics\": {\"total_ms\": $value}, \"split\": \"$AUTORESEARCH_SPLIT\"}"
"""
"""On the locked split half of each gain is gone."""

SPREAD = JUDGE.replace("s * 37 % 11", "s * 37 % 11 + (l < 10000) * (s % 3)")
"""The same, where the gain is not the same with each seed."""


@pytest.fixture
def judged(make_lab: Maker) -> Lab:
    """A task whose evaluator knows a locked split; one change was kept, worth 10."""
    lab = make_lab(run={"command": TRAIN, "evaluate": JUDGE})
    improve(lab, 9000)
    return lab


@pytest.fixture
def spread(make_lab: Maker) -> Lab:
    lab = make_lab(run={"command": TRAIN, "evaluate": SPREAD})
    improve(lab, 9000)
    return lab


def improve(lab: Lab, hundredths: int) -> None:
    lab.write("src/base", f"{hundredths}\n")
    assert lab.call("try", "-m", "a gain", "--json").json["status"] == "keep"


def test_confirm_tells_what_is_left_of_the_gain_on_the_locked_split(judged: Lab) -> None:
    before = [e for e in judged.events() if "run" in e]
    view = judged.call("confirm", "--seeds", "3", "--json").json
    assert view["split"] == "locked" and view["claimed"] == pytest.approx(10, abs=0.2)
    assert view["gain"] == pytest.approx(5, abs=1e-6) and view["shrinkage"] == pytest.approx(0.5, abs=0.02)
    low, high = view["interval"]
    assert low <= view["gain"] <= high and view["holds"]
    used = {seed for e in before for seed in e["seeds"]} | {e["seed"] for e in judged.events("repeat")}
    assert len(view["seeds"]) == 3 and not used & set(view["seeds"])
    assert [e for e in judged.events() if "run" in e] == before
    judged.assert_clean()


def test_confirm_shows_both_sides_and_how_much_of_the_claim_is_there(judged: Lab) -> None:
    done = judged.call("confirm", "--seeds", "3")
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    view = judged.session.studies[-1].result
    for side in ("baseline", "best"):
        assert f"{view[side]:.3f} ± " in lines[side] and view[f"{side}_error"] > 0
    assert (
        lines["gain"].startswith("gain       +5.000  (95 % interval") and "of pairs on the same seed" in lines["gain"]
    )
    assert f"{100 * view['found']:.0f} % of the claim found here" in lines["claimed"]
    assert view["found"] == pytest.approx(1 - view["shrinkage"])


def test_a_run_that_the_machine_disturbed_is_made_again_in_a_study_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.prints(90)
    lab.attempt()
    loads = iter([1.0, 1.0, 9.0, 1.0, 1.0])

    def measure(_: RunContext, spec: RunSpec) -> Measurement:
        load = next(loads)
        speed = 1.0 if load > 2 else 8.0  # the value tells nothing of it
        metrics = {"num_steps": 20 * speed, "training_seconds": 20.0}
        return Measurement("ok", 100 - 10 * (spec.experiment == 2), metrics, seconds=20.0, cpu_s=20.0, load=load)

    monkeypatch.setattr(undisturbed, "measure", measure)
    done = lab.call("confirm", "--seeds", "2")
    (line,) = lab.events("disturbed")
    study = lab.session.studies[-1]
    assert (line["experiment"], line["study"]) == (1, study.number) and sum(map(len, study.runs.values())) == 4
    assert "a run was made again: 1 steps a second, 8 in another run of the same code" in done.out, done
    assert len(study.result["disturbed"]) == 1
    assert all(run.purpose != "disturbed" for e in lab.session.experiments for run in e.runs)


def test_each_use_of_the_locked_split_is_in_the_journal_and_counted(spread: Lab) -> None:
    view = spread.call("confirm", "--seeds", "2", "--json").json
    assert (view["locked_uses"], view["locked_left"], view["lowered"]) == (1, len(PRICES) - 1, 0)
    done = spread.call("confirm", "--seeds", "2")
    told = spread.session.studies[-1].result
    assert len(told["seeds"]) == LEAST_SEEDS, "two tell too little where a read has a price"
    seeds = [e["seed"] for e in spread.events("study_run")]
    assert len(seeds) == 10 and len(set(seeds)) == 5, "the second time the seeds are new again"
    assert told["lowered"] > 0 and "for 1 earlier read)" in done.out and f"read 2 of {len(PRICES)} times" in done.out
    measured = told["baseline"] - told["best"]
    assert told["gain"] == pytest.approx(measured - told["lowered"])
    assert told["interval"][0] == pytest.approx(2 * told["gain"] - told["interval"][1] + told["lowered"])
    status = spread.call("status")
    assert f"locked       read 2 of {len(PRICES)} times; the next is told lower by" in status.out
    assert spread.call("status", "--json").json["locked_left"] == len(PRICES) - 2


def test_a_locked_split_that_was_read_too_often_is_refused_and_a_new_process_has_no_more_reads(judged: Lab) -> None:
    with judged.workspace.journal.open("a") as file:
        for number in range(1, len(PRICES) + 1):  # each begun, and never seen again
            about = {"baseline": 1, "best": 2, "seeds": [100 + number]}
            file.write(json.dumps(events.study_line(number, "confirm", about, "locked", 1_790_000_000)) + "\n")
            file.write(json.dumps(events.study_end_line(number, "failed", {}, 1_790_000_001)) + "\n")
    before = len(judged.events())
    done = judged.call("confirm", "--json")
    assert done.code == 5 and f"read {len(PRICES)} times" in done.json["error"]["message"]
    assert len(judged.events()) == before, "nothing was begun"
    command = done.json["error"]["fix"].rpartition("autoresearch ")[2]
    assert judged.call(*command.split(), "--seeds", "2").code == 0
    assert "no claim can be measured on it any more" in judged.call("status").out


def test_where_pairs_do_not_differ_nothing_tells_the_luck_of_a_second_read(judged: Lab) -> None:
    assert judged.call("confirm", "--seeds", "2").code == 0
    done = judged.call("confirm", "--seeds", "2", "--json")
    assert done.code == 5 and "did not differ" in done.json["error"]["message"]


def test_reads_of_other_data_are_not_counted_and_a_read_that_went_on_is_one(judged: Lab) -> None:
    seen = "a" * 64
    first = judged.session.baseline
    assert first is not None

    def read(number: int, data: str | None, continues: int | None = None) -> None:
        about = {"baseline": 1, "best": 2, "seeds": [200], **({"data": data} if data else {})}
        with judged.workspace.journal.open("a") as file:
            line = events.study_line(number, "confirm", about, "locked", 1_790_000_000, continues=continues)
            file.write(json.dumps(line) + "\n")
            for commit, value in (("x", 3.0 + number), ("y", 1.0)):
                file.write(json.dumps(events.study_run_line(number, commit, 200 + number, value, 1_790_000_001)) + "\n")

    read(1, seen)
    read(2, "b" * 64)
    read(3, "b" * 64, continues=2)
    read(4, None)
    here = judged.session
    assert [study.number for study in here.locked] == [1, 2, 4], "this baseline does not know its data"
    known = [e._replace(manifest="b" * 64) for e in here.experiments]
    other = dataclasses.replace(here, experiments=tuple(known))
    assert [study.number for study in other.locked] == [2, 4], "one that does not say what it read counts"
    assert other.locked_pairs() == [(4.0, 5.0), (6.0,)] and other.locked_pairs(besides=3) == [(6.0,)]


def test_an_evaluator_that_read_another_split_confirms_nothing(make_lab: Maker) -> None:
    lab = make_lab(run={"command": TRAIN, "evaluate": JUDGE.replace("$AUTORESEARCH_SPLIT\\", "search\\")})
    improve(lab, 9000)
    done = lab.call("confirm", "--seeds", "2")
    assert done.code == 1 and "read the search split, locked was asked for" in done.err
    (end,) = lab.events("study_end")
    assert end["outcome"] == "failed" and len(lab.session.locked) == 1
    assert lab.call("confirm", "--seeds", "2", "--split", "search", "--json").json["gain"] == pytest.approx(10)


def test_without_an_evaluator_the_seeds_are_fresh_and_the_report_says_that_the_data_is_not(lab: Lab) -> None:
    assert lab.call("confirm").code == 5
    lab.prints(90)
    lab.attempt()
    done = lab.call("confirm", "--seeds", "2")
    assert done.code == 0 and "the data is what decisions were made on" in done.out
    assert lab.session.locked == ()
    assert lab.call("confirm", "--split", "locked").code == 5


def test_a_machine_failure_pauses_confirm_and_the_same_command_goes_on(make_lab: Maker) -> None:
    broken = 'kill=$(cat "$PWD/../../../../kill" 2> /dev/null); [ "$kill" = $AUTORESEARCH_SEED ] && kill -KILL $$\n'
    lab = make_lab(run={"command": TRAIN, "evaluate": broken + SPREAD})
    improve(lab, 9000)
    (lab.root / "kill").write_text("")
    done = lab.call("confirm", "--seeds", "2", "--json")
    second = done.json["seeds"][1] + 2
    (lab.root / "kill").write_text(f"{second}\n")
    cut = lab.call("confirm", "--seeds", "2", "--json")
    assert cut.code == 1 and cut.json["error"]["kind"] == "machine" and "autoresearch confirm" in cut.err
    assert lab.events("study_end")[-1]["outcome"] == "interrupted"
    before = len(lab.events("study_run"))
    (lab.root / "kill").write_text("")
    view = lab.call("confirm", "--seeds", "2", "--json").json
    assert view["seeds"][1] == second and view["locked_uses"] == 2
    assert len(lab.events("study_run")) == before + 4, "what was complete is not run again"


def test_a_run_of_confirm_that_a_loaded_machine_made_late_is_made_again_and_costs_no_read(
    make_lab: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_SANDBOX", "off")  # the evaluator counts beside the workspace
    late = """left=$(cat "LATE" 2> /dev/null || echo 0)
if [ "$AUTORESEARCH_SPLIT" = locked ] && [ $left -gt 0 ]; then
  echo $((left - 1)) > "LATE"
  echo '{"outcome": "over_budget", "reason": "2.2 s late"}' > "$AUTORESEARCH_RESULT"
  exit
fi
"""
    lab = make_lab(run={"command": TRAIN, "evaluate": late.replace("LATE", str(tmp_path / "late")) + SPREAD})
    improve(lab, 9000)
    (tmp_path / "late").write_text("2\n")
    done = lab.call("confirm", "--seeds", "2", "--json")
    assert done.code == 0 and done.json["locked_uses"] == 1
    told = [remark.partition(" took")[2] for remark in done.json["disturbed"]]
    assert told == [" longer than it may (2.2 s late)"] * 2
    (tmp_path / "late").write_text("3\n")
    cut = lab.call("confirm", "--seeds", "3", "--json")
    assert cut.json["error"]["kind"] == "machine" and "autoresearch confirm --seeds 3" in cut.err
    assert lab.events("study_end")[-1]["outcome"] == "interrupted"


def test_a_signal_after_the_last_line_of_a_study_asks_for_no_second_read(
    judged: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "keep_up", interrupted)
    done = judged.call("confirm", "--seeds", "2")
    assert done.code == 1 and "interrupted after the end of confirm; see: autoresearch status" in done.err, done.err
    monkeypatch.undo()
    assert judged.events("study_end")[-1]["outcome"] == "done" and len(judged.session.locked) == 1


def test_what_resume_prints_of_a_killed_study_goes_on_with_its_seeds(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=90\n")
    best = lab.session.best
    assert best is not None
    about = {"baseline": 1, "best": best.number, "seeds": [70, 71]}
    with lab.workspace.journal.open("a") as file:
        for line in (
            events.study_line(1, "confirm", about, "search", 1_790_000_000),
            events.study_run_line(1, best.commit or "", 70, 90.0, 1_790_000_001),
        ):
            file.write(json.dumps(line) + "\n")
    told = re.search(r"Go on with: autoresearch (.*)", lab.call("resume").out)
    assert told is not None and lab.call(*told[1].split()).code == 0
    study = lab.session.studies[-1]
    assert study.continues == 1 and study.about["seeds"] == [70, 71]


def test_what_resume_prints_of_a_killed_study_has_the_options_that_were_typed(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=90\n")
    assert lab.call("confirm", "--seeds", "2").code == 0
    assert lab.events("study")[-1]["again"] == "autoresearch confirm --seeds 2"
    told = {
        "autoresearch confirm --workers local:2": "autoresearch confirm --workers local:2 --seeds 2",
        "autoresearch finalize --apply --leave-out unclear --by family": (
            "autoresearch finalize --apply --leave-out unclear --by family --seeds 2"
        ),
    }
    for number, (again, printed) in enumerate(told.items(), 2):
        what = again.split()[1]
        line = events.study_line(number, what, {"seeds": [70, 71]}, "search", 1_790_000_000, again=again)
        with lab.workspace.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")
        assert f"Go on with: {printed}\n" in lab.call("resume").out + "\n"


def test_what_another_segment_has_measured_is_not_replicated(lab: Lab) -> None:
    lab.write("autoresearch.toml", (lab.root / "autoresearch.toml").read_text() + "\n[stop]\nmax_experiments = 50\n")
    lab.git("commit", "-qam", "another task")
    for words in (("segment",), ("baseline",)):
        assert lab.call(*words).code == 0
    refused = lab.call("replicate", "1", "--seed", "7")
    assert refused.code == 5 and "experiment 1 is of another segment" in refused.err
    assert lab.events("repeat") == [] and lab.call("replicate", "2").code == 0


def test_replicate_with_the_same_seed_tells_whether_the_run_repeats(judged: Lab) -> None:
    noise = judged.session.noise
    view = judged.call("replicate", "2", "--json").json
    assert view["same"] is True and view["seed"] == 1
    second = judged.session.find(2)
    assert second is not None
    assert [(run.seed, run.value) for run in second.runs_for("replica")] == [(1, view["replicated"])]
    assert judged.session.noise == noise, "the same draw again tells nothing of the noise"
    assert "same to the last digit" in judged.call("replicate", "1", "--seed", "2").out


def test_replicate_with_another_seed_is_a_repeat(judged: Lab) -> None:
    dof = judged.session.noise.dof
    assert judged.call("replicate", "1", "--seed", "77").code == 0
    first = judged.session.find(1)
    assert first is not None and 77 in first.repeats and judged.session.noise.dof == dof + 1
    assert judged.call("replicate", "99").code == 2
    judged.assert_clean()


def test_a_run_that_fails_again_is_told_and_recorded(lab: Lab) -> None:
    lab.attempt("echo no; exit 3\n")
    done = lab.call("replicate", "2")
    assert done.code == 1 and "exited with 3" in done.err
    assert lab.events("study_end")[-1]["outcome"] == "failed" and lab.events("repeat") == []
    assert json.loads(lab.call("status", "--json").out)["experiments"] == 2
