"""The second process's places, and what is made of its answers. No model here: numbers."""

from __future__ import annotations

import numpy as np
import pytest
from harness import probes
from harness.errors import Verdict
from harness.probes import check_contamination, correction, draw_prefixes, fill_up, turns

RNG = np.random.default_rng(5)


def test_places_are_spread_over_the_length_of_the_rows_and_never_those_that_are_not_scored() -> None:
    scored = RNG.random((40, 64)) < 0.8
    drawn = draw_prefixes(scored, 512)
    assert len(drawn.rows) == 512
    assert scored[drawn.rows, drawn.places].all()
    counts = np.histogram(drawn.places, bins=8, range=(0, 64))[0]
    assert counts.min() > 40  # 64 each, but for what is not scored
    again = draw_prefixes(scored, 512)
    assert (again.rows != drawn.rows).any()
    assert len(draw_prefixes(np.ones((2, 3), bool), 512).rows) == 6


def test_a_prefix_keeps_its_row_up_to_its_place_and_is_filled_up_with_nothing_else() -> None:
    inputs = np.arange(60).reshape(6, 10)
    drawn = draw_prefixes(np.ones((6, 10), bool), 60)
    filled = fill_up(drawn, inputs)
    for row, place, found in zip(drawn.rows, drawn.places, filled, strict=True):
        assert found[: place + 1].tolist() == inputs[row, : place + 1].tolist()
        assert {*found.tolist()} <= {*inputs[row, : place + 1].tolist()}


@pytest.mark.parametrize(
    ("rows", "length", "count"), [(128, 64, 1024), (5, 16, 80), (1, 9, 4), (3000, 16, 500), (3, 3, 0)]
)
def test_nothing_that_the_second_process_was_shown_says_what_follows(rows: int, length: int, count: int) -> None:
    inputs = np.arange(rows * (length + 1)).reshape(rows, length + 1)  # no token comes twice
    drawn = draw_prefixes(np.ones((rows, length), bool), count)
    filled, shown, asked = fill_up(drawn, inputs[:, :-1]), set[int](), []
    for turn in turns(drawn):
        assert len({*drawn.rows[turn]}) == len(turn)
        shown |= {*filled[turn].ravel().tolist()}  # all requests of a turn, whatever their size
        assert not shown & {*inputs[drawn.rows[turn], drawn.places[turn] + 1].tolist()}
        asked += turn.tolist()
    assert sorted(asked) == [*range(count)]


def test_agreement_to_rounding_adds_nothing() -> None:
    whole = RNG.random(1000) * 9
    assert correction(whole, whole + 1e-6 * RNG.standard_normal(1000)) == 0.0


def test_one_place_that_differs_is_found() -> None:
    whole = RNG.random(1000) * 9
    prefix = whole.copy()
    prefix[77] += 0.002
    with pytest.raises(Verdict, match=r"up to 0\.002 nats, at 0\.1 % of 1000 places") as refused:
        correction(whole, prefix)
    assert refused.value.outcome == "tampered"


def test_a_small_gain_everywhere_is_found_although_no_place_shows_it() -> None:
    whole = RNG.random(1000) * 9
    with pytest.raises(Verdict, match="nats a token better"):
        correction(whole, whole + 0.0005 + 1e-4 * RNG.standard_normal(1000))


def test_what_chance_may_do_is_added_to_the_score() -> None:
    whole = RNG.random(1000) * 9
    noise = 2e-4 * RNG.standard_normal(1000)
    noise += 2e-5 - noise.mean()
    assert correction(whole, whole + noise) == pytest.approx(2e-5)


def test_a_number_that_is_none_is_no_agreement() -> None:
    with pytest.raises(Verdict, match="more than the tokens before it"):
        correction(np.zeros(3), np.array([0.0, np.nan, 0.0]))


def documents(mean: float, count: int = 60) -> np.ndarray:
    size = RNG.integers(200, 900, count).astype(float)
    return np.stack((size * (mean + 0.1 * RNG.standard_normal(count)), size), 1)


def test_a_split_that_was_seen_is_much_easier_than_other_held_out_text() -> None:
    for _ in range(20):
        check_contamination(documents(1.5), documents(1.5))
    check_contamination(documents(1.9), documents(1.5))  # harder is no sign of anything
    with pytest.raises(Verdict, match="easier than other held-out text"):
        check_contamination(documents(1.3), documents(1.5))
    check_contamination(documents(0.1, probes.FEWEST_DOCUMENTS - 1), documents(1.5))  # too few to tell
