"""Where the number of a run comes from: a pattern in what it prints, or a file that it writes; never an old number."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from lab import TAG, Lab, Maker, Repo, task_file
from pydantic import ValidationError

from autoresearch.metrics import MetricError, compile_pattern, last_matches, lines_backward
from autoresearch.runs import reported as reported_module
from autoresearch.runs.outcome import from_evaluator
from autoresearch.runs.reported import matches, number_of
from autoresearch.runs.result_files import number_in, take_away
from autoresearch.system import command_output
from autoresearch.system.command_output import KeptStream
from autoresearch.system.process import Exit
from autoresearch.workspace.metric_source import Source
from autoresearch.workspace.task_file import parse

LOSS = r"val loss (\S+)"
Streams = Callable[..., dict[str, KeptStream]]


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    """Return a function that makes the kept streams of what a run prints."""

    def make(stdout: bytes = b"", stderr: bytes = b"") -> dict[str, KeptStream]:
        kept = {"stdout": KeptStream(tmp_path), "stderr": KeptStream(tmp_path)}
        for name, content in (("stdout", stdout), ("stderr", stderr)):
            for at in range(0, len(content), 5):
                kept[name].take(content[at : at + 5])
        return kept

    return make


def found(kept: dict[str, KeptStream], pattern: str = LOSS, **more: object) -> float:
    source = Source.model_validate({"pattern": pattern, **more})
    return number_of(source, matches(kept, [pattern])[0])


class TestPatterns:
    def test_the_last_match_counts_on_text_as_a_terminal_shows_it(self, streams: Streams) -> None:
        output = b"val loss 3\n\x1b[1mval\x1b[0m loss 2.5\rval loss 2.25 val loss 2.125\x08\x08\nend\n"
        assert found(streams(output)) == 2.125
        assert found(streams(b"", output)) == 2.125

    def test_streams_are_looked_at_each_by_itself(self, streams: Streams) -> None:
        with pytest.raises(MetricError, match="the pattern matches nothing in the output"):
            found(streams(b"val ", b"loss 2\n"))
        assert found(streams(b"val loss 2\n", b"val loss 2\n")) == 2
        both = streams(b"val loss 2\n", b"val loss 3\n")
        with pytest.raises(MetricError, match="2 on standard output and 3 on standard error; say with stream"):
            found(both)
        assert found(both, stream="stderr") == 3
        with pytest.raises(MetricError, match='on standard error: say stream = "stderr"'):
            found(streams(b"", b"val loss 3\n"), stream="stdout")

    @pytest.mark.parametrize(
        ("last", "says"),
        [
            (b"nan", "not a finite number"),
            (b"-inf", "not a finite number"),
            (b"1e999", "not a finite number"),
            (b"12,345.6", "commas"),
            (b"2.5ms", 'has a unit, ms; name it: unit = "ms"'),
            (b"None", "is no number"),
            (b"0x10", "no number|has a unit"),
            (b"1.5-2.5", "is no number"),
        ],
    )
    def test_a_last_match_that_is_no_number_is_not_replaced_by_an_earlier_one(
        self, streams: Streams, last: bytes, says: str
    ) -> None:
        with pytest.raises(MetricError, match=f"the last match of the pattern: .*({says})"):
            found(streams(b"val loss 2.5\nval loss " + last + b"\n"))

    def test_units_and_thousands_are_read_where_the_task_names_them(self, streams: Streams) -> None:
        assert found(streams(b"took 15.5ms\n"), r"took (\S+)", unit="ms") == 15.5
        assert found(streams(b"took 12,345.5\n"), r"took (\S+)", thousands=True) == 12345.5
        with pytest.raises(MetricError, match=r"'1\.2s' is not in ms"):
            found(streams(b"took 15.5ms\ntook 1.2s\n"), r"took (\S+)", unit="ms")
        with pytest.raises(MetricError, match="is no number"):
            found(streams(b"took 1,23\n"), r"took (\S+)", thousands=True)

    def test_a_pattern_that_takes_for_ever_ends_the_search_and_not_the_engine(
        self, streams: Streams, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reported_module, "SEARCH_S", 0.5)
        with pytest.raises(MetricError, match=r"took more than 0.5 s; make it simpler"):
            found(streams(b"a" * 60 + b"!\n"), r"(?:a|aa)+$|x(\d)")

    def test_of_endless_output_the_end_is_looked_through_and_no_line_that_was_cut(
        self, streams: Streams, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command_output, "KEPT", 1000)
        kept = streams(b"best val loss 1\n" + b"x\n" * 5000)
        assert kept["stdout"].cut and 1000 <= sum(file.tell() for file in kept["stdout"].files) <= 2010
        with pytest.raises(MetricError, match="matches nothing"):
            found(kept)
        kept = streams(b"val loss 1\n" * 500)  # the first line that is kept is a piece of one
        assert kept["stdout"].cut and found(kept) == 1
        with pytest.raises(MetricError, match="matches nothing"):
            found(kept, r"^(?!val loss 1$).*?(\d)")

    def test_lines_from_the_end_are_the_lines_of_any_output_in_blocks_of_any_size(self, tmp_path: Path) -> None:
        rng = Random(1)
        pieces = [b"val loss ", b"1", b".5", b"\n", b"\r", b"\r\n", b"\x08\x08", b"\x1b[1m", b" ", "é".encode()]
        for n in range(300):
            content = b"".join(rng.choices(pieces, k=rng.randrange(40)))
            file = tmp_path / str(n)
            file.write_bytes(content)
            lines = [line for line in re.split(rb"\r\n|\r|\n|\x08+", content) if line]
            expected = [line.decode().replace("\x1b[1m", "") for line in reversed(lines)]
            with file.open("rb") as stream:
                found = [line for line in lines_backward([stream], block=rng.randrange(1, 9)) if line]
            assert found == [line for line in expected if line], content

    @pytest.mark.parametrize("block", [16, 64, 4096])
    def test_behind_a_line_that_is_too_long_no_earlier_number_is_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr("autoresearch.metrics.LONGEST", 100)
        for end, expected in ((b"", "a line of more than 100 bytes"), (b"val loss 5\n", "5")):
            (tmp_path / "out").write_bytes(b"val loss 3\n" + b"val loss 4 " * 50 + b"\n" + end)
            with (tmp_path / "out").open("rb") as stream:
                assert last_matches([compile_pattern(LOSS)], lines_backward([stream], block=block)) == [expected]


def at(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(root: Path, file: str, key: str | None = None, **more: object) -> float:
    return number_in(root, Source.model_validate({"file": file, "key": key, **more}))


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "content", "key", "value"),
        [
            ("a.json", '{"val": {"loss": 0.5}, "runs": [{"x": 1}, {"x": 2}]}', "val.loss", 0.5),
            ("a.json", '{"runs": [{"x": 1}, {"x": 2}]}', "runs[-1].x", 2),
            ("a.json", '{"runs": [[1, 2], [3, 4]]}', "runs[1][0]", 3),
            ("a.json", '{"a.b": {"c/d": 7}}', "a.b.c/d", 7),
            ("a.json", '{"loss": "1e-05", "other": NaN}', "loss", 1e-05),
            ("a.json", "3", None, 3),
            ("a.jsonl", '{"loss": 1}\n{"loss": 2, "x": 1}\n{"end": true}\n', "loss", 2),
            ("a.csv", "step,val loss\n1,0.9\n2,0.8\n3,\n", "val loss", 0.8),
            ("a.tsv", "step\tloss\r\n1\t-3.2\r\n", "loss", -3.2),
            ("score.txt", " 12.5\n", None, 12.5),
        ],
    )
    def test_a_number_is_found_by_its_key(
        self, tmp_path: Path, name: str, content: str, key: str | None, value: float
    ) -> None:
        at(tmp_path, name, content)
        assert read(tmp_path, name, key) == value

    @pytest.mark.parametrize(
        ("name", "content", "key", "says"),
        [
            ("a.json", '{"loss": 0.5', "loss", "not whole JSON"),
            ("a.json", '{"loss": NaN}', "loss", "not a finite number"),
            ("a.json", '{"loss": true}', "loss", "true, which is no number"),
            ("a.json", '{"loss": null}', "loss", "null, which is no number"),
            ("a.json", '{"loss": [1]}', "loss", "a list; say with key"),
            ("a.json", '{"loss": "12 ms"}', "loss", "has a unit, ms"),
            ("a.json", '{"a": {"b": 1}, "a.b": 2}', "a.b", "may be 2 places"),
            ("a.json", '{"val": 1}', "loss", "has no loss; it has val"),
            ("a.json", '{"a": 1}', None, "an object; say with key"),
            ("a.json", "[" * 100_000, "a", "not whole JSON"),
            ("a.json", '{"loss": 1' + "0" * 400 + "}", "loss", "not a finite number"),
            ("a.json", b"\xff\xfe", "a", "is no text"),
            ("a.jsonl", '{"loss": 1}\n{"lo', "loss", "not whole JSON"),
            ("a.jsonl", "", "loss", "is empty"),
            ("a.csv", "step,loss\n1,0.9\n2,0.8\n3", "loss", "row 4 of a.csv has 1 fields, its head 2"),
            ("a.csv", "loss,loss\n1,2\n", "loss", "2 columns loss"),
            ("a.csv", "step,loss\n1,0.9\n2,nan\n", "loss", "not a finite number"),
            ("a.csv", "step,loss\n", "loss", "no row with loss"),
            ("a.csv", "step,loss\n1,2\n", None, "say with key which one"),
            ("a.txt", "1 2\n", None, "is no number"),
            ("a.txt", "loss 1\n", "loss", "no file with keys"),
        ],
    )
    def test_what_is_not_whole_or_no_number_is_told_in_one_sentence(
        self, tmp_path: Path, name: str, content: str | bytes, key: str | None, says: str
    ) -> None:
        at(tmp_path, name, content)
        with pytest.raises(MetricError, match=re.escape(says)) as error:
            read(tmp_path, name, key)
        assert "\n" not in str(error.value)

    def test_a_file_that_is_not_there_or_is_many_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MetricError, match=r"the command wrote no out/a\.json"):
            read(tmp_path, "out/a.json", "x")
        at(tmp_path, "out-1/a.json", '{"x": 1}')
        assert read(tmp_path, "out-*/a.json", "x") == 1
        at(tmp_path, "out-2/a.json", '{"x": 2}')
        with pytest.raises(MetricError, match=r"2 files are out-\*/a.json: out-1/a.json, out-2/a.json"):
            read(tmp_path, "out-*/a.json", "x")

    def test_in_a_name_only_a_star_stands_for_others(self, tmp_path: Path) -> None:
        at(tmp_path, "out/a[fold0]?.json", '{"x": 1}')
        assert read(tmp_path, "out/a[fold0]?.json", "x") == read(tmp_path, "out/*[fold0]?.json", "x") == 1
        at(tmp_path, "out/deep/er/b.json", '{"x": 2}')
        assert read(tmp_path, "out/**/b.json", "x") == 2
        with pytest.raises(ValidationError, match=r"in a name one \* is enough"):
            read(tmp_path, "out/**.json", "x")

    def test_a_link_that_leads_out_of_the_run_is_not_followed_nor_waited_for(self, tmp_path: Path) -> None:
        outside, root = at(tmp_path, "theirs/a.json", '{"x": 1}'), tmp_path / "run"
        root.mkdir()
        (root / "a.json").symlink_to(outside)
        (root / "folder").symlink_to(outside.parent)
        os.mkfifo(root / "pipe.json")
        for name, says in (("a.json", "wrote no"), ("folder/a.json", "wrote no"), ("pipe.json", "is no file")):
            with pytest.raises(MetricError, match=says):
                read(root, name, "x")
        for name in ("a.json", "folder/a.json", "folder", "*"):
            take_away(root, Source(file=name))
        assert outside.read_text() == '{"x": 1}'

    @pytest.mark.parametrize(("name", "package"), [("events.out.tfevents.1", "tensorboard"), ("r.wandb", "wandb")])
    def test_a_reader_that_is_not_installed_is_named(
        self, tmp_path: Path, name: str, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at(tmp_path, name, b"\0" * 40)
        for module in {
            package,
            *(m for m in sys.modules if m.startswith(f"{package}.")),
        }:  # as where it is not installed
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MetricError, match=f"{package} is needed beside autoresearch: pip install {package}"):
            read(tmp_path, name, "val/loss")


PROSE = {"pattern": r"(?:loss |total_ms=)(\S+)", "secondary": ["seconds"]}
PLAIN = {"mutable": ["src"], "immutable": ["autoresearch.toml"]}


def test_a_pattern_and_a_file_decide_in_and_out_of_the_sandbox(make_lab: Maker, sandboxed: bool) -> None:
    sources = {"size": {"file": "out/size.json", "key": "bytes"}}
    run = {"command": "bash src/run.sh"}
    lab = make_lab(metric={**PROSE, "sources": sources}, run=run, files=PLAIN, keep={"policy": "greedy"})
    script = """echo loss 3; echo "METRIC seconds=4"; echo "METRIC total_ms=0"
