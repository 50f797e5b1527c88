"""The prompt task: what is charged, what counts, what is refused; with optimisers that are real processes."""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from harness.errors import TaskError, Verdict
from harness.lm import Sizes
from harness.task import Budget
from task_programs import TASKS, kept_of_pretrain, module, prepare_of
from torch.utils.flop_counter import FlopCounterMode

from autoresearch.workspace import task_file

pytestmark = pytest.mark.slow

VOCAB, WIDTH, LAYERS, LENGTH, WANTED = 40, 16, 2, 6, 3
ALLOWED = np.arange(2, 38)


@pytest.fixture(scope="module")
def parts() -> Iterator[Any]:
    """The modules of the task; torch has one thread, since two cost more than they bring to a model of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TASKS / "prompt"))
        names = ("bases", "evaluator", "frozen", "gpt")
        yield SimpleNamespace(
            prepare=prepare_of("prompt"),
            methods=importlib.import_module("methods"),
            **{name: importlib.import_module(f"oracle.{name}") for name in names},
        )
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task's files with the harness beside them, as `init` puts them."""
    folder = tmp_path_factory.mktemp("prompt") / "lab"
    shutil.copytree(TASKS / "prompt", folder, ignore=shutil.ignore_patterns("__pycache__", ".autoresearch"))
    shutil.copytree(TASKS.parent / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def frozen(parts: Any) -> Any:
    """A model of weights by chance, large enough for strings to differ."""
    torch.manual_seed(0)
    model = parts.gpt.GPT(Sizes(LAYERS, WIDTH, 2, VOCAB, 24))
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.4)
    return parts.frozen.Frozen(model, 0, LENGTH, WANTED)


def strings(count: int, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(count).choice(ALLOWED, (count, length))


TARGET = np.array([5, 20, 9])


def test_the_task_is_made_of_files_that_are_read_in_a_sitting() -> None:
    folder = TASKS / "prompt"
    sizes = {path.name: len(path.read_text().splitlines()) for path in folder.rglob("*.py")}
    assert len(sizes) >= 14 and max(sizes.values()) <= 250
    told = task_file.parse((folder / "autoresearch.toml").read_text())
    assert len(told.search.families) >= 8 and told.same_work
    ours = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if "__pycache__" not in path.parts}
    assert ours - {"program.md", ".autoresearch"} == {*told.files.immutable, *told.files.mutable} - {"harness"}


# ------------------------------------------------------------------------------------------------------------
# What is asked, and what it costs
# ------------------------------------------------------------------------------------------------------------


def by_hand(kind: str, length: int) -> int:
    """FLOPs of one string, from the shapes of its matrices."""
    fed = 1 + length + (0 if kind == "NEXT" else WANTED - 1)
    linear = LAYERS * 24 * fed * WIDTH**2 + 2 * (1 if kind == "NEXT" else WANTED) * WIDTH * VOCAB
    attention = LAYERS * 4 * fed**2 * WIDTH
    if kind != "GRAD":
        return linear + attention
    # Backward goes to what is fed, never to weights: once more for them, twice for products of two that are fed.
    return 2 * (linear + 2 * length * VOCAB * WIDTH) + 3 * attention


def counted(what: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        what()
    return counter.get_total_flops()


def test_what_is_charged_is_what_torch_counts_on_the_calls_that_are_made(frozen: Any) -> None:
    for rows, length in ((1, 1), (3, LENGTH), (130, 4), (7, 0)):
        ids = strings(rows, length)
        if length:
            assert counted(lambda: frozen.losses(ids, TARGET)) == rows * frozen.price("LOSS", length)  # noqa: B023
            assert frozen.price("LOSS", length) == by_hand("LOSS", length)
        assert counted(lambda: frozen.following(ids)) == rows * frozen.price("NEXT", length)  # noqa: B023
        assert frozen.price("NEXT", length) == by_hand("NEXT", length)
    price = frozen.price("GRAD", LENGTH)
    assert price == by_hand("GRAD", LENGTH)
    weights = np.random.default_rng(0).random((5, LENGTH, VOCAB), np.float32)
    assert counted(lambda: frozen.gradients(weights, TARGET)) == 5 * price
    assert counted(lambda: frozen.gradients(strings(2), TARGET, 0.5)) == 2 * price


def test_the_loss_is_the_cross_entropy_of_the_target_behind_the_string(frozen: Any) -> None:
    ids = strings(4)
    row = torch.tensor([[0, *each, *TARGET] for each in ids.tolist()])
    with torch.no_grad():
        logits = frozen.model(row[:, :-1]).double()[:, LENGTH:]
    nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), row[:, 1 + LENGTH :], reduction="none")
    np.testing.assert_allclose(frozen.losses(ids, TARGET), nats.mean(1), atol=1e-5)
    loss, match = frozen.score(ids[0], TARGET)
    assert loss == pytest.approx(nats[0].mean().item(), abs=1e-5)
    assert match == pytest.approx((logits[0].argmax(-1).numpy() == TARGET).mean())
    assert frozen.losses(ids, TARGET).std() > 0.1  # they differ, or nothing above was tested


