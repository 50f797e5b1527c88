"""Problems whose answer is one whole number: where they come from, how solutions are written, and which are right.

arithmetic   sums such as 7-12+5=, drawn by set-up. A solution has the result behind each sign, one a line; the last
             is the answer. Most solutions that are shown to the base are careless: they take each minus as a plus
gsm8k        openai/gsm8k of the hub; a solution ends with a line `#### answer`
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from harness.fetch import fetch_from_hub, whole_parquet
from harness.files import cache_dir
from harness.text.documents import split_of
from harness.text.tokenizer import Tokenizer

SOURCES = ("arithmetic", "gsm8k")
WORDS = re.compile(r"(?<=\d)[+-]|-?\d+|[=\n]")
"""Of a sum and of its solution: a sign behind a number, a number, and what ends a sum or a line."""

GSM8K = "openai/gsm8k"
OFFLINE = "take the problems that set-up makes: --source arithmetic"

CARELESS, LONGER = 0.6, 0.1
"""Parts of the sums that the base is shown: careless ones, and such as have a number more than the others."""

HELD_OUT = 0.1
"""Part of the training problems of GSM8K that is held out for `search`, by their hash; half as much for `control`."""

LAST_LINE = {"arithmetic": re.compile(r"(-?(?:0|[1-9]\d*))"), "gsm8k": re.compile(r"#### (-?\d[\d,]*)")}
"""What the whole last line of a right solution looks like."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, with a solution to show where it is one to learn from."""

    split: str  # train, search, locked, control; shown: for the base alone
    question: str
    answer: int
    solution: str


class Writing:
    """Which text the ids stand for: `begin` comes before a problem, `end` behind a solution."""

    def __init__(self, pieces: list[bytes], tokenizer: Tokenizer | None = None) -> None:
        """`pieces`: the text of each id but the last two, which are `begin` and `end`. Without a tokenizer they are
        WORDS."""
        self.pieces, self.tokenizer = pieces, tokenizer
        self.begin, self.end = len(pieces), len(pieces) + 1
        self.ids = {piece.decode(): number for number, piece in enumerate(pieces)} if tokenizer is None else {}

    @property
    def vocab(self) -> int:
        return len(self.pieces) + 2

    def write(self, text: str) -> list[int]:
        if self.tokenizer is not None:
            return [int(number) for number in self.tokenizer.encode(text)[1:]]
        return [self.ids[word] for word in WORDS.findall(text)]

    def read(self, ids: np.ndarray) -> str | None:
        """The text before the first `end`; None where there is no end, or what is no text before it."""
        stops = np.flatnonzero(ids == self.end)
        if not len(stops) or not ((ids[: stops[0]] >= 0) & (ids[: stops[0]] < self.begin)).all():
            return None
        return b"".join(self.pieces[number] for number in ids[: stops[0]]).decode("utf-8", "replace")


def fitting(
    problems: list[Problem], writing: Writing, longest: int, completion: int
) -> list[tuple[Problem, list[int], list[int]]]:
    """The problems whose prompts have at most `longest` tokens and whose solutions, with their ends, at most
    `completion`; and both as ids."""
    written = [(each, [writing.begin, *writing.write(each.question)], [*writing.write(each.solution), writing.end])
               for each in problems]  # fmt: skip
    return [(each, asked, own) for each, asked, own in written if len(asked) <= longest and len(own) <= completion]


def prompts(problems: list[Problem], writing: Writing, longest: int, completion: int) -> dict[str, np.ndarray]:
    """Of problems that fit: `ids` uint16 [N, longest], filled up with the end, their `lengths`, and the `answers`."""
    kept = fitting(problems, writing, longest, completion)
    ids = np.full((len(kept), longest), writing.end, np.uint16)
    for row, (_, asked, _) in zip(ids, kept, strict=True):
        row[: len(asked)] = asked
    lengths, answers = ([len(asked) for _, asked, _ in kept], [each.answer for each, _, _ in kept])
    return {"ids": ids, "lengths": np.array(lengths, np.int64), "answers": np.array(answers, np.int64)}


def solutions(problems: list[Problem], writing: Writing, longest: int, completion: int) -> dict[str, np.ndarray]:
    """The same with their solutions: `ids` uint16 [N, longest + completion + 1], and `span` int64 [N, 2], where the
    solution begins and ends."""
    kept = fitting(problems, writing, longest, completion)
    ids = np.full((len(kept), longest + completion + 1), writing.end, np.uint16)
    for row, (_, asked, own) in zip(ids, kept, strict=True):
        row[: len(asked) + len(own)] = asked + own
    return {"ids": ids, "span": np.array([(len(asked), len(asked) + len(own)) for _, asked, own in kept], np.int64)}


