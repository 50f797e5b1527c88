"""Models by their APIs as agents: the real packages against a server on loopback, for each of the three languages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from briefs import TRAIN, brief
from json_server import Said, serving

from autoresearch.loop.agents.anthropic import Anthropic
from autoresearch.loop.agents.api import OUTPUT
from autoresearch.loop.agents.base import Agent, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.agents.openai import OpenAI
from autoresearch.models.endpoint import Patience

NOW = 1_790_000_000.0
PRICES = {"prices": {"a-model": {"input": 3, "output": 15, "cached": 0.3}}}
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Language:
    """How one API says things."""

    name: str
    variables: Mapping[str, str]
    agent: Callable[[str, Patience], Agent]
    call: Callable[[object], object]
    """A whole answer with one tool call of these arguments; 1,000 tokens read, 400 from the cache, 50 written."""
    text: Callable[[str], object]
    cut: object
    refusal: Callable[[str, str], object]
    """The body of a refusal, of a code and a sentence."""
    complaint: Callable[[dict[str, Any]], str]
    """What a second request says about the first answer."""
    path: str


def _anthropic(content: list[object], stop: str = "tool_use") -> object:
    usage = {"input_tokens": 600, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 0,
             "output_tokens": 50}  # fmt: skip
    return {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": content, "stop_reason": stop,
            "stop_sequence": None, "usage": usage}  # fmt: skip


def _responses(output: list[object], **more: object) -> object:
    usage = {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 400}, "output_tokens": 50,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 1050}  # fmt: skip
    return {"id": "r", "object": "response", "created_at": 1, "model": "x", "status": "completed", "output": output,
            "usage": usage, "tools": [], "tool_choice": "required", "parallel_tool_calls": False, **more}  # fmt: skip


def _completion(message: dict[str, object], finish: str = "tool_calls") -> object:
    usage = {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens": 50,
             "total_tokens": 1050}  # fmt: skip
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "x", "choices": [choice], "usage": usage}


def _said(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


LANGUAGES = {
    "messages": Language(
        "messages",
        {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_KEY": "a-key"},
        lambda model, patience: Anthropic(model, patience),
        lambda given: _anthropic([{"type": "tool_use", "id": "t", "name": "propose", "input": given}]),
        lambda text: _anthropic([{"type": "text", "text": text}], "end_turn"),
        _anthropic([], "max_tokens"),
        lambda code, said: {"type": "error", "error": {"type": code, "message": said}},
        lambda body: body["messages"][-1]["content"][0]["content"],
        "/v1/messages",
    ),
    "responses": Language(
        "responses",
        {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": "a-key"},
        lambda model, patience: OpenAI(model, patience, responses=True),
        lambda given: _responses([{"type": "function_call", "id": "f", "call_id": "t", "name": "propose",
                                   "arguments": _said(given)}]),
        lambda text: _responses([{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                                  "content": [{"type": "output_text", "text": text, "annotations": []}]}]),
        _responses([], status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        lambda code, said: {"error": {"code": code, "type": code, "message": said, "param": None}},
        lambda body: body["input"][-1]["output"],
        "/v1/responses",
    ),
    "completions": Language(
        "completions",
        {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": ""},
        lambda model, patience: OpenAI(model, patience),
        lambda given: _completion({"content": None, "tool_calls": [
            {"id": "t", "type": "function", "function": {"name": "propose", "arguments": _said(given)}}]}),
        lambda text: _completion({"content": text}, "stop"),
        _completion({"content": "half"}, "length"),
        lambda code, said: {"error": {"code": code, "type": code, "message": said, "param": None}},
        lambda body: body["messages"][-1]["content"],
        "/v1/chat/completions",
    ),
}  # fmt: skip


@dataclass
class Lab:
    """One language, a folder, and what was asked and slept."""

    language: Language
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def propose(self, *replies: Said, model: str = "a-model", **more: Any) -> Edit:
        """Ask for a proposal from a server that says this, and nothing more."""
        task = {**PRICES, **more.pop("task", {})}
        return self.of(brief(self.folder, task=task, **more), *replies, model=model)

    def of(self, given: Brief, *replies: Said, model: str = "a-model") -> Edit:
        self.slept: list[float] = []
        patience = Patience(lambda: NOW, self.slept.append, random.Random(1))
        with serving(replies) as self.server:
            for name, value in self.language.variables.items():
                self.monkeypatch.setenv(name, self.server.url + value if name.endswith("_URL") else value)
            agent = self.language.agent(model, patience)
            assert agent.ready() is None
            return agent.propose(given)

    def fails(self, kind: type[Exception], *replies: Said, **more: Any) -> Any:
        with pytest.raises(kind) as failed:
            self.propose(*replies, **more)
        assert (self.folder / "train.py").read_text() == TRAIN
        return failed.value

    @property
    def code(self) -> str:
        return (self.folder / "train.py").read_text()


QUICK = "completions"


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name != QUICK)) for name in LANGUAGES])
def lab(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(LANGUAGES[request.param], tmp_path / "folder", monkeypatch)


@pytest.fixture
def one_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """For what all languages share."""
    return Lab(LANGUAGES[QUICK], tmp_path / "folder", monkeypatch)


def edits(*changes: tuple[str, str], path: str = "train.py", **more: object) -> dict[str, object]:
    listed = [{"path": path, "old": old, "new": new} for old, new in changes]
    return {"description": "LR 0.01 to 0.02", "hypothesis": "it was too low", "family": "learning rate",
            "edits": listed, **more}  # fmt: skip


GOOD = edits(("LR = 0.01", "LR = 0.02"))
BAD = edits(("LR = 0.05", "LR = 0.02"))


def test_an_edit_is_made_with_one_request(lab: Lab) -> None:
    edit = lab.propose(Said(lab.language.call(GOOD)))
    assert lab.code == TRAIN.replace("0.01", "0.02")
    assert edit.description == "LR 0.01 to 0.02"
    assert edit.asi == {"hypothesis": "it was too low", "family": "learning rate"}
    used = edit.usage
    assert (used.model, used.input, used.cached, used.output) == ("a-model", 1000, 400, 50)
    assert used.usd == pytest.approx((600 * 3 + 400 * 0.3 + 50 * 15) / 1e6)
    (body,) = lab.server.requests
    assert lab.server.paths == [lab.language.path]
    text = json.dumps(body)
    assert "You are a researcher" in text and "LR = 0.01" in text and "depth 400" in text and body["model"] == "a-model"
    # What stays comes before what changes, or no cache could hold it.
    assert text.index("The code of experiment") < text.index("Where the session is")
    if lab.language.name == "messages":
        parts = [*body["system"], *body["messages"][0]["content"]]
        assert ["cache_control" in part for part in parts] == [True, True, False]


def test_files_of_small_tasks_may_be_given_whole(lab: Lab) -> None:
    given = {**edits(), "edits": [], "files": [{"path": "train.py", "content": "LR = 1\n"}]}
    lab.propose(Said(lab.language.call(given)))
    assert lab.code == "LR = 1\n" and "propose_files" in json.dumps(lab.server.requests)
    given_big = brief(lab.folder, task=PRICES)
    (lab.folder / "src").mkdir()
    (lab.folder / "src/big.py").write_text("#" * 20_000)
    lab.of(given_big, Said(lab.language.call(GOOD)))
    assert "propose_files" not in json.dumps(lab.server.requests)


def test_a_refused_edit_is_given_back_once(lab: Lab) -> None:
    edit = lab.propose(Said(lab.language.call(BAD)), Said(lab.language.call(GOOD)))
    assert "the old text is not in the file" in lab.language.complaint(lab.server.requests[1])
    assert lab.code == TRAIN.replace("0.01", "0.02")
    assert (edit.usage.input, edit.usage.output) == (2000, 100)
    assert edit.usage.usd == pytest.approx(2 * (600 * 3 + 400 * 0.3 + 50 * 15) / 1e6)


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (edits(("L", "M")), "there 2 times"),
        (edits(("run", "walk"), path="bench.sh"), "that file must not be changed; may be changed: train.py, src"),
        (edits(), "there is no change in it"),
        ({**GOOD, "description": " "}, "has no description"),
        ({**GOOD, "edits": [{"path": "train.py"}]}, "has not the texts path, old, new"),
        ({**GOOD, "edits": "LR"}, "edits is no list"),
    ],
)
def test_each_refusal_says_what_is_wrong(one_lab: Lab, first: Arguments, complaint: str) -> None:
    one_lab.propose(Said(one_lab.language.call(first)), Said(one_lab.language.call(GOOD)))
    assert complaint in one_lab.language.complaint(one_lab.server.requests[1])


def test_an_edit_that_does_not_fit_twice_has_failed_and_is_paid_for(lab: Lab) -> None:
    failed = lab.fails(ProposalFailed, Said(lab.language.call(BAD)), Said(lab.language.call(BAD)))
    assert "nor did its correction" in failed.message and failed.usage.input == 2000
    assert len(lab.server.requests) == 2


def test_an_answer_without_a_tool_call_is_read_where_it_has_the_object(lab: Lab) -> None:
    lab.propose(Said(lab.language.text(f"Here it is:\n```json\n{json.dumps(GOOD)}\n```\nGood luck!")))
    assert lab.code == TRAIN.replace("0.01", "0.02")


def test_prose_is_no_answer(lab: Lab) -> None:
    failed = lab.fails(ProposalFailed, Said(lab.language.text("No {idea}.")), Said(lab.language.text("{}")))
    assert "no tool call" in failed.message and failed.usage.output == 100


def test_arguments_that_are_no_json_are_given_back(lab: Lab) -> None:
    lab.propose(Said(lab.language.call("{'a': ")), Said(lab.language.call(GOOD)))
    assert lab.code == TRAIN.replace("0.01", "0.02")


def test_an_answer_that_is_cut_off_is_not_taken(lab: Lab) -> None:
    failed = lab.fails(ProposalFailed, Said(lab.language.cut))
    assert f"longer than {OUTPUT} tokens" in failed.message and failed.usage.output == 50


@pytest.mark.parametrize("body", [b"{", b"[]", {"usage": 3, "content": 3, "output": 1, "choices": 2}])
def test_an_answer_in_another_language_has_failed_and_nobody_knows_what_it_cost(lab: Lab, body: object) -> None:
    failed = lab.fails(ProposalFailed, *[Said(body)] * 2)
    assert failed.usage.usd is None


def test_a_usage_limit_rests_until_its_end(lab: Lab) -> None:
    refusal = Said(lab.language.refusal("rate_limit_error", "slow down"), 429, (("retry-after", "5000"),))
    resting = lab.fails(AgentResting, refusal)
    assert resting.until == NOW + 5000 and resting.usage.usd == 0 and len(lab.server.requests) == 1


def test_an_overload_is_tried_again_and_then_rests(lab: Lab) -> None:
    overload = Said(lab.language.refusal("overloaded_error", "Overloaded"), 529)
    assert lab.propose(overload, overload, Said(lab.language.call(GOOD))).usage.input == 1000
    assert len(lab.slept) == 2
    resting = lab.fails(AgentResting, *[overload] * 4)
    assert resting.until > NOW and len(lab.server.requests) == 4


def test_a_server_error_is_the_end_of_this_proposal_alone(lab: Lab) -> None:
    failed = lab.fails(ProposalFailed, *[Said(b"<html>oops", 500)] * 4)
    assert "answered 500" in failed.message


def test_a_login_that_ended_is_not_tried_again(lab: Lab) -> None:
    gone = lab.fails(AgentGone, Said(lab.language.refusal("authentication_error", "invalid x-api-key"), 401))
    assert "invalid x-api-key" in gone.message and "_API_KEY" in gone.fix and len(lab.server.requests) == 1


def test_a_spending_limit_is_not_tried_again(lab: Lab) -> None:
    gone = lab.fails(AgentGone, Said(lab.language.refusal("insufficient_quota", "You have none"), 429))
    assert "You have none" in gone.message and "credit" in gone.fix and len(lab.server.requests) == 1


def test_a_refusal_in_the_second_request_keeps_what_the_first_cost(lab: Lab) -> None:
    gone = lab.fails(AgentGone, Said(lab.language.call(BAD)), Said(lab.language.refusal("x", "no"), 401))
    assert gone.usage.input == 1000 and gone.usage.usd > 0


@pytest.mark.parametrize("how", ["silent", "broken"])
def test_a_request_without_an_answer_costs_nobody_knows_what(lab: Lab, how: str) -> None:
    failed = lab.fails(ProposalFailed, Said(lab.language.call(GOOD), how=how), limit_s=0.5 if how == "silent" else 60)
    assert (failed.usage.usd, failed.usage.model) == (None, "a-model") and len(lab.server.requests) <= 1


def test_no_server_at_all_is_a_rest(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving([]) as gone:
        pass
    for name, value in lab.language.variables.items():
        monkeypatch.setenv(name, gone.url + value if name.endswith("_URL") else value)
    agent = lab.language.agent("a-model", Patience(lambda: NOW, lambda _: None))
    with pytest.raises(AgentResting, match="cannot be reached"):
        agent.propose(brief(lab.folder))


def test_the_limit_of_dollars_bounds_the_answer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    agent = lab.language.agent("a-model", Patience())
    given = brief(lab.folder, task=PRICES)
    most = agent.cost_usd(given)
    assert most is not None and 2 * OUTPUT * 15e-6 < most < 3 * OUTPUT * 15e-6
    assert [agent.cost_usd(replace(given, limit_usd=limit)) for limit in (0.1, 5.0, 0.01)] == [0.1, most, most]
    edit = lab.propose(Said(lab.language.call(GOOD)), limit_usd=0.1)
    assert edit.usage.usd is not None and edit.usage.usd < 0.1
    (body,) = lab.server.requests
    allowed = next(body[key] for key in ("max_tokens", "max_output_tokens") if key in body)
    assert 2_000 < allowed < 0.1 / 15e-6
    gone = lab.fails(AgentGone, limit_usd=0.01)
    assert "can cost" in gone.message and lab.server.requests == []


def test_without_a_price_nothing_is_spent_under_a_limit(lab: Lab) -> None:
    gone = lab.fails(AgentGone, model="qwen3-of-mine", limit_usd=1.0)
    assert "nobody knows what qwen3-of-mine costs" in gone.message and "[prices]" in gone.fix
    edit = lab.propose(Said(lab.language.call(GOOD)), model="qwen3-of-mine")
    assert (edit.usage.usd, edit.usage.input) == (None, 1000)


def test_free_answers_to_a_question_that_is_too_dear(one_lab: Lab) -> None:
    free = {"prices": {"a-model": {"input": 300, "output": 0}}}
    assert "can cost" in one_lab.fails(AgentGone, task=free, limit_usd=0.01).message
    free["prices"]["a-model"]["input"] = 0
    edit = one_lab.propose(Said(one_lab.language.call(GOOD)), task=free, limit_usd=0.01)
    assert edit.usage.usd == 0


def test_no_money_for_a_correction_is_a_failed_turn(one_lab: Lab) -> None:
    failed = one_lab.fails(ProposalFailed, Said(one_lab.language.call(BAD)), limit_usd=0.05)
    assert "no money is left to correct it" in failed.message and failed.usage.usd > 0
    assert len(one_lab.server.requests) == 1


def test_what_is_missing_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for agent, what in ((Anthropic(), "set ANTHROPIC_API_KEY"), (OpenAI(), "set OPENAI_API_KEY")):
        assert what in str(agent.ready())
        with pytest.raises(AgentGone) as gone:
            agent.propose(brief(tmp_path))
        assert what in gone.value.fix
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert "--agent openai:MODEL" in str(OpenAI().ready())
    monkeypatch.setenv("AUTORESEARCH_MODEL", "of-the-environment")
    assert OpenAI().ready() is None and OpenAI().model == Anthropic().model == "of-the-environment"
    assert OpenAI("given").model == "given"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://eu.api.openai.com/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    monkeypatch.delenv("AUTORESEARCH_MODEL")
    assert OpenAI().ready() is None and OpenAI().model