def test_the_gradient_is_what_a_small_step_changes(parts: Any, frozen: Any) -> None:
    ids = strings(1)
    loss, wrong, slope = frozen.gradients(ids, TARGET)
    assert loss == pytest.approx(frozen.losses(ids, TARGET), abs=1e-5) and 0 <= wrong[0] <= WANTED
    x = np.eye(VOCAB, dtype=np.float32)[ids]
    np.testing.assert_allclose(frozen.gradients(x, TARGET)[2], slope, atol=1e-6)
    for place, token in ((0, 7), (3, 30), (5, 12)):
        ends = []
        for step in (-0.01, 0.01):
            moved = x.copy()
            moved[0, place, token] += step
            ends.append(frozen.gradients(moved, TARGET)[0][0])
        assert slope[0, place, token] == pytest.approx((ends[1] - ends[0]) / 0.02, rel=0.05, abs=2e-3)


def test_a_scale_of_zero_leaves_the_gradient_of_the_residual_stream_alone(parts: Any, frozen: Any) -> None:
    whole, scaled = (frozen.gradients(strings(1), TARGET, scale)[2] for scale in (1.0, 0.0))
    ends = parts.frozen.branch_ends(frozen.model)
    assert len(ends) == 2 * LAYERS
    hooks = [end.register_forward_pre_hook(lambda _, given: (given[0].detach(),)) for end in ends]
    try:
        np.testing.assert_allclose(frozen.gradients(strings(1), TARGET)[2], scaled, atol=1e-6)
    finally:
        for hook in hooks:
            hook.remove()
    assert np.abs(whole - scaled).max() > 0.01


# ------------------------------------------------------------------------------------------------------------
# A search, by a process
# ------------------------------------------------------------------------------------------------------------

NUMBERS = itertools.count()
"""A program has a name of its own, since Python keeps what it has compiled by name, size and second."""


def search(parts: Any, frozen: Any, workspace: Path, program: str, strings: float = 50, **terms: Any) -> Any:
    """What comes of an `optimize` with this body, with a budget for the losses of so many strings."""
    name = f"program{next(NUMBERS)}"
    text = "import os\nimport numpy as np\nfrom oracle.client import Spent\ndef optimize(oracle, rng):\n"
    (workspace / f"{name}.py").write_text(text + textwrap.indent(textwrap.dedent(program), "    "))
    given = {"own_s": 60.0, **terms}
    own = parts.evaluator.Terms(workspace, strings * frozen.price("LOSS", LENGTH), module=name, **given)
    return parts.evaluator.Search(frozen, ALLOWED, TARGET, 1, own).run()


