"""A repository that its owner has, with whatever output: from a clone to a judged experiment, no line changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lab import INIT, TAG, Called, Lab, Repo, task_file

from autoresearch.cli.path_options import spread
from autoresearch.errors import AutoresearchError
from autoresearch.experiments.seed_use import seeds_in, told
from autoresearch.runs import probe as probing
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import load, parse

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).resolve().parents[1] / "data" / "recipe"
TRIAL = tuple(word for word in INIT if word != "--no-probe")


def git(*words: str, cwd: Path) -> None:
    identity = ("-c", "user.name=A Person", "-c", "user.email=person@example.org")
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Lab:
    """A clone of a small recipe like nanoGPT's, with its data prepared as its README says."""
    origin, here = tmp_path / "origin", tmp_path / "recipe"
    shutil.copytree(RECIPE, origin)
    (origin / "gitignore").rename(origin / ".gitignore")
    git("init", "-q", "-b", "main", cwd=origin)
    git("add", "-A", cwd=origin)
    git("commit", "-qm", "recipe", cwd=origin)
    git("clone", "-q", str(origin), str(here), cwd=tmp_path)
    for key, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
        git("config", key, value, cwd=here)
    subprocess.run([sys.executable, "data/char/prepare.py"], cwd=here, check=True)
    return Lab(here)


BEGIN = ("init", ".", "--command", "python train.py config/train_char.py", "--metric", "val_loss",
         "--mutable", "model.py", "train.py", "--tag", TAG)  # fmt: skip


@pytest.mark.slow
def test_from_a_clone_to_a_judged_experiment_in_two_commands(clone: Lab) -> None:
    lab = clone
    edits = lab.root.parent / "edits.jsonl"
    change = {"file": "model.py", "old": "smoothing = 2.0", "new": "smoothing = 0.05"}
    edits.write_text(json.dumps({"description": "less smoothing", "edits": [change]}) + "\n")

    begun = lab.call(*BEGIN)
    assert begun.code == 0 and "step 60: train loss" in begun.err and "it prints one" not in begun.err, begun
    done = lab.call("run", "--agent", f"replay:{edits}", "--max-experiments", "1")
    assert done.code == 0, done

    task = load(lab.root)
    assert task.task.title == "val_loss of recipe" and task.metric.direction == "lower"
    assert task.files.link == ("data/char/meta.pkl", "data/char/train.bin", "data/char/val.bin")
    baseline, judged = lab.session.experiments
    assert judged.status == "keep" and "one draw" in judged.reason, judged
    assert baseline.metric is not None and judged.metric is not None and judged.metric < baseline.metric
    assert lab.git("diff", "--name-only", "main", baseline.commit or "") == "autoresearch.toml"
    assert lab.git("status", "--porcelain") == ""

    # The seed is written into the recipe: the baseline says so, and which line to write instead.
    named = [warning for warning in baseline.warnings if "train.py line 24" in warning]
    assert "does not use its seed" in baseline.warnings[0] and len(named) == 1, baseline.warnings
    assert "BAD" not in lab.call("doctor").out and "does not use its seed" in lab.call("doctor").out
    old, new = "random.seed(1337 + seed_offset)", named[0].rsplit("instead: ", 1)[1]
    assert new == 'random.seed(int(os.environ.get("AUTORESEARCH_SEED", 1337)) + seed_offset)'
    lab.write("train.py", (lab.root / "train.py").read_text().replace(old, new))
    lab.git("commit", "-qam", "use the seed")
    for words in (("segment",), ("baseline",)):
        assert lab.call(*words).code == 0
    again = lab.session.baseline
    assert again is not None and len({*again.by_seed.values()}) > 1 and lab.session.noise.sd
    assert not any("its seed" in warning for warning in again.warnings)
    assert "runs differ by their seed" in lab.call("doctor").out


