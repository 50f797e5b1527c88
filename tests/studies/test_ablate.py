"""`ablate` and `selftest` end to end: which keeps pay, and how often luck is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Maker, Repo, new_repo, task_file

from autoresearch.errors import MachineError
from autoresearch.reports import overview
from autoresearch.runs.isolation.sandbox import SWITCH
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.runs.turn import Turn
from autoresearch.studies import selftest, study

pytestmark = [pytest.mark.slow, pytest.mark.sampled(0.3)]

SUM = """noise=(0 3 -2 1 -3 2)
total=$(($(cat src/base) + ${noise[$((AUTORESEARCH_SEED % 6))]}))
for part in src/*.part; do [ -f $part ] && total=$((total + $(cat $part))); done
[ -f src/needed ] && { [ -f src/lib.sh ] && source src/lib.sh || exit 7; }
echo METRIC total_ms=$total
"""
"""The level of the metric, which each part changes, plus a noise of the seed."""


@pytest.fixture
def summed(make_lab: Maker) -> Lab:
    return make_lab(run={"command": SUM})


def keep(lab: Lab, said: str, **files: str) -> int:
    for name, content in files.items():
        lab.write(f"src/{name.replace('_', '.')}", content)
    view = lab.call("try", "-m", said, "--json").json
    assert view["status"] == "keep", view
    number: int = view["experiment"]
    return number


def test_ablate_says_which_keeps_pay_and_leaves_the_branch_alone(summed: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = keep(summed, "a", a_part="-500"), keep(summed, "b", b_part="-200")
    c = keep(summed, "c, which makes a useless", a_part="0", c_part="-900")
    head = summed.git("rev-parse", "HEAD")
    turns, real = list[Turn](), study.measure_undisturbed

    def measured(context: RunContext, spec: RunSpec, *args: Any, **more: Any) -> Any:
        assert spec.turn is not None
        turns.append(spec.turn)
        return real(context, spec, *args, **more)

    monkeypatch.setattr(study, "measure_undisturbed", measured)
    view = summed.call("ablate", "--json").json
    assert [turn.run for turn in turns] == [*range(1, len(turns) + 1)]
    assert {turn.most for turn in turns} == {3 * 4 + 3}, "three seeds of each variant, and of the best"
    assert len(turns) <= 15
    assert turns[0].words.endswith("run 1 of at most 15") and turns[0].left_s is not None
    found = {tuple(change["without"]): change for change in view["changes"]}
    assert found[(b,)]["verdict"] == "pays" and found[(b,)]["worth"] == pytest.approx(200, abs=20)
    assert found[(a,)]["verdict"] == "conflict" and "src/a.part" in found[(a,)]["reason"]
    assert found[(c,)]["verdict"] == "pays" and found[(c,)]["worth"] == pytest.approx(400, abs=20)
    assert not view["offered"] and summed.git("rev-parse", "HEAD") == head
    summed.assert_clean()


@pytest.mark.slow
def test_a_change_that_stopped_paying_is_left_out_by_apply(make_lab: Maker) -> None:
    lab = make_lab(run={"command": SUM.replace("for part", "[ -f src/c.part ] && rm -f src/a.part\nfor part")})
    a = keep(lab, "a", a_part="-500")
    keep(lab, "c, with which a does nothing", c_part="-900")
    before = lab.session.incumbent
    view = lab.call("ablate", "--json").json
    assert view["offered"] and view["stack"]["without"] == [a] and view["stack"]["smaller"]
    assert lab.session.incumbent == before and (lab.root / "src/a.part").exists()
    applied = lab.call("ablate", "--apply", "--json").json["applied"]
    assert applied["status"] == "keep" and "simpler" in applied["reason"], applied
    assert not (lab.root / "src/a.part").exists() and (lab.root / "src/c.part").exists()
    lab.assert_clean()


def test_a_simplification_at_an_equal_number_is_what_goes_on_and_two_seeds_confirm_it(make_lab: Maker) -> None:
    lab = make_lab(metric={"exact": True})
    keep(lab, "fast", run_sh="unused=1\nother=2\necho METRIC total_ms=90\n")
    keep(lab, "what is not used goes", run_sh="echo METRIC total_ms=90\n")
    assert lab.call("show", "best", "--file", "src/run.sh").out == "echo METRIC total_ms=90\n"
    found = lab.call("confirm", "--json").json
    assert (len(found["seeds"]), found["gain"]) == (2, 10), "a metric that is exact has no spread"
    assert len(lab.call("confirm", "--seeds", "3", "--json").json["seeds"]) == 3


def test_a_change_that_the_rest_needs_is_told_apart_from_one_that_pays(summed: Lab) -> None:
    library = keep(summed, "a library", a_part="-300", lib_sh="true\n")
    keep(summed, "its user", b_part="-300", needed="")
    view = summed.call("ablate", "--json").json
    found = {tuple(c["without"]): c for c in view["changes"]}
    assert found[(library,)]["verdict"] == "needed" and "crash" in found[(library,)]["reason"]
    assert summed.events("study_end")[-1]["outcome"] == "done"


def test_ablate_before_any_keep_says_so(lab: Lab) -> None:
    assert lab.call("ablate").code == 5


NOISE = 'echo METRIC total_ms=$(awk -v s=$AUTORESEARCH_SEED -v r=$RANDOM "BEGIN { print 100 + (r % 1000) / 100 }")\n'


def test_selftest_runs_changes_of_nothing_elsewhere_and_goes_on_where_it_stopped(make_lab: Maker) -> None:
    lab = make_lab("--policy", "greedy", "--seeds", "2")
    lab.edit(NOISE)
    lab.attempt()
    lab.write("notes.txt", "a person's\n")
    before, head = lab.events(), lab.git("rev-parse", "HEAD")
    view = lab.call("selftest", "-n", "3", "--json").json
    assert (view["policy"], view["experiments"]) == ("greedy", 3)
    again = lab.call("selftest", "-n", "6", "--json").json
    assert again["experiments"] == 6 and again["runs"] == 7
    assert again["false_keeps"] == again["greedy_false_keeps"] >= view["false_keeps"]
    low, high = again["interval"]
    assert 0 <= low <= again["rate"] <= high <= 1
    assert lab.events() == before and lab.git("rev-parse", "HEAD") == head
    assert lab.git("status", "--porcelain") == "?? notes.txt"
    assert lab.call("selftest", "-n", "1", "--fresh", "--json").json["experiments"] == 1


def test_selftest_finds_no_luck_where_the_metric_repeats_exactly(lab: Lab) -> None:
    view = lab.call("selftest", "-n", "2", "--json").json
    assert (view["false_keeps"], view["runs"], view["noise"]["sd"]) == (0, 5, 0.0)


def test_selftest_tells_a_run_that_fails(make_lab: Maker, tmp_path: Path) -> None:
    lab = make_lab(run={"command": f"bash bench.sh && [ ! -e {tmp_path}/stop ]"})
    assert lab.call("selftest", "-n", "1").code == 0
    (tmp_path / "stop").write_text("")
    done = lab.call("selftest", "-n", "2")
    assert done.code == 5 and "a run of the unchanged code failed" in done.err


def test_selftest_works_in_a_folder_of_a_larger_repository(lab: Lab) -> None:
    inner = lab.root / "inside" / "it"
    shutil.copytree(lab.root / "src", inner / "src")
    shutil.copy(lab.root / "bench.sh", inner / "bench.sh")
    lab.git("switch", "-q", "main")
    lab.commit("a task in a folder")
    repo = Lab(inner)
    done = repo.call("init", ".", "--no-probe", "--command", "bash bench.sh", "--metric", "total_ms",
                     "--direction", "lower", "--mutable", "src", "--tag", "inner")  # fmt: skip
    assert done.code == 0, done
    assert repo.call("baseline").code == 0
    assert repo.call("selftest", "-n", "1", "--json").json["experiments"] == 1


@pytest.fixture
def with_library(tmp_path: Path) -> Callable[[str], tuple[Lab, Repo]]:
    """Return a function that makes a lab with a submodule `src/lib`, whose `value` is 0 at first, from a benchmark."""

    def make(bench: str) -> tuple[Lab, Repo]:
        library, lab = new_repo(tmp_path / "library"), Lab(new_repo(tmp_path / "lab").root)
        library.write("value", "0\n")
        library.commit()
        lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "src/lib")
        lab.write("bench.sh", bench)
        lab.write("autoresearch.toml", task_file(metric={"exact": True}))
        lab.commit()
        assert lab.call("init", ".", "--task", "command", "--tag", "t").code == 0 and lab.call("baseline").code == 0
        return lab, library

    return make


def bump(lab: Lab, library: Repo, value: int) -> int:
    library.write("value", f"{value}\n")
    library.commit()
    Repo(lab.root / "src/lib").git("pull", "-q")
    return keep(lab, "a newer library")


BENCH = """total=$((1000 - $(cat src/lib/value)))
[ -x src/other.txt ] && total=$((total - 200))
[ -L src/base ] && total=$((total - 300))
grep -q quick src/run.sh && total=$((total - 50))
echo METRIC total_ms=$total
"""


def test_modes_links_and_submodules_are_taken_apart_too(
    with_library: Callable[[str], tuple[Lab, Repo]],
) -> None:
    lab, library = with_library(BENCH)
    (lab.root / "src/other.txt").chmod(0o755)
    mode = keep(lab, "a program")
    text = keep(lab, "quick, and another line of the program", run_sh="quick\n", other_txt="others\n")
    (lab.root / "src/base").unlink()
    (lab.root / "src/base").symlink_to("run.sh")
    link, newer = keep(lab, "a link"), bump(lab, library, 70)
    view = lab.call("ablate", "--json")
    found = {change["without"][0]: (change["verdict"], change["worth"]) for change in view.json["changes"]}
    assert found == {mode: ("pays", 200), text: ("pays", 50), link: ("pays", 300), newer: ("pays", 70)}, view
    lab.assert_clean()


def test_a_submodule_that_stopped_paying_is_moved_back_by_apply(
    with_library: Callable[[str], tuple[Lab, Repo]],
) -> None:
    bench = "lib=$(cat src/lib/value)\n[ -x src/base ] && lib=90\necho METRIC total_ms=$((100 - lib))\n"
    lab, library = with_library(bench)
    start = lab.git("rev-parse", "HEAD:src/lib")
    newer = bump(lab, library, 70)
    (lab.root / "src/base").chmod(0o755)
    keep(lab, "a mode, with which the library does nothing")
    view = lab.call("ablate", "--apply", "--json").json
    assert view["stack"]["without"] == [newer]
    assert lab.git("rev-parse", f"refs/autoresearch/t/{view['applied']['experiment']}:src/lib") == start
    lab.assert_clean()
    assert Repo(lab.root / "src/lib").git("rev-parse", "HEAD") == lab.git("rev-parse", "HEAD:src/lib")


def test_what_to_type_after_selftest_is_cut_short_is_selftest(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(*_: object, **__: object) -> None:
        raise MachineError("experiment 2 was cut short", "measure it with: autoresearch try --again 2")

    with monkeypatch.context() as patched:
        patched.setattr(selftest, "attempt", cut_short)
        done = lab.call("selftest", "-n", "2")
    assert done.code == 1 and "go on with: autoresearch selftest -n 2" in done.err and "try --again" not in done.err
    assert lab.call("selftest", "-n", "2", "--json").json["experiments"] == 2


def test_selftest_of_another_task_begins_anew_and_the_report_names_the_policy_measured(make_lab: Maker) -> None:
    lab = make_lab("--policy", "greedy")
    assert lab.call("selftest", "-n", "1").code == 0
    toml = (lab.root / "autoresearch.toml").read_text()
    lab.write("autoresearch.toml", toml.replace('policy = "greedy"', 'policy = "confirm"'))
    lab.git("commit", "-qam", "another policy")
    assert lab.call("segment").code == 0
    view = overview.false_keeps(lab.workspace)
    assert view is not None and view["policy"] == "greedy"
    refused = lab.call("selftest", "-n", "2")
    assert refused.code == 5 and "selftest -n 2 --fresh" in refused.err
    assert lab.call("selftest", "-n", "1", "--fresh", "--json").json["policy"] == "confirm"


def test_selftest_takes_the_task_of_the_code_that_it_measures(lab: Lab) -> None:
    toml = lab.root / "autoresearch.toml"
    toml.write_text(toml.read_text() + "\n# not committed\n")
    for words in (("selftest", "-n", "1"), ("selftest", "-n", "1", "--fresh"), ("selftest", "-n", "2")):
        done = lab.call(*words)
        assert done.code == 0, done


def test_what_is_refused_in_the_laboratory_throws_away_nothing_that_it_has(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.call("selftest", "-n", "1").code == 0
    monkeypatch.setenv(SWITCH, "cage")
    refused = lab.call("selftest", "-n", "2")
    assert refused.code == 5 and refused.err.rstrip().endswith("correct that, then: autoresearch selftest -n 2"), (
        refused
    )
    monkeypatch.delenv(SWITCH)
    assert lab.call("selftest", "-n", "2", "--json").json["experiments"] == 2
