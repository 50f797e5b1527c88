from __future__ import annotations

import pytest

from autoresearch.experiments.code_fingerprint import code_size, fingerprint, syntax_error

CODE = b"""
def f(x):
    '''Says what it does.'''
    return x * 2


class A:
    pass
"""


def same(a: bytes, b: bytes, path: str = "train.py") -> bool:
    return fingerprint({path: a}) == fingerprint({path: b})


@pytest.mark.parametrize(
    "other",
    [
        b"def f(x): return x*2\nclass A: pass",
        b"# a comment\ndef f(x):\n  return (x * 2)  # another\n\n\nclass A:\n  '''Doc.'''\n",
        b"'''Module doc.'''\r\ndef f(x):\r\n    return x * 2\r\nclass A:\r\n    pass\r\n",
    ],
)
def test_comments_spacing_and_docstrings_are_not_an_idea(other: bytes) -> None:
    assert same(CODE, other)


@pytest.mark.parametrize(
    ("old", "new"), [(b"x * 2", b"x * 3"), (b"x * 2", b"x * 2.0"), (b"def f(x)", b"def f(y)"), (b"pass", b"a = 1")]
)
def test_a_change_of_code_is(old: bytes, new: bytes) -> None:
    assert not same(CODE, CODE.replace(old, new))


def test_a_string_that_is_not_a_docstring_counts() -> None:
    assert not same(b"x = 'a'", b"x = 'b'")


def test_names_and_borders_of_files_count() -> None:
    assert fingerprint({"a.py": b"x=1"}) != fingerprint({"b.py": b"x=1"})
    assert fingerprint({"a": b"1\n2", "b": b""}) != fingerprint({"a": b"1", "b": b"2"})
    assert fingerprint({"a": b"1", "b": b"2"}) == fingerprint({"b": b"2", "a": b"1"})


def test_other_text_is_compared_without_trailing_blanks_but_with_its_indentation() -> None:
    assert same(b"a:\n  b: 1  \n\n", b"a:\n  b: 1", "c.yaml")
    assert not same(b"a:\n  b: 1", b"a:\nb: 1", "c.yaml")
    assert not same(b"a # 1", b"a # 2", "c.yaml")


def test_what_is_not_text_is_compared_byte_by_byte() -> None:
    assert not same(b"\xff\x00 \n", b"\xff\x00\n", "w.bin")


DEEP = b"-" * 100_000 + b"1"
LONG = b"x" + b".a" * 100_000


@pytest.mark.parametrize("broken", [b"def f(:", b"x = \x00", DEEP, LONG])
def test_python_that_does_not_parse_still_has_a_fingerprint_and_a_size(broken: bytes) -> None:
    assert same(broken, broken + b"  \n\n")
    assert not same(broken, broken + b"2")
    assert code_size({"train.py": broken}) >= 1


def test_a_path_that_is_not_utf8_has_a_fingerprint() -> None:
    assert fingerprint({"caf\udce9.py": b"x=1"}) != fingerprint({"café.py": b"x=1"})


def test_size_ignores_comments_and_falls_when_code_is_removed() -> None:
    assert code_size({"a.py": CODE}) == code_size({"a.py": b"# words words words\n" + CODE})
    assert code_size({"a.py": CODE.replace(b" * 2", b"")}) < code_size({"a.py": CODE})
    assert code_size({"a.txt": b"three short words"}) == 3


def test_a_syntax_error_is_named_with_its_line() -> None:
    assert syntax_error("train.py", CODE) is None
    assert (syntax_error("train.py", b"x = 1\ny = (\n") or "").startswith("train.py line 2: ")
    assert (syntax_error("train.py", b"x = '\x00'") or "").startswith("train.py")
    assert syntax_error("notes.txt", b"x = (") is None
    assert syntax_error("train.py", b"# -*- coding: latin-1 -*-\nx = '\xe9'") is None


@pytest.mark.parametrize("nested", [DEEP, LONG])
def test_code_that_the_parser_cannot_take_is_a_message_and_not_a_crash(nested: bytes) -> None:
    error = syntax_error("train.py", nested)
    assert error is None or error.startswith("train.py: ")