def test_a_summary_block_and_a_file_of_json_are_measured_as_they_are(repo: Repo) -> None:
    repo.write("prepare.py", "x = 1\n")
    block = (RECIPE.parent / "outputs" / "reference" / "stdout").read_text()
    report = (RECIPE.parent / "outputs" / "pytest-benchmark" / "bench.json").read_text()
    for name, text in (("block", block), ("report", report)):
        repo.write(name, text)
    repo.write(".gitignore", "bench.json\n")
    repo.commit()
    walks = [
        ("cat block", "val_bpb", (), 0.9979, ("pattern", "stream")),
        ("cp report bench.json", "mean", ("--direction", "lower"), 2.6259875943677076e-05, ("file", "key")),
    ]
    for n, (command, metric, words, value, named) in enumerate(walks):
        options = ("--policy", "greedy", "--mutable", "src", "--immutable", "prepare.py", "bench.sh", "--tag", f"t{n}")
        begun = repo.call("init", ".", "--command", command, "--metric", metric, *options, *words, "--json")
        assert begun.code == 0, begun
        assert {name for name, text in begun.json["source"].items() if text is not None} == {*named}
        assert repo.call("baseline").code == 0
        baseline = Lab(repo.root).session.baseline
        assert baseline is not None and baseline.metric == value
        (repo.root / "autoresearch.jsonl").unlink()
        repo.git("switch", "-q", "main")


def trial(repo: Repo, script: str, *words: str) -> Called:
    """Begin with a command that prints what a script says; the last of equal options counts."""
    repo.write("src/run.sh", script)
    repo.commit("a script")
    return repo.call(*TRIAL, *words)


def test_without_a_metric_all_that_has_a_name_and_a_number_is_listed_and_nothing_made(repo: Repo) -> None:
    script = """echo 'epoch 1: val loss 0.75, took 15ms'; echo 'epoch 2: val loss 0.5, took 14ms'
echo 'seed = 1337' >&2; echo METRIC size=3; mkdir -p out; echo '{"score": 8}' > out/a.json; echo x > README.md\n"""
    repo.write(".gitignore", "out\n")
    words = [word for word in TRIAL if word not in ("--metric", "total_ms", "--direction", "lower")]
    repo.write("src/run.sh", script)
    repo.commit()
    done = repo.call(*words)
    assert done.code == 5 and done.out == ""
    for line in ("val_loss", "0.5  standard output, 2 lines, lower is better: epoch 2: val loss 0.5, took 14ms",
                 "14ms", "size", "score", "8  out/a.json", "wrote      out/a.json", "put back   README.md",
                 "seed       it prints one: seed = 1337", "choose one: autoresearch init . "):  # fmt: skip
        assert line in done.err, (line, done.err)
    assert repo.git("status", "--porcelain") == "" and not (repo.root / "autoresearch.toml").exists()


def test_two_places_of_one_name_are_told_with_the_option_for_each(repo: Repo) -> None:
    script = "echo 'epoch 1: val_loss 0.75'; echo 'best: val_loss 0.5'; echo '{\"val_loss\": 0.5}' > a.json\n"
    repo.write(".gitignore", "a.json\n")
    done = trial(repo, script, "--metric", "val_loss")
    assert done.code == 5 and done.err.count("--pattern") == 3 and done.err.count("--file a.json --key val_loss") == 1
    *places, refusal = [line for line in done.err.splitlines() if "val_loss" in line]
    assert [line.split(" in ")[0] for line in places] == ["place      0.75", "place      0.5", "place      0.5"]
    assert "3 places could be meant by val_loss: 0.75 in standard output (epoch 1: val_loss 0.75), 0.5" in refusal
    assert all(len(line) < 300 for line in places) and len(refusal.partition("; say which")[0]) < 300


def test_ignored_files_that_the_trial_opens_are_linked_but_for_secrets_and_what_it_writes(repo: Repo) -> None:
    repo.write(".gitignore", "/data/\n*.bin\n.env\nout/\n")
    for name in ("data/a/x", "data/y", "lib/z.bin", "lib/unused.bin", ".env", "out/old"):
        repo.write(name, "1\n")
    repo.write("lib/tracked", "1\n")
    done = trial(repo, "cat data/a/x data/y lib/z.bin .env out/old; echo 2 > out/old; echo METRIC total_ms=1\n")
    assert done.code == 0, done
    assert load(repo.root).files.link == ("data", "lib/z.bin")
    assert "opened     .env: ignored by git, and may hold secrets; to link it: --link .env" in done.err


