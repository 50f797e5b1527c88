"""Requests that a server refuses whatever is tried, answers that it breaks off, and words that none can take."""

from __future__ import annotations

import pytest
from chat_server import (
    COST,
    PRICE,
    Body,
    Desk,
    by_mark,
    by_model,
    completion,
    judging,
    last,
    refused,
    wanted,
    writer,
)
from json_server import Said

NAMED = ("generate", "out", "--about", "units", "--model", "m")
SMALL = (*NAMED, "--subtype", "a", "--concurrency", "1", "--prompts", "12")


def numbered(body: Body) -> int:
    """Return the number of the question in a request for an example; -1 for a list of prompts."""
    return -1 if wanted(body) else int(last(body).rpartition(" ")[2])


def test_a_request_that_is_refused_for_what_it_asks_ends_nothing_where_others_were_answered(desk: Desk) -> None:
    def strict(body: Body) -> Said:
        return refused(400, "too long") if 2 <= numbered(body) < 9 else writer(body)

    with desk.asking(strict) as server:
        for sent in (13, 7):  # seven in a row are refused, each time
            before = len(server.requests)
            view = desk.call(*SMALL, "--json").json
            assert view["examples"] == 5 and not view["complete"] and len(server.requests) - before == sent


def test_a_server_that_refuses_everything_ends_the_work_whatever_the_file_has(desk: Desk) -> None:
    answered = {-1, 1, 4, 7, 10}
    with desk.asking(lambda body: writer(body) if numbered(body) in answered else refused(418, "no")) as server:
        desk.call(*SMALL)
        assert len(desk.rows("out/examples.jsonl")) == 4
        answered.clear()
        before = len(server.requests)
        done = desk.call(*SMALL)
        assert done.code == 1 and "5 calls in a row came to nothing" in done.err
        assert len(server.requests) - before == 5


def test_conversations_whose_second_turn_is_refused_end_the_work(desk: Desk) -> None:
    def first_turns(body: Body) -> Said:
        return writer(body) if wanted(body) or len(body["messages"]) == 1 else refused(400, "no assistant here")

    with desk.asking(first_turns) as server:
        done = desk.call(*SMALL, "--turns", "2")
        assert done.code == 1 and "5 calls in a row came to nothing" in done.err
        assert len(server.requests) == 1 + 2 * 5


def test_what_was_answered_in_another_form_says_nothing_of_requests_in_this_one(desk: Desk) -> None:
    def small(body: Body) -> Said:
        return writer(body) if wanted(body) or body["max_tokens"] < 5000 else refused(400, "too many tokens")

    with desk.asking(small) as server:
        desk.call(*SMALL)
        before = len(server.requests)
        done = desk.call("generate", "out", "--max-tokens", "5000")
        assert done.code == 1 and "5 calls in a row came to nothing" in done.err
        assert len(server.requests) - before == 1 + 5


def test_a_run_that_gets_no_list_leaves_the_files_of_an_earlier_one(desk: Desk) -> None:
    with desk.asking(lambda body: refused(400, "no") if body["max_tokens"] == 5000 else writer(body)):
        desk.call(*SMALL, "--held-out", "2")
        names = ("out/examples.jsonl", "out/held_out.jsonl")
        before = [desk.rows(name) for name in names]
        done = desk.call("generate", "out", "--max-tokens", "5000")
        assert done.code == 1 and "no example was made" in done.err
        assert [desk.rows(name) for name in names] == before


def test_an_answer_that_was_broken_off_is_none_and_one_of_parts_is_put_together(desk: Desk) -> None:
    parts = [{"type": "thinking"}, {"type": "text", "text": "a whole "}, {"type": "text", "text": "one"}]

    def play(body: Body) -> Said:
        if numbered(body) < 1:
            return writer(body) if wanted(body) else completion("half of", finish="error")
        return Said({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]})

    with desk.asking(play):
        view = desk.call(*SMALL[:-1], "2", "--json").json
    assert [row["messages"][1]["content"] for row in desk.rows("out/examples.jsonl")] == ["a whole one"]
    [why] = view["left_out"]
    assert "broke off its answer (error)" in why


