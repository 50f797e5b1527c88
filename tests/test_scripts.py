"""The shell helpers, as another program would call them: a bare environment, real files, real git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from autoresearch.journal import events, import_events
from autoresearch.journal import file as journal
from autoresearch.journal.session import replay
from autoresearch.metrics import Metric

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
BARE_PATH = "/usr/local/bin:/usr/bin:/bin"


def _bare_python() -> str:
    """Return a PATH without this project's environment: the system's python3, or this interpreter's own folder."""
    found = subprocess.run(["python3", "-c", "import tomllib"], env={"PATH": BARE_PATH}, capture_output=True)
    return BARE_PATH if found.returncode == 0 else f"{Path(sys.base_prefix) / 'bin'}:{BARE_PATH}"


PATH = _bare_python()


def call(
    script: str | Path, *words: str | bytes, cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    program = SCRIPTS / script if isinstance(script, str) else script
    return subprocess.run(
        [program, *words], cwd=cwd, input=stdin, env={"PATH": PATH, **(env or {})}, capture_output=True
    )


def refused(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """Return the one line on stderr of a call that failed with `code` and printed nothing."""
    assert (done.returncode, done.stdout) == (code, b""), done
    message = done.stderr.decode()
    assert message.count("\n") == 1 and message.endswith("\n"), message
    return message


@pytest.mark.parametrize("script", ["parse-metrics.sh", "log-experiment.sh", "check-immutable.sh"])
def test_a_helper_explains_itself_anywhere(script: str, tmp_path: Path) -> None:
    done = call(script, "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.startswith(b"usage: " + script.encode()) and b"example:" in done.stdout
    assert os.access(SCRIPTS / script, os.X_OK)
    assert subprocess.run(["bash", "-n", SCRIPTS / script]).returncode == 0


class TestParseMetrics:
    def test_all_metrics_come_out_with_the_last_value_of_each(self, tmp_path: Path) -> None:
        done = call("parse-metrics.sh", cwd=tmp_path, stdin=b"x\nMETRIC a=1\nMETRIC b=2e-3\r\nMETRIC a=3\n")
        assert (done.returncode, done.stdout) == (0, b"a=3.0\nb=0.002\n")

    def test_one_metric_comes_out_alone(self, tmp_path: Path) -> None:
        done = call("parse-metrics.sh", "a", cwd=tmp_path, stdin=b"METRIC a=1.5\nMETRIC b=2")
        assert (done.returncode, done.stdout) == (0, b"1.5\n")

    def test_a_metric_after_a_redrawn_progress_line_is_found(self, tmp_path: Path) -> None:
        assert call("parse-metrics.sh", "a", cwd=tmp_path, stdin=b"50%\r100%\rMETRIC a=1\n").stdout == b"1.0\n"

    @pytest.mark.parametrize("output", [b"", b"a=1\n", b"MTRIC a=1\n", b" METRIC a=1\n"])
    def test_no_metric_is_an_error(self, output: bytes, tmp_path: Path) -> None:
        assert "no METRIC line" in refused(call("parse-metrics.sh", cwd=tmp_path, stdin=output), 1)

    def test_a_metric_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert "METRIC b=" in refused(call("parse-metrics.sh", "b", cwd=tmp_path, stdin=b"METRIC a=1\n"), 1)

    @pytest.mark.parametrize("line", [b"METRIC a=nan", b"METRIC a=1e999", b"METRIC a=1 ok", b"METRIC a=", b"METRIC =1"])
    def test_a_malformed_line_is_quoted(self, line: bytes, tmp_path: Path) -> None:
        assert line.decode() in refused(call("parse-metrics.sh", cwd=tmp_path, stdin=b"METRIC b=1\n" + line), 1)

    def test_a_pattern_finds_the_last_number_as_the_engine_does(self, tmp_path: Path) -> None:
        output = b"val loss 3\n\x1b[1mval loss\x1b[0m 2.5ms\rval loss 2ms\n"
        words = ("--pattern", r"val loss (\S+)")
        done = call("parse-metrics.sh", *words, "--unit", "ms", cwd=tmp_path, stdin=output)
        assert (done.returncode, done.stdout) == (0, b"2.0\n")
        assert "has a unit, ms" in refused(call("parse-metrics.sh", *words, cwd=tmp_path, stdin=output), 1)
        assert "matches nothing" in refused(call("parse-metrics.sh", *words, cwd=tmp_path, stdin=b"x\n"), 1)
        assert "no group" in refused(call("parse-metrics.sh", "--pattern", "x", cwd=tmp_path, stdin=b"x\n"), 1)

    def test_output_that_is_not_utf8_does_not_matter(self, tmp_path: Path) -> None:
        assert call("parse-metrics.sh", cwd=tmp_path, stdin=b"\xff\xfe\x00\nMETRIC a=1\n").stdout == b"a=1.0\n"

    def test_it_runs_through_links_and_from_a_copy_with_spaces_in_its_path(self, tmp_path: Path) -> None:
        copy = tmp_path / "a copy"
        (copy / "scripts").mkdir(parents=True)
        (copy / "src").symlink_to(SCRIPTS.parent / "src")
        script = copy / "scripts" / "parse-metrics.sh"
        script.write_bytes((SCRIPTS / "parse-metrics.sh").read_bytes())
        script.chmod(0o755)
        (tmp_path / "first link").symlink_to("a copy/scripts/parse-metrics.sh")
        (tmp_path / "second").symlink_to(tmp_path / "first link")
        (tmp_path / "elsewhere").mkdir()
        for way in (script, tmp_path / "first link", tmp_path / "second"):
            assert call(way, "a", cwd=tmp_path / "elsewhere", stdin=b"METRIC a=1\n").stdout == b"1.0\n"

    def test_modules_in_the_run_s_folder_are_not_imported(self, tmp_path: Path) -> None:
        (tmp_path / "re.py").write_text("raise SystemExit(7)")
        done = call("parse-metrics.sh", cwd=tmp_path, stdin=b"METRIC a=1\n", env={"PYTHONPATH": str(tmp_path)})
        assert done.stdout == b"a=1.0\n"


RUN = ("--run", "1", "--commit", "abc1234", "--status", "keep", "--description", "wider")


class TestLogExperiment:
    def log(self, folder: Path, *words: str | bytes, **kwargs: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        return call("log-experiment.sh", *words, cwd=folder, **kwargs)  # type: ignore[arg-type]

    def test_a_config_and_a_run_replay_into_a_session(self, tmp_path: Path) -> None:
        config = ("--config", "--name", "n", "--metric-name", "val_bpb", "--metric-unit", "bpb", "--direction", "lower")
        assert self.log(tmp_path, *config).returncode == 0
        more = (
            "--metric",
            "0.9931",
            "--metrics",
            '{"peak_vram_mb": 45060}',
            "--confidence",
            "3.1",
            "--asi",
            '{"a": [1]}',
        )
        assert self.log(tmp_path, *RUN, *more).returncode == 0
        lines = [json.loads(line) for line in (tmp_path / journal.NAME).read_text().splitlines()]
        assert list(lines[0]) == [
            *("type", "schema", "segment", "name", "metricName", "metricUnit", "bestDirection", "timestamp")
        ]
        assert list(lines[1]) == [
            *(
                "run",
                "commit",
                "metric",
                "metrics",
                "status",
                "description",
                "timestamp",
                "segment",
                "confidence",
                "asi",
            )
        ]
        assert all(type(line["timestamp"]) is int for line in lines)
        session = replay(journal.read(tmp_path / journal.NAME))
        assert session.metric.name == "val_bpb" and session.metric.unit == "bpb"
        assert session.best is not None and session.best.metric == 0.9931
        assert session.best.metrics == {"peak_vram_mb": 45060} and session.best.asi == {"a": [1]}

    def test_segments_count_the_config_lines_and_runs_go_to_the_last(self, tmp_path: Path) -> None:
        config = ("--config", "--metric-name", "m", "--direction", "higher")
        for _ in range(2):
            assert self.log(tmp_path, *config).returncode == 0
            assert self.log(tmp_path, *RUN, "--metric", "1").returncode == 0
        assert self.log(tmp_path, *RUN[2:], "--run", "2", "--metric", "1", "--segment", "0").returncode == 0
        events = [event for _, event in journal.read(tmp_path / journal.NAME)]
        assert [event["segment"] for event in events] == [0, 0, 1, 1, 0]

    @pytest.mark.parametrize("words", [(), ("--metric", ""), ("--metric", "null"), ("--metric=0.0",)])
    def test_a_crash_has_no_metric(self, words: Sequence[str], tmp_path: Path) -> None:
        done = self.log(tmp_path, "--run", "1", "--commit", "abc", "--status", "crash", "--description", "", *words)
        assert done.returncode == 0, done
        assert json.loads((tmp_path / journal.NAME).read_text())["metric"] is None

    def test_text_of_any_kind_round_trips(self, tmp_path: Path) -> None:
        text = "-m \"q\" 'a' \\n \n\t\x01\x7f é 日本 عربى 🙂‍ $HOME `id` "
        done = self.log(tmp_path, *RUN[:-1], text, "--metric", "-1", "--asi", json.dumps({text: text}))
        assert done.returncode == 0, done
        raw = (tmp_path / journal.NAME).read_bytes()
        event = json.loads(raw.decode("utf-8"))
        assert raw.count(b"\n") == 1
        assert (event["description"], event["asi"], event["metric"]) == (text, {text: text}, -1.0)

    @pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1", "C.UTF-8"])
    def test_text_does_not_depend_on_the_locale(self, locale: str, tmp_path: Path) -> None:
        assert self.log(tmp_path, *RUN[:-1], "é 日本", "--metric", "1", env={"LC_ALL": locale}).returncode == 0
        assert json.loads((tmp_path / journal.NAME).read_bytes())["description"] == "é 日本"

    def test_bytes_that_are_not_utf8_are_spelled_out(self, tmp_path: Path) -> None:
        assert self.log(tmp_path, *RUN[:-1], b"a\xff\xfeb", "--metric", "1").returncode == 0
        line = (tmp_path / journal.NAME).read_bytes().decode("utf-8")
        assert json.loads(line)["description"] == r"a\xff\xfeb"

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            ((*RUN, "--metric", "NaN"), "'NaN'"),
            ((*RUN, "--metric", "inf"), "'inf'"),
            ((*RUN, "--metric", "1e999"), "1e999"),
            ((*RUN, "--metric", "0,99"), "0,99"),
            ((*RUN, "--metric", "1_0"), "1_0"),
            ((*RUN, "--metric", "٣"), "--metric"),
            (RUN, "--metric"),
            ((*RUN, "--metric", ""), "--metric"),
            ((*RUN, "--metric", "1", "--wat", "2"), "'--wat'"),
            ((*RUN, "--metric", "1", "loose"), "'loose'"),
            ((*RUN, "--metric"), "--metric"),
            ((*RUN, "--metric", "1", "--metric", "2"), "twice"),
            ((*RUN[2:], "--metric", "1"), "--run"),
            ((*RUN[2:], "--run", "0", "--metric", "1"), "--run"),
            ((*RUN[2:], "--run", "1.5", "--metric", "1"), "--run"),
            ((*RUN[:2], *RUN[4:], "--metric", "1"), "--commit"),
            ((*RUN[:4], *RUN[6:], "--metric", "1"), "--status"),
            ((*RUN[:6], "--metric", "1"), "--description"),
            ((*RUN[:4], "--status", "kept", *RUN[6:], "--metric", "1"), "keep, discard, crash, checks_failed"),
            ((*RUN, "--metric", "1", "--metrics", "{"), "--metrics is not JSON"),
            ((*RUN, "--metric", "1", "--metrics", '{"a": NaN}'), "--metrics is not JSON"),
            ((*RUN, "--metric", "1", "--metrics", '{"a": 1e999}'), "--metrics is not JSON"),
            ((*RUN, "--metric", "1", "--metrics", '{"a": "1"}'), "not a number"),
            ((*RUN, "--metric", "1", "--metrics", "[1]"), "not a JSON object"),
            ((*RUN, "--metric", "1", "--asi", "x=y"), "--asi is not JSON"),
            ((*RUN, "--metric", "1", "--asi", '{"a":' + "[" * 20000), "--asi is not JSON"),
            ((*RUN, "--metric", "1", "--asi", '"x\ny"'), "--asi is not JSON"),
            ((*RUN, "--metric", "1", "--confidence", "high"), "--confidence"),
            ((*RUN, "--metric", "1", "--segment", "-1"), "--segment"),
            (("--config", "--direction", "lower"), "--metric-name"),
            (("--config", "--metric-name", "m"), "--direction"),
            (("--config", "--metric-name", "m", "--direction", "down"), "'down'"),
            (("--config", "--metric-name", "m", "--direction", "lower", "--run", "1"), "--run"),
            ((), "--run"),
        ],
    )
    def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
        self, words: Sequence[str], says: str, tmp_path: Path
    ) -> None:
        assert says in refused(self.log(tmp_path, *words), 2)
        assert not (tmp_path / journal.NAME).exists()

    def test_a_second_verdict_on_one_run_is_refused(self, tmp_path: Path) -> None:
        assert self.log(tmp_path, *RUN, "--metric", "1").returncode == 0
        before = (tmp_path / journal.NAME).read_bytes()
        assert "run 1" in refused(self.log(tmp_path, *RUN, "--metric", "2"), 1)
        assert (tmp_path / journal.NAME).read_bytes() == before

    @pytest.mark.parametrize("file", [".", "no/such/folder.jsonl", "/proc/nothing/j.jsonl"])
    def test_a_file_that_cannot_be_written_is_named(self, file: str, tmp_path: Path) -> None:
        message = refused(self.log(tmp_path, *RUN, "--metric", "1", "--file", file), 1)
        assert file in message and "--file" in message

    def test_a_damaged_journal_is_named_by_its_line_and_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / journal.NAME
        file.write_bytes(b'{"type":"x"}\n{"torn":\n{"type":"y"}\n')
        assert "line 2" in refused(self.log(tmp_path, *RUN, "--metric", "1"), 1)
        assert file.read_bytes() == b'{"type":"x"}\n{"torn":\n{"type":"y"}\n'

    def test_a_torn_tail_is_dropped(self, tmp_path: Path) -> None:
        file = tmp_path / journal.NAME
        assert self.log(tmp_path, *RUN, "--metric", "1").returncode == 0
        with file.open("ab") as stream:
            stream.write(b'{"run":2,"commit":"abc')
        assert self.log(tmp_path, *RUN[2:], "--run", "2", "--metric", "0.5").returncode == 0
        session = replay(journal.read(file))
        assert [e.metric for e in session.experiments] == [1.0, 0.5]

    def test_twenty_writers_at_once_leave_twenty_whole_lines(self, tmp_path: Path) -> None:
        file = tmp_path / journal.NAME
        file.write_bytes(b'{"type":"config","metricName":"m","bestDirection":"lower"}\n{"run":99,"torn":"')
        command = [SCRIPTS / "log-experiment.sh", "--commit", "abc", "--status", "discard", "--metric", "1"]
        texts = {n: f"{n} " + "é🙂" * (n * 700) for n in range(1, 21)}
        writers = [
            subprocess.Popen([*command, "--run", str(n), "--description", text], cwd=tmp_path, env={"PATH": PATH})
            for n, text in texts.items()
        ]
        assert [writer.wait(PATIENCE_S) for writer in writers] == [0] * 20
        assert file.read_bytes().count(b"\n") == 21
        session = replay(journal.read(file))
        assert {e.number: e.description for e in session.experiments} == texts
        assert session.counts["discard"] == 20

    def test_segments_begun_at_once_have_numbers_of_their_own(self, tmp_path: Path) -> None:
        command = [SCRIPTS / "log-experiment.sh", "--config", "--metric-name", "x", "--direction", "lower"]
        started = [subprocess.Popen(command, cwd=tmp_path, env={"PATH": PATH}) for _ in range(6)]
        assert [process.wait() for process in started] == [0] * 6
        lines = (tmp_path / "autoresearch.jsonl").read_text().splitlines()
        assert [json.loads(line)["segment"] for line in lines] == [*range(6)]

    def test_a_segment_after_an_import_has_a_number_of_its_own(self, tmp_path: Path) -> None:
        file = tmp_path / journal.NAME
        lines = [
            import_events.import_line(1, "theirs", Metric("val_bpb", "lower"), 1, "abc", "results.tsv"),
            import_events.imported_line(events.run_line(4, "aaaaaaa", 0.5, {}, "keep", "imported", 1, {}, None)),
        ]
        begin = ("--config", "--metric-name", "val_bpb", "--direction", "lower")
        assert self.log(tmp_path, *begin).returncode == 0
        with file.open("a") as end:
            end.write("".join(json.dumps(line) + "\n" for line in lines))
        assert self.log(tmp_path, *begin).returncode == 0
        assert json.loads(file.read_text().splitlines()[-1])["segment"] == 2
        assert replay(journal.read(file)).baseline is None

    def test_of_equal_runs_written_at_once_one_is_taken(self, tmp_path: Path) -> None:
        command = [
            SCRIPTS / "log-experiment.sh",
            "--run",
            "1",
            "--commit",
            "a",
            "--status",
            "crash",
            "--description",
            "x",
        ]
        started = [
            subprocess.Popen(command, cwd=tmp_path, env={"PATH": PATH}, stderr=subprocess.DEVNULL) for _ in range(5)
        ]
        assert sorted(process.wait() for process in started) == [0, 1, 1, 1, 1]
        assert len((tmp_path / "autoresearch.jsonl").read_text().splitlines()) == 1


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


IMMUTABLE = ["prepare.py", "a folder", "日本 é.txt", "run.sh", "link", "autoresearch.toml"]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository whose workspace is its folder `w s`, with immutable files of every kind."""
    folder = tmp_path / "repo" / "w s"
    (folder / "a folder" / "deep").mkdir(parents=True)
    for name in ("prepare.py", "日本 é.txt", "run.sh", "train.py", "a folder/one", "a folder/deep/two"):
        (folder / name).write_text(f"{name}\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    (folder / "autoresearch.toml").write_text(f"[files]\nimmutable = {json.dumps(IMMUTABLE, ensure_ascii=False)}\n")
    (tmp_path / "repo" / "prepare.py").write_text("another, outside the workspace\n")
    git(tmp_path / "repo", "init", "-q", "-b", "main")
    git(folder, "add", "-A", "..")
    git(folder, "commit", "-qm", "start")
    return folder


class TestCheckImmutable:
    def check(self, folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
        return call("check-immutable.sh", *(words or ("HEAD",)), cwd=folder)

    def changed(self, folder: Path, *words: str) -> list[str]:
        """Return the files it names; it must have failed with 4."""
        done = self.check(folder, *words)
        assert done.returncode == 4, done
        return [line.rsplit(": ", 1)[0] for line in done.stdout.decode().splitlines()]

    def test_an_untouched_workspace_passes_from_any_folder(self, workspace: Path) -> None:
        (workspace / "train.py").write_text("the mutable file may change\n")
        (workspace.parent / "prepare.py").write_text("not this workspace's\n")
        for folder in (workspace, workspace / "a folder" / "deep"):
            done = self.check(folder)
            assert done.returncode == 0 and done.stderr == b"" and done.stdout.count(b"\n") == 1
            assert done.stdout.startswith(b"7 ")

    def test_every_changed_file_is_named(self, workspace: Path) -> None:
        (workspace / "prepare.py").write_text("x")
        (workspace / "日本 é.txt").write_text("x")
        (workspace / "a folder" / "deep" / "two").unlink()
        git(workspace, "commit", "-qam", "changes")
        expected = ["w s/a folder/deep/two", "w s/prepare.py", "w s/日本 é.txt"]
        assert self.changed(workspace, "HEAD~1") == expected
        assert self.check(workspace, "HEAD").returncode == 0

    def test_a_deleted_task_file_does_not_end_the_check(self, workspace: Path) -> None:
        (workspace / "autoresearch.toml").unlink()
        assert self.changed(workspace / "a folder") == ["w s/autoresearch.toml"]

    def test_a_shortened_list_does_not_shorten_the_check(self, workspace: Path) -> None:
        (workspace / "autoresearch.toml").write_text("[files]\nimmutable = []\n")
        (workspace / "prepare.py").write_text("x")
        git(workspace, "commit", "-qam", "changes")
        assert self.changed(workspace, "HEAD~1") == ["w s/autoresearch.toml", "w s/prepare.py"]

    def test_mode_and_kind_count(self, workspace: Path) -> None:
        (workspace / "run.sh").chmod(0o644)
        (workspace / "link").unlink()
        (workspace / "link").symlink_to("prepare.py")
        (workspace / "prepare.py").rename(workspace / "moved.py")
        (workspace / "prepare.py").symlink_to("moved.py")
        assert self.changed(workspace) == ["w s/link", "w s/prepare.py", "w s/run.sh"]

    def test_a_folder_replaced_by_a_link_to_its_copy_counts(self, workspace: Path) -> None:
        (workspace / "a folder").rename(workspace / "elsewhere")
        (workspace / "a folder").symlink_to("elsewhere")
        assert {"w s/a folder/one", "w s/a folder/deep/two"} <= set(self.changed(workspace))

    def test_what_is_only_staged_counts(self, workspace: Path) -> None:
        original = (workspace / "prepare.py").read_bytes()
        (workspace / "prepare.py").write_text("x")
        git(workspace, "add", "prepare.py")
        (workspace / "prepare.py").write_bytes(original)
        git(workspace, "rm", "-q", "--cached", "run.sh")
        assert self.changed(workspace) == ["w s/prepare.py", "w s/run.sh"]

    def test_a_new_file_in_an_immutable_folder_counts(self, workspace: Path) -> None:
        (workspace / "a folder" / "new").write_text("x")
        assert self.changed(workspace) == ["w s/a folder/new"]

    @pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
    def test_git_cannot_be_told_to_look_away(self, flag: str, workspace: Path) -> None:
        git(workspace, "update-index", flag, "prepare.py")
        (workspace / "prepare.py").write_text("x")
        assert self.changed(workspace) == ["w s/prepare.py"]

    def test_a_filter_cannot_hide_a_change(self, workspace: Path) -> None:
        git(workspace, "config", "filter.hide.clean", "printf 'prepare.py\\n'")
        (workspace / ".gitattributes").write_text("prepare.py filter=hide\n")
        (workspace / "prepare.py").write_text("x")
        assert git(workspace, "diff", "HEAD", "--", "prepare.py") == ""
        assert self.changed(workspace) == ["w s/prepare.py"]

    @pytest.mark.parametrize("rev", ["nothing", "HEAD~9", "--all", "HEAD:w s/prepare.py"])
    def test_a_revision_that_is_no_commit_is_refused(self, rev: str, workspace: Path) -> None:
        assert rev in refused(self.check(workspace, rev), 5)

    def test_no_repository_no_task_and_a_broken_task_are_refused(self, workspace: Path, tmp_path: Path) -> None:
        assert "git" in refused(self.check(tmp_path), 5)
        assert "autoresearch.toml" in refused(self.check(workspace.parent), 5)
        for toml in ("[files\n", "files = 3\n", "[files]\nimmutable = 'prepare.py'\n"):
            (workspace / "autoresearch.toml").write_text(toml)
            git(workspace, "commit", "-qam", "broken")
            assert "autoresearch.toml" in refused(self.check(workspace), 5)

    @pytest.mark.parametrize("words", [("",), ("a", "b")])
    def test_one_revision_is_wanted(self, words: Sequence[str], workspace: Path) -> None:
        assert "REV" in refused(self.check(workspace, *words), 2)
