"""`generate`: what it makes, what it keeps of each call, and what it does when a server fails it."""

from __future__ import annotations

import json
import resource
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from chat_server import (
    CACHED,
    COST,
    KEY,
    PRICE,
    READ,
    WROTE,
    Body,
    Counted,
    Desk,
    completion,
    last,
    refused,
    wanted,
    writer,
)
from drawn import dice
from json_server import Said
from lab import cli
from waiting import PATIENCE_S

from autoresearch.cli.app import program
from autoresearch.models.params import GenerateParams, JudgeParams
from autoresearch.system.files import held_by_us

ABOUT = ("generate", "out", "--about", "unit conversions", "--model", "m")
SMALL = (*ABOUT, "--subtype", "lengths", "--subtype", "weights", "--prompts", "3")
"""Two lists of prompts and six answers: eight calls."""


def examples(desk: Desk) -> list[dict[str, Any]]:
    return desk.rows("out/examples.jsonl")


# --- what is made ---


def test_subtypes_prompts_and_answers_become_chat_lines_and_some_prompts_are_held_out(desk: Desk) -> None:
    with desk.asking(writer) as server:
        done = desk.call(*ABOUT, "--subtype-count", "2", "--prompts", "3", "--held-out", "1", "--system", "Be brief.",
                         "--price", f"m={PRICE}", "--json")  # fmt: skip
    view = done.json
    assert (view["subtypes"], view["prompts"], view["held_out"], view["examples"]) == (["kind 0", "kind 1"], 6, 2, 4)
    assert view["complete"] and view["left_out"] == {} and view["calls"] == {"sent": 7, "answered_before": 0}
    assert view["cost"]["usd"] == pytest.approx(7 * COST, abs=1e-12)
    assert view["cost"]["tokens"] == {"input": 7 * READ, "cached": 7 * CACHED, "output": 7 * WROTE}
    for row in examples(desk):
        assert [line["role"] for line in row["messages"]] == ["system", "user", "assistant"]
        assert row["messages"][2]["content"].endswith(row["messages"][1]["content"]) and row["generator"] == "m"
    asked = {row["messages"][1]["content"] for row in examples(desk)}
    held_out = {row["messages"][1]["content"]: row for row in desk.rows("out/held_out.jsonl")}
    assert {row["messages"][0]["content"] for row in held_out.values()} == {"Be brief."}
    assert len(asked | {*held_out}) == 6 and {row["property"] for row in held_out.values()} == {"kind 0", "kind 1"}
    shapes = [body["response_format"]["json_schema"] for body in server.requests if "response_format" in body]
    assert len(shapes) == 3
    for shape in shapes:  # what a strict server wants of a schema
        assert shape["strict"] and shape["schema"]["additionalProperties"] is False
        assert shape["schema"]["required"] == [*shape["schema"]["properties"]]


@pytest.mark.slow
def test_a_prompt_of_several_turns_is_answered_turn_by_turn(desk: Desk) -> None:
    with desk.asking(writer):
        desk.call(*ABOUT, "--subtype", "lengths", "--prompts", "1", "--turns", "2")
    (row,) = examples(desk)
    assert [line["role"] for line in row["messages"]] == ["user", "assistant", "user", "assistant"]
    first, second = (line["request"]["messages"] for line in desk.lines("ask") if line["purpose"] == "example")
    assert second[:1] == first and second[1] == row["messages"][1]


@pytest.mark.slow
def test_the_same_again_asks_nothing_and_more_asks_for_the_rest(desk: Desk) -> None:
    with desk.asking(writer) as server:
        desk.call(*SMALL)
        before, files = len(server.requests), desk.files
        again = desk.call("generate", "out", "--json").json
        assert len(server.requests) == before == 8 and again["calls"] == {"sent": 0, "answered_before": 8}
        assert desk.files == files
        more = desk.call("generate", "out", "--examples", "2", "--json").json
        assert (more["examples"], more["calls"]["sent"]) == (12, 6)
        anew = desk.call("generate", "out", "--examples", "1", "--seed", "1", "--json").json
        assert anew["calls"] == {"sent": 8, "answered_before": 0}
    assert len({line["key"] for line in desk.lines("answer")}) == len(desk.lines("answer")) == 22
    assert [line["params"]["examples"] for line in desk.lines("begin")] == [1, 2, 1]