def test_a_program_that_was_built_by_hand_is_not_linked_in_the_place_of_what_a_run_builds(repo: Repo) -> None:
    repo.write(".gitignore", "/tool\n/tools/\n*.so\n")
    for name in ("tool", "tools/cc", "fast.so"):
        repo.write(name, "\x7fELF of a kind\n")
        (repo.root / name).chmod(0o755)
    done = trial(repo, "cat tool tools/cc fast.so > /dev/null; echo METRIC total_ms=1\n")
    assert done.code == 0 and {*load(repo.root).files.link} == {"tools", "fast.so"}, done
    assert (
        "opened     tool: ignored by git, and a program, which each run has to build itself; to link it: --link tool"
        in done.err
    )


def test_a_command_that_does_not_end_counts_with_what_it_printed_before_the_limit(repo: Repo) -> None:
    os.mkfifo(repo.root.parent / "pipe")
    done = trial(repo, f"echo val_loss 0.5; cat {repo.root.parent / 'pipe'}\n", "--probe-limit", "5", "--metric",
                 "val_loss")  # fmt: skip
    assert done.code == 0 and "was ended after 5 s (--probe-limit)" in done.err, done
    assert load(repo.root).metric.pattern is not None


def test_a_run_that_misses_an_ignored_file_is_told_how_it_gets_one_and_the_edit_is_taken(repo: Repo) -> None:
    repo.write(".gitignore", "*.bin\n")
    repo.write("src/run.sh", "cat weights.bin && echo METRIC total_ms=5\n")
    repo.commit()
    repo.write("weights.bin", "1\n")
    lab = Lab(repo.root)
    assert lab.call(*INIT, "--policy", "greedy").code == 0
    failed = lab.call("baseline")
    says = 'weights.bin is ignored by git, so no run has it: add "weights.bin" to link under [files] in'
    assert failed.code == 1 and says in failed.err and "then: autoresearch baseline" in failed.err
    toml = (lab.root / "autoresearch.toml").read_text()
    assert "link = []" in toml
    lab.write("autoresearch.toml", toml.replace("link = []", 'link = ["weights.bin"]'))
    assert "the baseline takes it as it is now" in lab.call("check").err
    done = lab.call("baseline")
    assert done.code == 0 and "is taken as it is now" in done.out, done
    assert lab.session.segment.number == 1 and lab.git("status", "--porcelain") == ""
    # From now on it is fixed, and the way on is a segment.
    lab.write("autoresearch.toml", toml)
    refused = lab.call("try", "-m", "x")
    assert refused.code == 4 and "autoresearch segment" in refused.err


def test_a_name_that_is_none_is_refused_before_its_direction_is_asked_for(repo: Repo) -> None:
    done = repo.call("init", ".", "--command", "bash bench.sh", "--metric", "tour length", "--mutable", "src")
    assert done.code != 0 and "is no name of a metric" in done.err and "--direction" not in done.err


def test_a_change_that_needs_a_new_file_beside_the_mutable_ones_is_told_that_no_run_has_it(repo: Repo) -> None:
    lab = Lab(repo.root)
    assert lab.call(*INIT, "--policy", "greedy").code == 0 and lab.call("baseline").code == 0
    lab.write("kick.py", "MS = 5\n")
    lab.write("words.txt", "5\n")
    says = "is not in git, so no run has it: move what is needed of it into src"
    for missing, run in (("kick.py", "python3 -c 'import kick'\n"), ("words.txt", "cat words.txt >&2\n")):
        done = lab.attempt(f"set -e\n{run}echo METRIC total_ms=5\n")
        assert f"; {missing} {says}" in done.out, done
    assert lab.call("status", "--json").json["experiments"], (
        "and nothing else is said of files that are missing for good"
    )
    assert says not in lab.attempt("cat nowhere.txt && echo METRIC total_ms=5\n").out