def is_right(source: str, solution: str | None, answer: int) -> bool:
    """Whether a solution came to its end and its whole last line is the answer."""
    return solution is not None and bool(answer_of(source, solution) == answer)


def answer_of(source: str, solution: str) -> int | None:
    """The answer of a solution; None unless its whole last line gives one."""
    found = LAST_LINE[source].fullmatch(solution.rpartition("\n")[2])
    digits = found[1].replace(",", "") if found else ""
    return int(digits) if digits and len(digits) < 18 else None


# ------------------------------------------------------------------------------------------------------------
# Arithmetic
# ------------------------------------------------------------------------------------------------------------


def arithmetic(numbers: tuple[int, ...], below: int, train: int, held_out: int) -> tuple[list[Problem], Writing]:
    """Sums of as many `numbers` below a bound: so many to train on, and for `search` and `locked`; half of the locked
    ones have a number more than the most. Chance, not a seed, makes them, so that nobody can draw them again."""
    rng, half, longest = np.random.default_rng(secrets.randbits(128)), held_out // 2, max(numbers) + 1
    counts = {"train": train, "search": held_out, "control": half, "locked": half}
    found = list(sums(rng, counts, numbers, below))
    found += sums(rng, {"locked": held_out - half, "shown": int(LONGER * train)}, (longest,), below)
    return found, Writing(alphabet(rng, longest, below))


def alphabet(rng: np.random.Generator, longest: int, below: int) -> list[bytes]:
    """The words of sums of at most so many numbers below a bound, in a secret order: a trainer sees ids, and computes
    nothing that it was not told."""
    most = (below - 1) * longest
    words = [*map(str, range(below - 1 - most, most + 1)), "+", "-", "=", "\n"]
    return [words[place].encode() for place in rng.permutation(len(words))]


def sums(rng: np.random.Generator, counts: dict[str, int], numbers: tuple[int, ...], below: int) -> Iterator[Problem]:
    """So many problems of each split, all different, of as many `numbers` below a bound."""
    seen = set[str]()
    for split, count in counts.items():
        for _ in range(count):
            while (question := a_sum(rng, int(rng.choice(numbers)), below)) in seen:
                pass
            seen.add(question)
            shown = results(question.replace("-", "+") if rng.random() < CARELESS else question)
            yield Problem(split, question, results(question)[-1], "\n".join(map(str, shown)))


def a_sum(rng: np.random.Generator, numbers: int, below: int) -> str:
    terms, signs = rng.integers(0, below, numbers), rng.choice(["+", "-"], numbers - 1)
    return f"{terms[0]}" + "".join(f"{sign}{term}" for sign, term in zip(signs, terms[1:], strict=True)) + "="


def results(question: str) -> list[int]:
    """The result behind each sign of a sum."""
    terms = [int(term) for term in re.findall(r"[+-]?\d+", question)]
    return [int(result) for result in np.cumsum(terms)[1:]]


# ------------------------------------------------------------------------------------------------------------
# GSM8K
# ------------------------------------------------------------------------------------------------------------


def gsm8k(workers: int, vocab: int) -> tuple[list[Problem], Writing]:
    """Its problems, and how they are written: with a tokenizer that is learned from the training problems."""
    found = list(gsm8k_problems(workers))
    tokenizer = Tokenizer.train((f"{each.question}\n{each.solution}" for each in found if each.split == "train"), vocab)
    return found, Writing(tokenizer.tokens, tokenizer)


def gsm8k_problems(workers: int) -> Iterator[Problem]:
    """Its problems (Cobbe et al., 2021), fetched unless they are in the cache. The test set is `locked`; `search` and
    `control` are taken out of the training set by the hash of the question. Raises TaskError."""
    import pyarrow.parquet as pq

    folder = cache_dir() / "gsm8k"
    paths = {name: folder / "main" / f"{name}-00000-of-00001.parquet" for name in ("train", "test")}
    fetch_from_hub(GSM8K, [*paths.values()], folder, workers, whole_parquet, OFFLINE)
    seen = set[str]()
    for name in ("test", "train"):
        table = pq.read_table(paths[name], columns=["question", "answer"])
        for question, solution in zip(table["question"].to_pylist(), table["answer"].to_pylist(), strict=True):
            # Its `<<48/2=24>>` are calls of a calculator, which there is none of here.
            solution = re.sub(r"<<[^>]*>>", "", solution).strip()
            answer = answer_of("gsm8k", solution)
            if question in seen or answer is None:
                continue
            seen.add(question)
            split = "locked" if name == "test" else split_of(question.encode(), HELD_OUT)
            yield Problem("train" if name == "train" and split == "locked" else split, question, answer, solution)