@pytest.mark.slow
def test_a_long_list_of_prompts_is_asked_for_in_parts_and_none_comes_twice(desk: Desk) -> None:
    def repeats(body: Body) -> Said:
        if wanted(body) == "prompts":
            return completion(json.dumps({"prompts": ["One?", " one? ", "two?", "", *(f"{n}?" for n in range(20))]}))
        return writer(body)

    with desk.asking(repeats) as server:
        view = desk.call(*ABOUT, "--subtype", "a", "--prompts", "45", "--json").json
    asked = [last(body) for body in server.requests if wanted(body)]
    assert ["list 2 of 3" in text or "list 3 of 3" in text for text in sorted(asked, key=len)] == [False, True, True]
    assert sum("Write 20 prompts" in text for text in asked) == 2 and sum("Write 5 prompts" in t for t in asked) == 1
    # 22 different ones; the first list gives no more than the 20 that it was asked for.
    assert view["prompts"] == 22 and view["left_out"]["a prompt was there already"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["json_object", "none"])
def test_a_server_without_schemas_is_told_in_words_and_its_prose_is_passed_over(desk: Desk, shape: str) -> None:
    def chatty(body: Body) -> Said:
        if "JSON schema" in last(body):
            return completion('Sure! Here it is:\n```json\n{"prompts": ["how far?"]}\n```\nAnything else?')
        return completion("42 km")

    with desk.asking(chatty) as server:
        view = desk.call(*ABOUT, "--subtype", "a", "--prompts", "1", "--format", shape, "--json").json
    assert view["examples"] == 1
    formats = [body.get("response_format") for body in server.requests if "JSON schema" in last(body)]
    assert formats == [{"type": "json_object"} if shape == "json_object" else None]


# --- what cannot be used ---


@pytest.mark.slow
def test_answers_that_cannot_be_used_are_left_out_and_said(desk: Desk) -> None:
    bad = iter([completion("half", "length"), completion("  "), completion(None, "content_filter")])

    def sometimes(body: Body) -> Said:
        return next(bad, None) or writer(body) if not wanted(body) else writer(body)

    with desk.asking(sometimes) as server:
        done = desk.call(*SMALL, "--concurrency", "1", "--json")
        view = done.json
        assert view["examples"] == len(examples(desk)) == 3
        assert view["left_out"] == {"an answer was cut off at 2048 tokens": 1, "an answer was empty": 2}
        # They were paid for, and would be no better the next time.
        assert desk.call("generate", "out", "--json").json["calls"]["sent"] == 0
        desk.call("generate", "out", "--max-tokens", "4096")
        assert server.requests[-1]["max_tokens"] == 4096 and len(examples(desk)) == 6


@pytest.mark.slow
def test_half_a_character_is_replaced_and_escapes_stay_data(desk: Desk) -> None:
    odd = "half \ud83d, whole \U0001f600, \x1b[31m, \x00"
    with desk.asking(lambda body: writer(body) if wanted(body) else completion(odd)):
        assert desk.call(*SMALL, "--turns", "1").code == 0
    assert {row["messages"][1]["content"] for row in examples(desk)} == {odd.replace("\ud83d", "\ufffd")}
    (desk.folder / "out/examples.jsonl").read_bytes().decode("utf-8")
    assert "\x1b" not in (desk.folder / "out/examples.jsonl").read_text()


@pytest.mark.slow
def test_subtypes_that_are_no_list_end_it_with_what_to_type(desk: Desk) -> None:
    with desk.asking(lambda body: completion('{"subtypes": "many"}') if wanted(body) == "subtypes" else writer(body)):
        done = desk.call(*ABOUT)
        assert done.code == 1 and "a list of subtypes is not of the schema" in done.err and "--subtype" in done.err
        assert desk.call("generate", "out", "--subtype", "lengths").code == 0


@pytest.mark.slow
def test_no_example_at_all_is_a_failure(desk: Desk) -> None:
    with desk.asking(lambda body: writer(body) if wanted(body) else completion("")):
        done = desk.call(*SMALL)
        assert done.code == 1 and "no example was made: an answer was empty" in done.err


# --- what it costs ---