def test_what_is_linked_is_not_changed_by_a_run(repo: Repo, sandboxed: bool) -> None:
    repo.write(".gitignore", "*.bin\n")
    repo.write("data.bin", "1\n")
    repo.write("src/run.sh", "cat data.bin; echo METRIC total_ms=5\n")
    repo.commit()
    lab = Lab(repo.root)
    for words in ((*INIT, "--policy", "greedy", "--link", "data.bin"), ("baseline",)):
        assert lab.call(*words).code == 0
    lab.attempt("echo 2 > data.bin; echo METRIC total_ms=1\n")
    run = lab.events("run")[-1]
    if sandboxed:
        assert (lab.root / "data.bin").read_text() == "1\n"
    else:
        says = "data.bin was changed while it ran, and is linked into every run"
        assert (run["outcome"], run["reason"]) == ("tampered", says)


@pytest.mark.parametrize(
    ("command", "better"),
    [
        ("python a.py --seed 7", "python a.py --seed {seed}"),
        ("python a.py --seed=7 -n 7", "python a.py --seed={seed} -n 7"),
        ("python a.py", "python a.py --data_seed {seed}"),
        ("python a.py --data_seed {seed}", None),
    ],
)
def test_a_command_that_can_have_the_seed_is_offered_with_it(tmp_path: Path, command: str, better: str | None) -> None:
    (tmp_path / "a.py").write_text("import b\np.add_argument('--data_seed', type=int)\n")
    (tmp_path / "b.py").write_text("random_seed = 3\n")
    task = parse(task_file(run={"command": command}, files={"mutable": ["src"], "immutable": ["autoresearch.toml"]}))
    lines = told(tmp_path, task, 3)
    assert any("b.py line 1 has the seed as a number" in line for line in lines)
    offered = [line for line in lines if line.startswith("the command can have it")]
    words = f'the command can have it: command = "{better}" in autoresearch.toml'
    assert offered == ([] if better is None else [words])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (". --mutable a b --metric x", ". --mutable a --mutable b --metric x"),
        (". --link a --immutable b c", ". --link a --immutable b --immutable c"),
        ("--mutable a b .", "--mutable a --mutable b ."),
        (". --mutable a .", ". --mutable a --mutable ."),
        (". --mutable --json", ". --mutable --json"),
        (". --metric a b", ". --metric a b"),
    ],
)
def test_several_paths_may_follow_an_option(words: str, expected: str) -> None:
    assert spread(words.split()) == expected.split()


@pytest.mark.parametrize(
    ("path", "line", "better"),
    [
        ("a.py", "torch.manual_seed(42)", 'torch.manual_seed(int(os.environ.get("AUTORESEARCH_SEED", 42)))'),
        ("a.py", "x = f(é, random_state=0)", 'x = f(é, random_state=int(os.environ.get("AUTORESEARCH_SEED", 0)))'),
        ("a.py", "SEED = 7", 'SEED = int(os.environ.get("AUTORESEARCH_SEED", 7))'),
        ("a.py", "seed: int = 7", 'seed: int = int(os.environ.get("AUTORESEARCH_SEED", 7))'),
        ("a.yaml", "  seed: 7", ""),
        ("a.py", "seed = args.seed", None),
        ("a.py", "seeded = 3", None),
        ("a.py", "rng = Random(seed)", None),
        ("a.yaml", "seeds: 7 of them", None),
    ],
)
def test_a_seed_that_is_a_number_is_found_with_what_to_write_instead(path: str, line: str, better: str | None) -> None:
    found = seeds_in(path, f"import os\n{line}\n")
    assert [(place.line, place.better) for place in found] == ([] if better is None else [(2, better)])
    without = seeds_in(path, f"import osmium\n{line}\n")
    assert all(place.better == f"{better}, and import os" for place in without if better)


