"""A session goes on with a fresh locked split: a segment with reads of its own, and the whole gain told on it."""

from __future__ import annotations

import pytest
from lab import Maker

TRAIN = 'cat src/base > "$AUTORESEARCH_RUN_DIR/weights"'

JUDGE = r"""level=$(cat "$AUTORESEARCH_RUN_DIR/weights")
data=$(printf %064d $(sed -n 's/^locked = //p' autoresearch.toml))
value=$(awk -v l=$level -v s=$AUTORESEARCH_SEED 'BEGIN { print (l + (l < 10000) * (s % 3)) / 100 }')
exec > "$AUTORESEARCH_RESULT"
echo "{\"outcome\": \"ok\", \"metrics\": {\"total_ms\": $value},"
echo "\"split\": \"$AUTORESEARCH_SPLIT\", \"manifest\": \"$data\"}"
"""
"""Says by its manifest which locked split it has."""


@pytest.mark.slow
def test_the_whole_gain_is_confirmed_on_a_fresh_split_whose_first_read_costs_nothing(make_lab: Maker) -> None:
    lab = make_lab(run={"command": TRAIN, "evaluate": JUDGE})
    lab.write("autoresearch.toml", (lab.root / "autoresearch.toml").read_text() + "\n[options]\nlocked = 0\n")
    lab.commit()
    assert lab.call("segment").code == 0 and lab.call("baseline").code == 0
    first = lab.session.baseline
    lab.write("src/base", "9000\n")
    assert lab.call("try", "-m", "a gain", "--json").json["status"] == "keep"
    best = lab.session.best
    assert first is not None and best is not None
    before = lab.call("confirm", "--seeds", "2", "--json").json
    assert before["locked_uses"] == 1 and lab.session.locked[0].pairs

    lab.git("checkout", f"{first.commit}", "--", "src")
    lab.write("autoresearch.toml", (lab.root / "autoresearch.toml").read_text().replace("locked = 0", "locked = 1"))
    lab.commit("a fresh locked split")
    assert lab.call("segment").code == 0 and lab.call("baseline").code == 0
    lab.git("checkout", f"{best.commit}", "--", "src")
    assert lab.call("try", "-m", "the best of the segment before", "--json").json["status"] == "keep"
    view = lab.call("confirm", "--seeds", "2", "--json").json
    assert (view["locked_uses"], view["lowered"], view["holds"]) == (1, 0, True)
    assert view["gain"] == pytest.approx(before["gain"], abs=0.03) and view["gain"] > 9