@pytest.mark.slow
def test_a_cap_of_dollars_holds_also_for_what_is_under_way(desk: Desk) -> None:
    cap = 0.2  # a call may cost 0.034, so that five fit at a time, and does cost 0.00375
    with desk.asking(writer) as server:
        done = desk.call(*ABOUT, "--subtype", "a", "--prompts", "20", "--examples", "3", "--price", f"m={PRICE}",
                         "--max-usd", str(cap), "--concurrency", "16")  # fmt: skip
        assert done.code == 6 and "USD, and" in done.err and "autoresearch generate out --max-usd 0.4" in done.err
        spent = sum(line["usage"]["usd"] for line in desk.lines("answer"))
        assert len(server.requests) == len(desk.lines("answer")) and 0.15 < spent <= cap
        assert len(examples(desk)) == len(desk.lines("answer")) - 1  # those that there are were written
        more = desk.call("generate", "out", "--max-usd", "0.4", "--json").json
    assert more["examples"] == 60 and len(server.requests) == 61
    assert more["cost"]["usd"] == pytest.approx(61 * COST, abs=1e-9)


def test_without_a_price_nothing_is_spent_under_a_cap(desk: Desk) -> None:
    with desk.asking(writer) as server:
        done = desk.call(*SMALL, "--max-usd", "1")
        assert done.code == 2 and "nobody knows what m costs" in done.err and server.requests == []
        assert desk.call(*SMALL, "--max-usd", "1", "--price", "m=0,0").code == 0
        free = desk.call("generate", "out", "--json").json
        assert free["cost"]["usd"] == 0 and free["cost"]["unpriced"] == 0
    assert desk.call(*SMALL, "--price", "m=cheap").code == 2


@pytest.mark.slow
def test_tokens_of_a_model_without_a_price_are_counted_and_the_price_is_said_to_be_unknown(desk: Desk) -> None:
    with desk.asking(writer):
        done = desk.call(*SMALL)
    assert "cost     unknown" in done.out and f"{8 * READ:,} tokens read" in done.out and "8 calls" in done.out


@pytest.mark.slow
def test_an_answer_that_does_not_say_its_tokens_counts_with_the_most_that_it_may_have_cost(desk: Desk) -> None:
    def silent(body: Body) -> Said:
        said = writer(body)
        assert isinstance(said.body, dict)
        return Said({**said.body, "usage": None})

    with desk.asking(silent):
        done = desk.call(*SMALL, "--price", f"m={PRICE}")
    most = sum(line["usd"] for line in desk.lines("ask"))
    assert f"cost     {most:.4f} USD" in done.out and "8 calls count with the most that they can cost" in done.out
    assert desk.call("generate", "out", "--json").json["cost"]["assumed"] == 8


# --- servers that fail ---


@pytest.mark.slow
def test_no_more_requests_are_under_way_than_were_allowed(desk: Desk) -> None:
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def in_threes(body: Body) -> Said:
        if not wanted(body):
            together.wait()  # it answers only when three are there
        return writer(body)

    counted = Counted(in_threes)
    with desk.asking(counted):
        assert desk.call(*SMALL, "--concurrency", "3").code == 0
    assert counted.most == 3


@pytest.mark.slow
def test_a_server_that_fails_in_every_way_loses_nothing_and_is_asked_nothing_twice(desk: Desk) -> None:
    rng, lock = dice("a hostile server"), threading.Lock()
    whole: Counter[str] = Counter()
    cut_off: Counter[str] = Counter()

    def hostile(body: Body) -> Said:
        good, asked = writer(body), json.dumps(body, sort_keys=True)
        with lock:
            how = rng.choice(["whole"] * 4 + ["no JSON", "another language", "broken", "429", "500"])
            if how.isdigit():
                return refused(int(how), "not now", retry_after="0")
            (whole if how == "whole" else cut_off)[asked] += 1
        if how == "whole":
            return good
        return Said(good.body, how=how) if how == "broken" else Said(b'{"choices": [{"' if how == "no JSON" else b"[]")

    words = (*SMALL, "--prompts", "8", "--price", f"m={PRICE}")
    with desk.asking(writer):
        desk.call(*words)
    undisturbed = examples(desk)
    (desk.folder / "out").rename(desk.folder / "undisturbed")
    with desk.asking(hostile):
        for _ in range(40):
            done = desk.call(*words, "--json")
            answered = {line["key"] for line in desk.lines("answer")}
            assert len(answered) == len(desk.lines("answer")) == whole.total()
            if done.code == 0 and done.json["complete"]:
                break
    assert done.json["complete"] and examples(desk) == undisturbed
    assert {*whole.values()} == {1} and cut_off
    # What was cut off may have been paid for: it counts whole, and everything else as it was.
    reserved = {line["id"]: line["usd"] for line in desk.lines("ask")}
    unknown = [reserved[line["id"]] for line in desk.lines("failed") if line["usage"]["usd"] is None]
    assert len(unknown) == cut_off.total()
    assert done.json["cost"]["usd"] == pytest.approx(whole.total() * COST + sum(unknown), abs=1e-8)