def test_what_is_written_in_tracked_files_during_the_trial_is_kept_aside_and_own_files_stay_as_they_were(
    repo: Repo,
) -> None:
    repo.write("results.tsv", "commit\tvalue\n")
    repo.write("src/run.sh", "echo mine >> README.md; echo lost >> results.tsv; echo METRIC total_ms=1\n")
    repo.commit()
    repo.write("results.tsv", "commit\tvalue\na person's row\n")
    done = repo.call(*TRIAL)
    assert done.code == 0 and "put back   README.md, results.tsv: tracked, and changed while it ran" in done.err, done
    assert (repo.root / "results.tsv").read_text() == "commit\tvalue\na person's row\n"
    assert (repo.root / "README.md").read_text() == "read me\n"
    found = re.search(r"git stash show -p ([0-9a-f]+)", done.err)
    assert found is not None and repo.git("show", f"{found[1]}:README.md") == "read me\nmine"
    assert "+mine" in repo.git("stash", "show", "-p", found[1])
    assert found[1] == repo.git("rev-parse", found[1])  # git takes a short one of digits alone for a stash's number


def test_a_tracked_link_that_leads_out_of_the_repository_is_linked_where_the_task_says_so(repo: Repo) -> None:
    shared = repo.root.parent / "shared"
    shared.mkdir()
    (shared / "x").write_text("5\n")
    (repo.root / "data").symlink_to("../shared")
    repo.write("src/run.sh", "echo METRIC total_ms=$(cat data/x)\n")
    repo.commit()
    lab = Lab(repo.root)
    assert lab.call(*INIT, "--link", "data").code == 0
    for words in (("baseline",), ("replicate", "1")):  # a snapshot is used again
        done = lab.call(*words)
        assert done.code == 0, done
    assert lab.session.baseline is not None and lab.session.baseline.metric == 5
    assert lab.git("status", "--porcelain") == ""


def test_a_trial_that_fails_or_cannot_be_kept_loses_nothing(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.write("results.tsv", "commit\tvalue\n")
    repo.write("src/run.sh", "rm -f results.tsv; echo mine >> README.md; echo METRIC total_ms=1\n")
    repo.commit()
    repo.write("results.tsv", "a person's\n")
    (repo.root / "results.tsv").chmod(0o600)

    def stopped(*_: object, **__: object) -> None:
        raise AutoresearchError("it was stopped", "type it again")

    with monkeypatch.context() as patched:
        patched.setattr(probing, "_failure", stopped)
        assert "it was stopped" in repo.call(*TRIAL).err
    table = repo.root / "results.tsv"
    assert (table.read_text(), table.stat().st_mode & 0o777) == ("a person's\n", 0o600)
    assert (repo.root / "README.md").read_text() == "read me\n"
    assert "+mine" in repo.git("stash", "show", "-p", "stash@{0}"), "what was there is in the list of stashes"
    (repo.root / ".git" / "index.lock").touch()
    refused = repo.call(*TRIAL)
    assert refused.code != 0 and "git could not keep a copy of that" in refused.err, refused
    assert "mine" in (repo.root / "README.md").read_text() and not (repo.root / "autoresearch.jsonl").exists()


def test_what_a_trial_puts_back_is_a_link_or_a_file_with_its_mode(repo: Repo) -> None:
    repo.write("tool.sh", "echo tool\n")
    (repo.root / "tool.sh").chmod(0o755)
    (repo.root / "link").symlink_to("README.md")
    repo.commit()
    own = {path: probing._held(repo.root / path) for path in ("tool.sh", "link", "gone")}
    for path in ("tool.sh", "link"):
        (repo.root / path).unlink()
    repo.write("gone", "made by the run\n")
    changed, aside = probing._put_back(Git(repo.root), own)
    assert changed == ["gone", "link", "tool.sh"] and aside
    assert {path: probing._held(repo.root / path) for path in own} == own
    repo.write("README.md", "a person's edit\n")
    own = {"README.md": probing._held(repo.root / "README.md")}
    repo.git("restore", "README.md")  # as a run may write again what HEAD has
    assert probing._put_back(Git(repo.root), own) == (["README.md"], "")
    assert (repo.root / "README.md").read_text() == "a person's edit\n"