printf 'loss 1\\rloss 2.5\\n'; mkdir out; echo '{"bytes": 7}' > out/size.json
"""
    done = lab.attempt(script)
    last = lab.events("run")[-1]
    assert last["metric"] == 2.5 and last["metrics"] == {"seconds": 4, "size": 7}, done


def test_a_file_of_an_earlier_run_gives_no_number(repo: Repo) -> None:
    repo.write("src/run.sh", "echo '{\"loss\": 5}' > src/out.json\n")
    metric = {"name": "loss", "file": "src/out.json", "key": "loss"}
    run = {"command": "bash src/run.sh"}
    repo.write("autoresearch.toml", task_file(metric=metric, run=run, files=PLAIN, keep={"policy": "greedy"}))
    repo.commit()
    lab = Lab(repo.root)
    for words in (("init", ".", "--task", "command", "--tag", TAG), ("baseline",)):
        done = lab.call(*words)
        assert done.code == 0, done
    reasons = []
    for script in ("cat src/out.json\n", "echo done\n"):  # the edit brings a number, and its run writes none
        lab.write("src/out.json", '{"loss": 1}')
        lab.attempt(script)
        last = lab.events("run")[-1]
        assert last["metric"] is None
        reasons.append(f"{last['outcome']}: {last['reason']}")
    assert reasons[0].startswith("crash: exited with 1"), reasons
    assert reasons[1] == "no_metric: the command wrote no src/out.json"


def test_a_command_gets_its_seed_where_it_asks_and_no_other_brace_changes(make_lab: Maker) -> None:
    lab = make_lab(run={"command": "echo {seeds} {SEED} {a,b}; echo METRIC total_ms={seed}5"})
    baseline = lab.session.baseline
    assert baseline is not None and baseline.by_seed == {1: 15, 2: 25, 3: 35}
    assert (lab.workspace.run_dir(1, 2) / "run.log").read_text() == "{seeds} {SEED} a b\nMETRIC total_ms=25\n"
    assert not any("seed" in warning for warning in baseline.warnings)


def test_where_the_evaluator_prints_the_number_the_seconds_are_those_of_the_command(tmp_path: Path) -> None:
    trained, judged = Exit(0, 2.0), Exit(0, 600.0, metric_lines=("METRIC total_ms=5",))
    found = from_evaluator(parse(task_file()), tmp_path / "result.json", judged, trained)
    assert (found.value, found.seconds) == (5.0, 2.0)