@pytest.mark.slow
def test_requests_that_are_the_same_are_asked_once_also_at_the_same_time(desk: Desk) -> None:
    desk.write_rows("prompts.jsonl", [{"prompt": "how far?"}] * 6)
    counted = Counted(writer)
    with desk.asking(counted):
        done = desk.call("judge", "out", "--prompts", "prompts.jsonl", "--base", "b", "--tuned", "t", "--judge", "j")
    assert done.code == 0 and {*counted.asked.values()} == {1}
    # Both have said the same, so that there is nothing to judge.
    assert Counter(json.loads(asked)["model"] for asked in counted.asked) == {"b": 1, "t": 1}


@pytest.mark.slow
def test_a_server_that_refuses_everything_is_not_asked_for_all(desk: Desk) -> None:
    with desk.asking(lambda body: writer(body) if wanted(body) else refused(400, "no such field")) as server:
        done = desk.call(*SMALL, "--prompts", "20", "--concurrency", "1")
        assert done.code == 1 and "5 calls in a row came to nothing" in done.err and "no such field" in done.err
        assert len(server.requests) == 2 + 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (refused(401, f"Incorrect API key provided: {KEY}"), "OPENAI_API_KEY"),
        (refused(404, "there is no model m"), "name a model"),
        (refused(402, "no credit"), "credit"),
        (refused(429, "slow down", retry_after="5000"), "wait, or use another model"),
    ],
)
def test_what_every_call_would_meet_ends_it_at_once_and_says_how_to_go_on(desk: Desk, reply: Said, says: str) -> None:
    desk.monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with desk.asking(lambda body: writer(body) if wanted(body) else reply) as server:
        done = desk.call(*SMALL, "--concurrency", "1")
        assert done.code == 1 and says in done.err and len(server.requests) == 3, done
        assert done.err.rstrip().endswith("autoresearch generate out") and KEY not in done.err
    assert all(KEY not in text for text in desk.files.values())
    assert len(desk.lines("answer")) == 2 and desk.lines("failed")[0]["usage"]["usd"] == 0


@pytest.mark.slow
def test_a_server_that_is_not_there_is_said(desk: Desk) -> None:
    with desk.asking([]):
        pass
    done = desk.call(*SMALL)
    assert done.code == 1 and "cannot be reached" in done.err and len(desk.rested) >= 3


# --- the file of calls ---


@pytest.mark.slow
def test_a_torn_line_is_passed_over_and_a_damaged_one_is_named(desk: Desk) -> None:
    path = desk.folder / "out/calls.jsonl"
    with desk.asking(writer):
        desk.call(*SMALL)
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])  # as a kill leaves it
        assert desk.call("generate", "out", "--json").json["calls"] == {"sent": 1, "answered_before": 7}
        lines = whole.splitlines(keepends=True)
        number = next(n for n, line in enumerate(lines, 1) if b'"answer"' in line)
        path.write_bytes(b"".join([*lines[: number - 1], b'{"type": "answ\n', *lines[number:]]))
        done = desk.call("generate", "out")
        assert done.code == 4 and f"line {number} is damaged" in done.err
        command = done.err.rpartition(": ")[2].strip()
        assert command.startswith("sed ")
        subprocess.run(command, shell=True, cwd=desk.folder, check=True)
        assert desk.call("generate", "out", "--json").json["calls"] == {"sent": 1, "answered_before": 7}


@pytest.mark.slow
@pytest.mark.parametrize("line", ["3", '{"type": "answer"}', '{"type": "ask", "id": 3, "usd": 0}', '{"a": 1}'])
def test_a_line_that_is_no_call_is_named(desk: Desk, line: str) -> None:
    with desk.asking(writer):
        desk.call(*SMALL)
    path = desk.folder / "out/calls.jsonl"
    path.write_text(path.read_text() + line + "\n")
    done = desk.call("generate", "out")
    assert done.code == 4 and "is damaged" in done.err


@pytest.mark.slow
def test_a_file_that_cannot_grow_ends_it_and_what_was_answered_is_kept(desk: Desk) -> None:
    most = 12_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    with desk.asking(writer) as server:
        done = cli(*SMALL, "--prompts", "20", "--concurrency", "2", cwd=desk.folder, preexec_fn=small_files)
        assert done.code == 1 and "out/calls.jsonl; make room" in done.err, done
        assert done.err.rstrip().endswith("what was answered is kept; then: autoresearch generate out")
        sent, kept = len(server.requests), len(desk.lines("answer"))
        assert 0 < kept < 42 and sent - kept in (0, 1, 2)  # at most what was under way
        assert desk.call("generate", "out", "--json").json["calls"] == {"sent": 42 - kept, "answered_before": kept}


