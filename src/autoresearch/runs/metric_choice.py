"""Where a metric comes from, chosen from what a trial run has shown: the only place of its name, or none."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autoresearch.errors import PreconditionError
from autoresearch.escaping import one_line
from autoresearch.metrics import MetricError
from autoresearch.runs.candidates import Candidate
from autoresearch.runs.probe import Probe
from autoresearch.runs.reported import matches, number_of
from autoresearch.workspace.init_options import InitOptions, command_line
from autoresearch.workspace.metric_names import canonical, direction_of
from autoresearch.workspace.metric_source import Source

FEW = 3
"""Candidates that a refusal names."""
MOST = 12
"""Candidates that are listed before one, a line each."""


def chosen(probe: Probe, options: InitOptions) -> tuple[InitOptions, Candidate]:
    """Return the options with the place of the metric, and what was found there.

    Raises `PreconditionError` when the command failed, when no metric is named, when nothing has the name, and when two
    places could be meant: a wrong number is worse than none.
    """
    options = replace(options, link=tuple(dict.fromkeys([*options.link, *probe.links])))
    if probe.failed:
        without = command_line(options, "--no-probe")
        raise PreconditionError(f"the trial run failed: {probe.failed}", f"correct it, or go without one: {without}")
    if options.metric is None:
        names = [each.name for each in probe.candidates]
        count, one = len(names), names[0] if len(names) == 1 else "NAME"
        were = " with a name was" if count == 1 else "s with a name were"
        what = f"no metric was named, and {count or 'no'} number{were} found"
        raise PreconditionError(what, f"choose one: {command_line(replace(options, metric=one))}")
    name = options.metric
    found = [*_of_name(probe.candidates, name)]
    if not found:
        near = [each for each in probe.candidates if {*canonical(name).split("_")} & {*canonical(each.name).split("_")}]
        told = f"; near it: {_few([f'{each.name} ({_value(each)})' for each in near])}" if near else ""
        until = f" in {probe.seconds:.0f} s" if probe.cut else ""
        fix = f"print METRIC {name}=number, or say where it is: {command_line(options, '--pattern', 'REGEX')}"
        raise PreconditionError(f"the command printed and wrote nothing that is called {name}{until}{told}", fix)
    if len(found) > 1 or found[0].row or found[0].value is None:
        if found[0].value is None:
            what = f"{name} is no number at the end: {one_line(found[0].line, 120)}"
        elif len(found) > 1:
            what = f"{len(found)} places could be meant by {name}: {_few([*map(_place, found)])}"
        else:
            what = f"{name} has more than one number behind it: {_place(found[0])}"
        first = command_line(_with(options, found[0]))
        raise PreconditionError(what, f"say which, as this does for the first: {first}")
    taken = _with(options, found[0])
    _check(probe, taken, found[0])
    return taken, found[0]


def places_of(probe: Probe, options: InitOptions) -> list[str]:
    """Return, where more than one place could be meant, a line for each with the options that name it; else none."""
    found = [*_of_name(probe.candidates, options.metric)] if options.metric is not None and not probe.failed else []
    if len(found) < 2:
        return []
    lines = []
    for each in found[:MOST]:
        words = ["--metric", options.metric or each.name, *each.options]
        if canonical(each.name) != canonical(options.metric or "") and each.options[:1] != ("--file",):
            words = ["--metric", each.name]
        lines.append(f"place      {_place(each)}: {shlex.join(words)}")
    return lines + ([f"           and {len(found) - MOST} more"] if len(found) > MOST else [])


def lines_of(candidates: Sequence[Candidate], most: int = 40) -> list[str]:
    """Return what was found as lines: name, value, where and how often."""
    lines = []
    for each in candidates[:most]:
        value = f"{each.value:.6g}{each.unit}" if each.value is not None else one_line(each.text, 20)
        way = direction_of(each.name)
        often = f", {each.count} lines" if each.count > 1 else ""
        known = f", {way} is better" if way else ""
        lines.append(f"  {each.name:<24} {value:>12}  {each.where}{often}{known}: {one_line(each.line, 90)}")
    return lines + ([f"  and {len(candidates) - most} more"] if len(candidates) > most else [])


def _of_name(candidates: Sequence[Candidate], name: str) -> Iterator[Candidate]:
    """Yield the places of a name: METRIC lines of just that name, which are meant for it, or all that are called so."""
    exact = [each for each in candidates if each.metric and each.name == name]
    if exact:
        yield exact[0]
        return
    wanted = canonical(name)
    for each in candidates:
        last = each.name.rpartition(".")[2] if each.options[:1] == ("--file",) else each.name
        if wanted in (canonical(each.name), canonical(last)):
            yield each


def _with(options: InitOptions, found: Candidate) -> InitOptions:
    given = dict(zip(found.options[::2], found.options[1::2], strict=True))
    return replace(
        options, pattern=given.get("--pattern"), stream=given.get("--stream"), file=given.get("--file"),
        key=given.get("--key"), unit=options.unit or found.unit or None,
    )  # fmt: skip


def _check(probe: Probe, taken: InitOptions, found: Candidate) -> None:
    """Raise `PreconditionError` unless the pattern that was made finds, in all that was printed, what was found."""
    if taken.pattern is None:
        return
    source = Source.model_validate({"pattern": taken.pattern, "stream": taken.stream, "unit": taken.unit or ""})
    try:
        value = number_of(source, matches(probe.streams, [taken.pattern])[0])
        if value == found.value:
            return
        problem = f"the pattern finds {value:g}, the last line has {found.value:g}"
    except MetricError as error:
        problem = str(error)
    fix = f"say where it is: {command_line(replace(taken, pattern='REGEX', stream=None))}"
    raise PreconditionError(f"{taken.metric} cannot be told from other lines: {problem}", fix)


def _place(each: Candidate) -> str:
    """Return the number of a place, and where it is, in a few words."""
    return f"{_value(each)} in {each.where} ({one_line(each.line, 50)})"


def _value(each: Candidate) -> str:
    return f"{each.value:.6g}" if each.value is not None else one_line(each.text, 20)


def _few(told: Sequence[str]) -> str:
    more = f" and {len(told) - FEW} more" if len(told) > FEW else ""
    return ", ".join(told[:FEW]) + more
