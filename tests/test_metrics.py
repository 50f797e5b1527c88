from __future__ import annotations

import io
import subprocess
import sys
from random import Random

import pytest

from autoresearch import metrics
from autoresearch.metrics import (
    MAX_LINE,
    Metric,
    MetricError,
    compile_pattern,
    parse_metric_line,
    parse_metrics,
    parse_number,
    read_metrics,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("METRIC val_bpb=0.9931", ("val_bpb", 0.9931)),
        ("METRIC a=-1", ("a", -1.0)),
        ("METRIC a=+.5", ("a", 0.5)),
        ("METRIC a=5.", ("a", 5.0)),
        ("METRIC a=1e-3", ("a", 0.001)),
        ("METRIC a.b-c_d9=2E+3", ("a.b-c_d9", 2000.0)),
        ("METRIC a=1 \t", ("a", 1.0)),
        ("METRIC a=1\r\n", ("a", 1.0)),
        ("METRIC a=1e-999", ("a", 0.0)),
        ("METRIC total_µs=15200", ("total_µs", 15200.0)),
        ("METRIC 1a=1", ("1a", 1.0)),
        ("METRIC é=1", ("é", 1.0)),
        ("METRIC e\u0301=1", ("e\u0301", 1.0)),
        ("METRIC त्वरण=1", ("त्वरण", 1.0)),
        ("METRIC 速度/秒=1", ("速度/秒", 1.0)),
        ("METRIC top-1@val:acc%=1", ("top-1@val:acc%", 1.0)),
    ],
)
def test_a_metric_line_gives_name_and_value(line: str, expected: tuple[str, float]) -> None:
    assert parse_metric_line(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "METRIC a=nan",
        "METRIC a=inf",
        "METRIC a=-Infinity",
        "METRIC a=1e999",
        "METRIC a=1 better",
        "METRIC a=1,5",
        "METRIC a=1_000",
        "METRIC a=0x10",
        "METRIC a=",
        "METRIC a=.",
        "METRIC a=1e",
        "METRIC a =1",
        "METRIC a= 1",
        "METRIC  a=1",
        "METRIC a(b)=1",
        "METRIC a\u00a0b=1",
        "METRIC a,b=1",
        "METRIC -=1",
        "METRIC a=١٢",
        "METRIC a=1\x0c",
        "METRIC a=1\nb",
        "METRIC a=" + "1" * MAX_LINE,
        "METRIC ",
        "metric a=1",
    ],
)
def test_anything_else_is_refused_and_quoted(line: str) -> None:
    with pytest.raises(MetricError) as error:
        parse_metric_line(line)
    assert len(str(error.value)) < 300
    assert repr(line[:20])[:-1] in str(error.value)


def test_a_repeated_name_keeps_its_last_value() -> None:
    assert parse_metrics("METRIC a=1\nnoise\nMETRIC b=2\nMETRIC a=3\n") == {"a": 3.0, "b": 2.0}


def test_lines_that_only_resemble_a_metric_are_not_one() -> None:
    assert parse_metrics("METRICS a=1\n METRIC a=1\nMETRIC\tb=1\nthe METRIC a=1\nmetric a=1") == {}


def test_one_malformed_line_is_not_passed_over() -> None:
    with pytest.raises(MetricError, match="a=x"):
        parse_metrics("METRIC a=1\nMETRIC a=x\n")


def test_a_slip_in_another_value_is_passed_over_and_told() -> None:
    lines = ["METRIC ms=5", "METRIC loss=nan", "METRIC a b=1", "METRIC msec=x", "METRIC ", "METRIC n=2"]
    metrics, told = read_metrics(lines, ["ms"])
    assert metrics == {"ms": 5, "n": 2} and len(told) == 4 and "loss=nan" in told[0]
    assert read_metrics(["METRIC ms=1", "METRIC m=nan"], ["ms"])[0] == {"ms": 1}
    for slip in ("METRIC ms=nan", "METRIC ms=1,5", "METRIC ms =3", "METRIC  ms=3", "METRIC ms"):
        with pytest.raises(MetricError):
            read_metrics(["METRIC ms=5", slip], ["ms"])