def test_no_example_has_what_is_held_out_also_after_a_run_that_made_none(desk: Desk) -> None:
    cut = set[str]()
    with desk.asking(lambda body: completion("cut", finish="length") if last(body) in cut else writer(body)):
        desk.call(*SMALL)
        rows = desk.rows("out/examples.jsonl")
        cut |= {row["messages"][0]["content"] for row in rows}
        (desk.folder / "out" / "calls.jsonl").unlink()
        done = desk.call("generate", "out", "--held-out", "2")
    held_out = {row["messages"][0]["content"] for row in desk.rows("out/held_out.jsonl")}
    assert done.code == 1 and len(held_out) == 2 and held_out < cut
    assert not (desk.folder / "out" / "examples.jsonl").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:80OO/v1", "http://127.0.0.1:99999/v1"])
def test_a_port_that_is_none_is_named_before_anything_is_saved(desk: Desk, address: str) -> None:
    done = desk.call(*NAMED[:4], "--model", f"m@{address}")
    assert done.code == 2 and "the port of an address is a number" in done.err, done
    assert not (desk.folder / "out").exists()


def test_half_a_character_of_a_file_is_sent_as_one_that_can_be(desk: Desk) -> None:
    (desk.folder / "p.jsonl").write_text('{"prompt": "hi \\ud83d"}\n')
    with desk.asking(by_model(b=writer, t=writer, j=judging(by_mark("to")))) as server:
        done = desk.call("judge", "v", "--prompts", "p.jsonl", "--base", "b", "--tuned", "t", "--judge", "j")
    assert done.code == 0, done.err
    assert server.requests[0]["messages"][0]["content"] == "hi \ufffd"


def test_headers_of_the_environment_go_to_its_own_server_alone(desk: Desk) -> None:
    for name, value in (("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer mine\napi-key: secret"),
                        ("OPENAI_ORG_ID", "org"), ("OPENAI_PROJECT_ID", "project")):  # fmt: skip
        desk.monkeypatch.setenv(name, value)
    with desk.asking(writer) as server:
        desk.call(*SMALL[:-1], "1")
        own = server.headers[-1]
        desk.monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        desk.call("generate", "other", *SMALL[2:4], "--model", f"m@{server.url}/v1", *SMALL[6:-1], "1")
        other = server.headers[-1]
    assert (own["authorization"], own["api-key"], own["openai-organization"]) == ("Bearer mine", "secret", "org")
    assert other["authorization"] == "Bearer none"
    assert not {"api-key", "openai-organization", "openai-project"} & {*other}


def test_a_prompt_that_comes_twice_counts_once(desk: Desk) -> None:
    desk.write_rows("p.jsonl", [{"prompt": f"question {n % 3}", "property": str(n)} for n in range(6)])
    judge = judging(by_mark("to"))
    with desk.asking(by_model(b=writer, t=writer, j=judge)):
        done = desk.call("judge", "v", "--prompts", "p.jsonl", "--base", "b", "--tuned", "t", "--judge", "j", "--json")
    assert done.json["all"]["prompts"] == 3 and done.json["left_out"] == {"a prompt was there already": 3}


def test_calls_without_a_known_price_count_by_the_one_that_is_given_later(desk: Desk) -> None:
    with desk.asking(writer):
        first = desk.call(*SMALL, "--json").json
        again = desk.call("generate", "out", "--price", f"m={PRICE}", "--json").json
        capped = desk.call("generate", "out", "--examples", "2", "--max-usd", str(14 * COST))
    assert first["cost"]["usd"] == 0 and again["cost"]["usd"] == pytest.approx(13 * COST)
    assert capped.code == 6 and "of" in capped.err and len(desk.lines("ask")) < 13 + 12