def test_a_search_is_answered_as_the_model_answers_and_its_best_string_counts(
    parts: Any, frozen: Any, workspace: Path
) -> None:
    found = search(
        parts,
        frozen,
        workspace,
        """
        assert oracle.target == [5, 20, 9] and oracle.length == 6 and oracle.embeddings.shape == (40, 16)
        assert oracle.allowed.tolist() == list(range(2, 38))
        ids = rng.choice(oracle.allowed, (5, oracle.length))
        losses = oracle.loss(ids)
        one, two = oracle.grad(ids[0]), oracle.grad(ids[:2], skip_scale=0.5)
        assert abs(one.loss - losses[0]) < 1e-5 and one.slope.shape == (6, 40) and two.slope.shape == (2, 6, 40)
        soft = oracle.grad(np.eye(oracle.vocab, dtype=np.float32)[ids[:3]])
        assert np.allclose(soft.slope[0], one.slope, atol=1e-5) and np.allclose(soft.loss, losses[:3], atol=1e-5)
        said = oracle.next(ids[:, :2])
        assert said.shape == (5, 40) and np.allclose(np.exp(said).sum(1), 1, atol=1e-4)
        assert oracle.next(np.empty((1, 0), int)).shape == (1, 40)
        short = oracle.loss(np.repeat(oracle.allowed[:, None], 2, 1))  # does not count, however good
        for wrong in (ids[0], ids + 100, ids.astype(float), np.empty((0, 6), int), np.full((1, 7), 5)):
            try:
                oracle.loss(wrong)
            except ValueError:
                continue
            raise AssertionError(wrong)
        before = oracle.left
        oracle.loss(ids[:1])
        assert before - oracle.left > 0 and 0 < oracle.progress < 1
        while True:
            oracle.loss(rng.choice(oracle.allowed, (3, oracle.length)))
        """,
        strings=100,
    )
    price = frozen.price("LOSS", LENGTH)
    assert 0 <= 100 * price - found.flops < 3 * price
    assert found.loss == frozen.score(found.ids, TARGET)[0] and len(found.ids) == LENGTH
    assert found.log[-1][1] == pytest.approx(found.loss, abs=1e-5)
    assert [loss for _, loss in found.log] == sorted((loss for _, loss in found.log), reverse=True)
    again = np.random.default_rng(1).choice(ALLOWED, (5, LENGTH))  # what it asked for first
    assert found.log[0][1] == pytest.approx(frozen.losses(again, TARGET).min(), abs=1e-5)


def test_what_does_not_fit_is_refused_and_not_charged(parts: Any, frozen: Any, workspace: Path) -> None:
    program = """
    def ask(count):
        try:
            oracle.loss(rng.choice(oracle.allowed, (count, oracle.length)))
        except Spent:
            return False
        return True
    assert [ask(count) for count in (8, 4, 2, 1)] == [True, False, True, False]
    assert oracle.left < oracle.budget / 20
    """
    found = search(parts, frozen, workspace, program, strings=10.5)
    assert found.flops == 10 * frozen.price("LOSS", LENGTH) and found.requests == 2


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("oracle._ask('LOSS', 513, 6)", "513 strings"),
        ("oracle._ask('LOSS', 1, 9)", "strings of 9 tokens"),
        ("oracle._ask('LOSS', 1, 6, 1)", "1 strings"),
        ("oracle._ask('GRAD', 1, 6, 0, 2.0)", "scaled by 2"),
        ("oracle._ask('TELL', 1, 6)", "no request"),
        ("oracle._channel.send('LOSS', b'1')", "no request"),
        ("oracle._shared.ids(1, 6)[:] = 39; oracle._ask('LOSS', 1, 6)", "not allowed"),
        ("oracle._shared.ids(1, 6)[:] = -1; oracle._ask('LOSS', 1, 6)", "not allowed"),
        ("oracle._shared.weights(1)[:] = np.nan; oracle._ask('GRAD', 1, 6, 1)", "no numbers"),
    ],
)
def test_a_request_that_the_oracle_would_not_send_is_tampering(
    parts: Any, frozen: Any, workspace: Path, program: str, says: str
) -> None:
    with pytest.raises(Verdict, match=says) as caught:
        search(parts, frozen, workspace, f"{program}\noracle._channel.receive()")
    assert caught.value.outcome == "tampered"


@pytest.mark.parametrize(
    ("program", "outcome", "says"),
    [
        ("raise KeyError(str(oracle.target))", "crash", r"raised KeyError at line 5; to see it: python optimizer.py$"),
        ("raise type('A5Target20_9', (Exception,), {})()", "crash", r"raised an error at line 5"),
        ("os._exit(0)", "crash", "process ended"),
        ("pass", "no_metric", "no string of 6 tokens"),
        ("while True: pass", "over_budget killed", "over 0.3 s of its own"),
    ],
)
def test_a_search_that_fails_says_why_and_never_its_target(
    parts: Any, frozen: Any, workspace: Path, capfd: pytest.CaptureFixture[str],
    program: str, outcome: str, says: str,
) -> None:  # fmt: skip
    with pytest.raises(Verdict, match=says) as caught:
        search(parts, frozen, workspace, f"{program}", own_s=0.3 if "while" in program else 60.0)
    assert caught.value.outcome in outcome
    assert "20" not in str(caught.value) and capfd.readouterr() == ("", "")