def test_a_character_that_only_unicode_calls_a_line_end_starts_no_metric() -> None:
    assert parse_metrics("text\u2028METRIC a=1\nmore\x0cMETRIC a=2\x85METRIC a=3\n") == {}


def test_a_progress_line_redrawn_before_the_metric_does_not_hide_it() -> None:
    assert parse_metrics("10%\r100%\rMETRIC a=1\r\nMETRIC b=2") == {"a": 1.0, "b": 2.0}


def test_text_lines_and_the_shell_filter_agree_on_random_output(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(1)
    pieces = ["METRIC ", "a=", "b=1", "1", ".5", "e3", "\n", "\r", "\r\n", " ", "\t", "\x0b", "\u2028", "é", "=", "nan"]
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 12)))
        try:
            expected: dict[str, float] | None = parse_metrics(text)
        except MetricError:
            expected = None
        try:
            by_line: dict[str, float] | None = parse_metrics(io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
        except MetricError:
            by_line = None
        assert by_line == expected, text


def test_the_module_runs_as_a_file_without_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", metrics.__file__, "a"], input=b"METRIC a=0.1\n", capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, b"0.1\n")
    assert subprocess.run([sys.executable, "-I", metrics.__file__, "-x"], capture_output=True).returncode == 2


@pytest.mark.parametrize(
    ("text", "unit", "thousands", "value"),
    [
        (" 1e-05\n", "", False, 1e-05),
        ("-3.2", "", False, -3.2),
        ("12 ms", "ms", False, 12.0),
        ("97.5%", "%", False, 97.5),
        ("3", "ms", False, 3.0),
        ("12,345.6", "", True, 12345.6),
        ("1,234 kB", "kB", True, 1234.0),
    ],
)
def test_a_number_is_read_with_the_unit_that_is_named(text: str, unit: str, thousands: bool, value: float) -> None:
    assert parse_number(text, unit, thousands) == value


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        ("", "", "is no number"),
        ("ms", "ms", "is no number"),
        ("nan", "", "is not a finite number"),
        ("-Infinity", "", "is not a finite number"),
        ("1e999", "", "is not a finite number"),
        ("12,345.6", "", "say thousands = true"),
        ("1,5", "", "is no number"),
        ("1_000", "", "has a unit, _000|is no number"),
        ("12 ms", "", 'name it: unit = "ms"'),
        ("12 s", "ms", "'12 s' is not in ms"),
        ("15ms", "s", "'15ms' is not in s"),
        ("3/7", "", "is no number"),
        ("0.5 0.6", "", "is no number"),
        ("١٢", "", "is no number"),
    ],
)
def test_what_is_no_number_is_told_as_what_it_is(text: str, unit: str, says: str) -> None:
    with pytest.raises(MetricError, match=says):
        parse_number(text, unit)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"loss \S+", "has no group"),
        (r"(loss) (\S+)", "has 2 groups"),
        (r"(?P<a>x)(?P<b>y)", "has 2 groups"),
        ("loss (", "is no regular expression"),
        ("(a{99999999999999})", "is no regular expression"),
    ],
)
def test_a_pattern_has_exactly_one_group(pattern: str, says: str) -> None:
    with pytest.raises(MetricError, match=says):
        compile_pattern(pattern)
    assert compile_pattern(r"(?:train|val) loss (?P<value>\S+)").groups == 1


@pytest.mark.parametrize(("direction", "better", "worse"), [("lower", 0.9, 1.0), ("higher", 1.0, 0.9)])
def test_direction_lives_in_the_metric(direction: metrics.Direction, better: float, worse: float) -> None:
    metric = Metric("m", direction)
    assert metric.better(better, worse)
    assert not metric.better(worse, better)
    assert not metric.better(better, better)
    assert metric.gain(better, worse) == pytest.approx(0.1)
    assert metric.gain(worse, better) == pytest.approx(-0.1)