@pytest.mark.slow
def test_two_commands_do_not_work_in_one_folder(desk: Desk) -> None:
    (desk.folder / "out").mkdir()
    with desk.asking(writer), held_by_us(desk.folder / "out/.lock"):
        done = desk.call(*SMALL)
    assert done.code == 5 and "another command is at work" in done.err
    (desk.folder / "file").write_text("")
    with desk.asking(writer):
        assert desk.call("generate", "file", *SMALL[2:]).code == 5


# --- parameters ---


@pytest.mark.slow
def test_parameters_are_saved_before_anything_is_asked_and_a_file_of_them_gives_the_same_again(desk: Desk) -> None:
    def play(body: Body) -> Said:
        seen.append((desk.folder / "out/generate.yaml").read_text())
        return writer(body)

    seen: list[str] = []
    with desk.asking(play) as server:
        desk.call(*SMALL, "--temperature", "0.5", "--price", f"m={PRICE}")
        saved = yaml.safe_load(seen[0])
        assert saved["model"] == {"name": "m", "address": server.url + "/v1", "key": ""}
        assert (saved["about"], saved["subtypes"]) == ("unit conversions", ["lengths", "weights"])
        assert {*saved} == {*GenerateParams.model_fields}
        before = len(server.requests)
        desk.call("generate", "again", "--params-file", "out/generate.yaml")
        assert server.requests[before:] and examples(desk) == desk.rows("again/examples.jsonl")
        assert (desk.folder / "again/generate.yaml").read_text() == seen[0]
        # What is typed goes before what the file says, and the rest of the file holds.
        desk.call("generate", "other", "--params-file", "out/generate.yaml", "--temperature", "1", "--prompts", "2",
                  "--price", "other=1,1")  # fmt: skip
        other = yaml.safe_load((desk.folder / "other/generate.yaml").read_text())
    assert server.requests[-1]["temperature"] == 1
    changed = {"temperature": 1.0, "prompts": 2, "prices": {**saved["prices"], "other": other["prices"]["other"]}}
    assert other == {**saved, **changed}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("about: [a", "is no YAML"),
        ("- model", "no table of parameters"),
        ("1: a", "no table of parameters"),
        ("abuot: x", "there is no parameter abuot"),
        ("prompts: many", "prompts: "),
        ("prompts: 3\nheld_out: 3", "3 of 3 prompts are held out"),
        ("model: {name: m, address: 'http://a:b@c/v1'}", "keys belong into variables"),
        ("model: {name: m, address: 'https://c/v1?api_key=b'}", "keys belong into variables"),
        ("model: {name: m, address: ftp://c}", "begins with http"),
        ("model: {name: m, key: sk-0123}", "model.key"),
        ("model: m", "model: "),
        ("prices: {m: {input: -1, output: 0}}", "prices.m.input"),
        ("max_usd: .nan", "max_usd"),
    ],
)
def test_a_file_of_parameters_that_is_wrong_is_named_with_the_key(desk: Desk, text: str, says: str) -> None:
    (desk.folder / "p.yaml").write_text(f"{text}\n" if "model" in text else f"{text}\nmodel: {{name: m}}\n")
    words = ("--about", "x") if "about" not in text else ()
    with desk.asking(writer) as server:
        done = desk.call("generate", "out", "--params-file", "p.yaml", *words)
    assert done.code in (2, 5) and says in done.err and "p.yaml" in done.err, done
    assert "sk-0123" not in done.err and server.requests == [] and not (desk.folder / "out").exists()


def test_a_name_with_a_typing_error_is_said_before_what_it_leaves_missing(desk: Desk) -> None:
    (desk.folder / "p.yaml").write_text("abuot: x\nmodel: {name: m}\n")
    done = desk.call("generate", "out", "--params-file", "p.yaml")
    assert done.code == 2 and "there is no parameter abuot" in done.err, done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "m"), "about is missing; give it: --about"),
        (("--about", "x"), "model is missing; give it: --model"),
        (("--about", "x", "--key", "K"), "model.name is missing; give it: --model"),
        (("--about", "x", "--model", "m", "--concurrency", "0"), "correct --concurrency"),
        (("--about", "x", "--model", "m", "--format", "xml"), "correct --format"),
        (("--about", "x", "--model", "m", "--subtype", ""), "correct --subtype"),
        (("--about", "x", "--model", "m", "--params-file", "gone.yaml"), "gone.yaml cannot be read"),
    ],
)
def test_words_that_are_wrong_say_which_option(desk: Desk, words: tuple[str, ...], says: str) -> None:
    with desk.asking(writer) as server:
        done = desk.call("generate", "out", *words)
    assert done.code in (2, 5) and says in done.err and server.requests == [], done