def test_what_an_optimiser_prints_is_shown_by_hand_alone(
    parts: Any, frozen: Any, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = "print('here', flush=True)\noracle.loss(np.full((1, 6), 5))"
    for shown in (False, True):
        search(parts, frozen, workspace, program, shown=shown)
        assert ("here" in capfd.readouterr().out) == shown


# ------------------------------------------------------------------------------------------------------------
# The whole task, very small
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache in which the task is prepared in a size of its own."""
    sizes = parts.bases.Sizes(1, 16, 2, 260, 32, 100_000, 3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(parts.prepare.PROFILES, "tiny", parts.prepare.Profile(sizes, 15, 6, 2, 2, 60.0))
        made(parts).prepare()
        yield


def made(parts: Any, folder: Path = Path(), flops: float = 2e7) -> Any:
    return parts.prepare.Prompt(folder, parts.prepare.Options(), Budget("flops", flops))


def test_targets_are_the_same_for_a_seed_and_others_for_another_one(parts: Any, cache: None) -> None:
    task = made(parts)
    base, locked = task.base("search"), task.base("locked")
    drawn = {
        (split, label, seed, number): task.drawn(base, split, label, seed, number)
        for split in ("search", "locked")
        for label in ("search", "by hand")
        for seed in (1, 2)
        for number in (0, 1)
    }
    again = task.drawn(base, "search", "search", 1, 0)
    np.testing.assert_array_equal(again[0], drawn["search", "search", 1, 0][0])
    assert again[1] == drawn["search", "search", 1, 0][1]
    assert len({target.tobytes() for target, _ in drawn.values()}) == len({s for _, s in drawn.values()}) == 16
    assert len(again[0]) == 6 and {*again[0]} <= {*base.allowed}
    assert base.allowed.tolist() == list(range(32, 127))  # of bytes, what can be printed
    assert base.frozen.score(again[0], again[0])[0] != locked.frozen.score(again[0], again[0])[0]  # two models
    assert base.spelled_loss(again[0], again[0]) == base.frozen.score(again[0], again[0])[0]  # a byte stays a byte


@pytest.mark.slow
def test_an_evaluation_is_the_mean_of_its_searches_and_the_same_again(
    parts: Any, cache: None, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_RESULT", "somewhere")
    flops = 1e8  # with fewer, a gain on two targets by chance may be none
    task = made(parts, workspace, flops)
    metrics = parts.prepare.grade(task, tmp_path / "run", "search")
    lines = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    assert len(lines) == 4 and metrics["target_loss"] == pytest.approx(np.mean(losses[:2]))
    assert lines[-1]["progress"] == 1 and metrics["gain"] > 0 and metrics["fresh_gain"] > 0
    assert 0.5 < metrics["flops_used"] <= 1 and 0 <= metrics["match_rate"] <= 1
    base = task.base("search")
    pairs = [task.drawn(base, "search", "search", 1, number) for number in range(2)]
    terms = parts.evaluator.Terms(workspace, flops, 60.0)
    assert [each.loss for each in parts.prepare.searches(base, pairs, terms)] == losses[:2]
    # By hand, where all is shown, the targets are other ones.
    monkeypatch.delenv("AUTORESEARCH_RESULT")
    assert parts.prepare.grade(task, tmp_path / "run", "search")["target_loss"] != metrics["target_loss"]


def test_a_model_that_was_changed_is_tampering(parts: Any, cache: None) -> None:
    task = made(parts)
    path = task.prepared() / "search.pt"
    honest = path.read_bytes()
    path.write_bytes(honest[:-1])
    try:
        with pytest.raises(Verdict, match=r"search.pt is not what was prepared"):
            task.base("search")
    finally:
        path.write_bytes(honest)


def test_targets_that_somebody_has_known_are_found(parts: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):  # honest ones
        parts.prepare.check_known(rng.normal(1, 0.2, 16), rng.normal(1, 0.2, 4))
    parts.prepare.check_known(rng.normal(0.2, 0.2, 16), rng.normal(2, 0.2, 4))  # worse is no cheat
    with pytest.raises(Verdict, match="easier than others") as caught:
        parts.prepare.check_known(rng.normal(2, 0.2, 16), rng.normal(1, 0.2, 4))
    assert caught.value.outcome == "tampered"


def test_a_budget_that_is_not_of_flops_says_what_it_should_be(parts: Any) -> None:
    with pytest.raises(TaskError, match="flops = N"):
        parts.prepare.Prompt(Path(), parts.prepare.Options(), Budget("steps", 20))


# ------------------------------------------------------------------------------------------------------------
# The known searches
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def compare(parts: Any, cache: None, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:  # fmt: skip
    """Run compare.py in this process; return its results."""
    monkeypatch.setitem(sys.modules, "prepare", parts.prepare)
    program: ModuleType = module("prompt_compare", TASKS / "prompt" / "compare.py")
    monkeypatch.setattr(program, "HERE", workspace)

    def run(*words: str) -> Any:
        given = ["--budgets", "6e7", "--targets", "1", "--out", str(tmp_path / "out"), "--json"]
        monkeypatch.setattr(sys, "argv", ["compare.py", *given, *words])
        program.main()
        return json.loads(capsys.readouterr().out)

    run.program = program  # type: ignore[attr-defined]
    return run


@pytest.mark.slow
def test_every_known_search_gets_better_within_its_budget_and_is_run_once(
    parts: Any, compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = compare()
    assert [row["method"] for row in rows] == [*parts.methods.METHODS] and len(rows) == 9
    for row in rows:
        [line] = row["results"]
        assert 3e7 < line["spent"] <= line["flops"] == 6e7
        assert row["settings"] == parts.methods.METHODS[row["method"]].settings()
        losses = [loss for _, loss in line["log"]]
        assert losses == sorted(losses, reverse=True) and line["loss"] == pytest.approx(losses[-1], abs=1e-4)
    improved = {row["method"] for row in rows if len(row["results"][0]["log"]) > 1}
    assert len(improved) >= 7, improved

    def refuse(_: object, pairs: list[object], __: object) -> Iterator[object]:
        assert not pairs
        yield from ()

    [path] = (tmp_path / "out").glob("mac-*.jsonl")
    whole = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(compare.program, "searches", refuse)
        assert compare() == rows
        path.write_text(whole + '{"loss": 1')  # cut off while it was written
        assert compare("--methods", "mac") == [row for row in rows if row["method"] == "mac"]
        assert path.read_text() == whole
        for other in (("--settings", "momentum=0.9"), ("--seed", "7"), ("--set", "train"), ("--budgets", "3e7")):
            with pytest.raises(AssertionError):
                compare("--methods", "mac", *other)
    for words, says in ((("--settings", "size=1"), "no"), (("--methods", "sgd"), "no method 'sgd'")):
        with pytest.raises(SystemExit, match=says):
            compare(*words)


def test_candidates_differ_in_as_many_places_as_they_should(parts: Any) -> None:
    coordinate, rng = importlib.import_module("methods.coordinate"), np.random.default_rng(0)
    slope = rng.normal(size=(4, 12)).astype(np.float32)
    allowed = np.array([1, 3, 4, 7, 8, 11])
    choices = coordinate.steepest(slope, allowed, 2)
    for place in range(4):
        assert {*choices[place]} == {*allowed[slope[place, allowed].argsort()[:2]]}
    ids = np.array([0, 2, 5, 6])  # none of which is a choice
    for swaps in (1, 3):
        trials = coordinate.swapped(ids, choices, 200, swaps, rng)
        changed = trials != ids
        assert (changed.sum(1) == swaps).all() and changed.any(0).all()
        assert all({*trials[changed[:, place], place]} == {*choices[place]} for place in range(4))
    merged = coordinate.merge(ids, np.array([[9, 2, 5, 6], [1, 2, 5, 6], [0, 2, 8, 6]]))
    assert merged.tolist() == [[9, 2, 5, 6], [9, 2, 5, 6], [9, 2, 8, 6]]


def test_weights_are_brought_back_to_the_simplex(parts: Any) -> None:
    relaxed, rng = importlib.import_module("methods.relaxed"), np.random.default_rng(0)
    x = rng.normal(size=(5, 9))
    near = relaxed.to_simplex(x)
    assert (near >= 0).all() and near.sum(1) == pytest.approx(1)
    others = rng.dirichlet(np.full(9, 0.3), 2000)
    for row, own in zip(x, near, strict=True):
        assert ((others - row) ** 2).sum(1).min() >= ((own - row) ** 2).sum() - 1e-9  # nothing is nearer
    for entropy in (0.6, 0.3, 0.0):
        before = relaxed.to_simplex(0.1 * x)
        after = relaxed.less_entropy(before, entropy)
        assert (after >= 0).all() and after.sum(1) == pytest.approx(1)
        was, now = (1 - (rows**2).sum(1) for rows in (before, after))
        assert (now[was > entropy + 1e-6] < was[was > entropy + 1e-6]).all()
        assert (now == was)[was < entropy - 1e-6].all()
    allowed = np.array([0, 2, 3, 5, 8])
    few = relaxed.sparse(x.astype(np.float32), np.array([1, 2, 3, 99, 0]), allowed)
    assert ((few > 0).sum(1) == [1, 2, 3, 5, 1]).all() and few.sum(1) == pytest.approx(1)
    assert not few[:, [1, 4, 6, 7]].any() and (few.argmax(1) == allowed[x[:, allowed].argmax(1)]).all()


def test_a_sample_without_replacement_follows_the_chances(parts: Any) -> None:
    free = importlib.import_module("methods.gradient_free")
    chances = np.array([0.6, 0.3, 0.08, 0.02])
    drawn = free.sampled(np.tile(np.log(chances), (4000, 1)), 1, np.random.default_rng(0))[:, 0]
    assert np.bincount(drawn, minlength=4) / 4000 == pytest.approx(chances, abs=0.03)
    pairs = free.sampled(np.tile(np.log(chances), (100, 1)), 2, np.random.default_rng(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()


# ------------------------------------------------------------------------------------------------------------
# Other models
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kept_model_of_pretrain_is_asked_like_one_of_our_own(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted = importlib.import_module("oracle.adopted")
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    weights, model = kept_of_pretrain(tmp_path)
    task = parts.prepare.Prompt(Path(), parts.prepare.Options(source=str(weights)), Budget("flops", 1e9))
    task.prepare()
    shutil.rmtree(tmp_path / "lab")  # nothing is read from there any more
    base = task.base("search")
    target, _ = task.drawn(base, "search", "search", 1, 0)
    ids = np.random.default_rng(0).choice(base.allowed, (3, 15))
    row = torch.tensor([[256, *each, *target] for each in ids.tolist()])
    with torch.no_grad():
        logits = model.eval()(row[:, :-1])[:, 15:].transpose(1, 2)
    nats = torch.nn.functional.cross_entropy(logits, row[:, 16:], reduction="none").mean(1)
    np.testing.assert_allclose(base.frozen.losses(ids, target), nats, atol=1e-4)
    assert counted(lambda: base.frozen.losses(ids, target)) == 3 * base.frozen.price("LOSS", 15)
    assert counted(lambda: base.frozen.gradients(ids, target)) == 3 * base.frozen.price("GRAD", 15)
    loss, _, slope = base.frozen.gradients(ids[:1], target)
    np.testing.assert_allclose(loss, nats[:1], atol=1e-4)
    x = np.eye(260, dtype=np.float32)[ids[:1]]
    x[0, 4, 80] += 0.02
    assert base.frozen.gradients(x, target)[0][0] - loss[0] == pytest.approx(0.02 * slope[0, 4, 80], rel=0.2, abs=1e-4)
    assert np.abs(base.frozen.gradients(ids[:1], target, 0.5)[2] - slope).max() > 1e-4
    with pytest.raises(TaskError, match="not in a workspace of pretrain"):
        adopted.make(tmp_path, str(tmp_path / "model.pt"))
