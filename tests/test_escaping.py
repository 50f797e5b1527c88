from __future__ import annotations

import json
import unicodedata
from random import Random

from autoresearch.escaping import excerpt, one_line, printable


def test_terminal_sequences_are_dropped_and_text_stays() -> None:
    assert printable("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b(B") == "red x"
    assert printable("é 日本 🙂\n\tend") == "é 日本 🙂\n\tend"


def test_control_and_direction_characters_are_escaped() -> None:
    assert printable("a\x00b\x9b\u202ec\ud800") == r"a\x00b\x9b\u202ec\ud800"


def test_an_unclosed_title_sequence_does_not_swallow_the_lines_after_it() -> None:
    assert printable("\x1b]0;title\nValueError: shapes") == "\nValueError: shapes"


def test_nothing_that_steers_a_terminal_survives() -> None:
    rng = Random(4)
    alphabet = [chr(c) for c in range(0xA0)] + ["\x1b["] * 20 + ["\u200f", "\u2066", "\ufeff", "\ud834", "é", "日"]
    for _ in range(500):
        text = "".join(rng.choices(alphabet, k=40))
        for char in printable(text):
            assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        line = one_line(text, 30)
        assert len(line) <= 30 and line.isprintable()
        json.dumps(line).encode("utf-8")


def test_one_line_is_cut_with_a_mark_at_its_limit() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 200) == "x" * 200
    assert one_line("x" * 201) == "x" * 199 + "…"


def test_an_excerpt_is_the_last_lines_as_they_were_last_drawn() -> None:
    output = "first\n\n 10%\r 50%\r100%\r\n\n\x1b[1mlast\x1b[0m\tline\n"
    assert excerpt(output, lines=2) == ["100%", "last line"]


def test_a_progress_line_cut_off_after_its_carriage_return_is_kept() -> None:
    assert excerpt("10%\r50%\r") == ["50%"]


def test_an_excerpt_is_bounded() -> None:
    lines = excerpt("\n".join("y" * 10_000 for _ in range(1000)), lines=8, width=160)
    assert [len(line) for line in lines] == [160] * 8
    assert excerpt("") == []
