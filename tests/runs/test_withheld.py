"""A variable that was kept from a run is named where its absence ended the run, and nowhere else."""

from __future__ import annotations

import pytest
from lab import Lab, Maker

from autoresearch.runs.withheld import missed, withheld

NAMES = ["OPENAI_API_KEY", "HF_TOKEN", "DB_PASSWORD"]
PYTHON = """epoch 1: loss 2.3
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
  File "train.py", line 2, in main
    {code}
{message}
"""

MISSED = {
    "a key of the environment": PYTHON.format(code='os.environ["HF_TOKEN"]', message="KeyError: 'HF_TOKEN'"),
    "what a client says": PYTHON.format(
        code="client = Client()", message="ClientError: give api_key, or set the OPENAI_API_KEY environment variable"
    ),
    "of several lines": PYTHON.format(code="check()", message="ValueError: no access\nSet HF_TOKEN first.\n"),
    "a shell": "bench.sh: line 3: HF_TOKEN: unbound variable\n",
    "a test of a shell": "fetching\nerror: $DB_PASSWORD is not set\n",
    "an expansion": "bench.sh: line 2: HF_TOKEN: parameter null or not set\n",
    "a wish": "Please set OPENAI_API_KEY and run this again.\n",
    "another language": "Error: OPENAI_API_KEY is required\n    at main (a.js:3)\n\n    at x\n\nNode.js v22\n",
    "after progress": "10 %\r50 %\rHF_TOKEN missing\n",
}  # fmt: skip

NOT_MISSED = {
    "nothing of the kind": PYTHON.format(code="f(x)", message="ValueError: shapes (3,) and (4,) do not fit"),
    "a warning before another failure": "warning: HF_TOKEN is not set, downloads are slower\n"
    + PYTHON.format(code="f(x)", message="ValueError: shapes do not fit"),
    "a warning as the last words": "WARN: HF_TOKEN is not set\nsegmentation fault\n",
    "a line of the code alone": PYTHON.format(code='f("HF_TOKEN")', message="ZeroDivisionError: 1 / 0"),
    "a longer name": "error: MY_HF_TOKEN_2 is not set\n",
    "long before the end": "HF_TOKEN is not set\n" + "step\n" * 20 + "out of range\n",
    "named, and not as missing": "using HF_TOKEN for access\nexit 3\n",
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("output", MISSED.values(), ids=MISSED)
def test_the_last_words_of_a_run_that_missed_a_variable_point_to_it(output: str) -> None:
    told = missed(output, NAMES)
    assert "secrets under [run]" in told
    assert [name for name in NAMES if name in told] == [name for name in NAMES if name in output]


@pytest.mark.parametrize("output", NOT_MISSED.values(), ids=NOT_MISSED)
def test_what_ended_for_another_reason_points_to_none(output: str) -> None:
    assert missed(output, NAMES) == ""


def test_only_what_was_withheld_is_named() -> None:
    env = {"HF_TOKEN": "x", "OPENAI_API_KEY": "y", "HOME": "/"}
    assert withheld(env, ["HF_TOKEN"]) == ["OPENAI_API_KEY"]
    assert missed(MISSED["a key of the environment"], withheld(env, ["HF_TOKEN"])) == ""


def test_whoever_does_what_the_verdict_says_gets_a_run_with_the_variable(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "90")
    script = "set -u\necho METRIC total_ms=$SOME_API_KEY\n"
    done = lab.attempt(script)
    assert "CRASH  exited with 1; its output names SOME_API_KEY, which no run gets: if it is needed" in done.out
    assert "then: autoresearch segment\n" in done.out
    toml = lab.root / "autoresearch.toml"
    toml.write_text(toml.read_text().replace("[run]", '[run]\nsecrets = ["SOME_API_KEY"]'))
    lab.git("commit", "-qam", "the key")
    assert lab.call("segment").code == 0 and lab.call("baseline", "--seeds", "1").code == 0
    assert "KEEP" in lab.attempt(script, "--same").out
    assert lab.session.best is not None and lab.session.best.metric == 90


def test_an_evaluator_and_the_checks_that_miss_one_point_to_it_too(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(run={"evaluate": "bash judge.sh", "checks": "[ ! -e src/checks.sh ] || bash src/checks.sh"})
    monkeypatch.setenv("SOME_API_KEY", "90")
    lab.write("src/judge.sh", "echo SOME_API_KEY is not set >&2; exit 1\n")
    assert "its output names SOME_API_KEY" in lab.attempt().out
    lab.write("src/checks.sh", "echo SOME_API_KEY is not set >&2; exit 1\n")
    done = lab.attempt()
    assert "CHECKS_FAILED" in done.out and "its output names SOME_API_KEY" in done.out