@pytest.mark.parametrize(("name", "kind"), [("generate", GenerateParams), ("judge", JudgeParams)])
def test_every_parameter_has_an_option(name: str, kind: type[GenerateParams | JudgeParams]) -> None:
    command = typer.main.get_command(program((name,))).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    spelled = {"subtypes": "subtype", "prices": "price"}
    for field in kind.model_fields:
        assert "--" + spelled.get(field, field.replace("_", "-")) in options, field


# --- keys ---


@pytest.mark.slow
def test_a_key_comes_from_the_environment_or_a_file_and_goes_into_none(desk: Desk) -> None:
    echo = lambda body: writer(body) if wanted(body) else completion(f"your key is {KEY}")  # noqa: E731
    (desk.folder / ".env").write_text(f"# mine\nexport OTHER_KEY = 'x'\nOPENAI_API_KEY=\"{KEY}\" # of ours\n")
    with desk.asking(echo) as server:
        assert desk.call(*SMALL).code == 0
        assert {*server.keys} == {f"Bearer {KEY}"}
    with desk.asking(writer) as server:
        desk.monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
        second = ("generate", "second", *SMALL[2:])
        assert desk.call(*second).code == 0
        assert {*server.keys} == {"Bearer of-the-environment"}
        assert desk.call(*second, "--seed", "2", "--key", "OTHER_KEY").code == 0
        assert server.keys[-1] == "Bearer x"
    written = {name: text for name, text in desk.files.items() if name != ".env"}
    assert "OPENAI_API_KEY" in written["out/calls.jsonl"] and "your key is ***" in written["out/calls.jsonl"]
    assert [name for name, text in written.items() if KEY in text] == []


def test_a_key_does_not_go_with_a_model_to_another_server(desk: Desk) -> None:
    desk.monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with desk.asking(writer):
        assert desk.call(*SMALL).code == 0
        with desk.asking(writer) as elsewhere:
            words = ("generate", "out", "--model", f"m@{elsewhere.url}/v1")
            desk.monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
            assert desk.call(*words).code == 0
            assert len(elsewhere.keys) == 8 and all(KEY not in key for key in elsewhere.keys)
            assert desk.call(*words, "--seed", "1", "--key", "OPENAI_API_KEY").code == 0
            assert elsewhere.keys[-1] == f"Bearer {KEY}"


@pytest.mark.slow
def test_a_key_that_is_missing_is_said_before_anything_is_written(desk: Desk) -> None:
    done = desk.call(*SMALL, "--key", "MY_KEY")
    assert done.code == 5 and "set MY_KEY" in done.err and not (desk.folder / "out").exists()
    desk.monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    done = desk.call(*SMALL)
    assert done.code == 5 and "no key for https://api.openai.com/v1" in done.err and "set OPENAI_API_KEY" in done.err
    desk.monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hunter2@there/v1")
    done = desk.call(*SMALL)
    assert done.code == 5 and "OPENAI_BASE_URL is no address" in done.err and "hunter2" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("key", ["two\nlines-0123456789", "ключ-0123456789", "a blank-0123456789"])
def test_a_key_that_is_none_is_not_sent_and_not_shown(desk: Desk, key: str) -> None:
    desk.monkeypatch.setenv("MY_KEY", key)
    with desk.asking(writer) as server:
        done = desk.call(*SMALL, "--key", "MY_KEY")
    assert done.code == 5 and "what MY_KEY has is no key" in done.err and "0123456789" not in done.err
    assert server.requests == [] and not (desk.folder / "out").exists()


def test_openai_itself_is_asked_in_its_later_words(tmp_path: Path) -> None:
    from autoresearch.models.chat import ChatModel
    from autoresearch.models.prices import Prices
    from autoresearch.models.served import Served

    for address, word in (
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://notopenai.com/v1", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
    ):
        model = ChatModel(Served(name="m", address=address), None, Prices({}))
        assert model.request([], 7, None, None) == {"model": "m", "messages": [], word: 7}
