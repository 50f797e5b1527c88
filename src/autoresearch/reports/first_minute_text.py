"""The lines of `doctor --gpu`, of what `first_minute.measured` has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autoresearch import __version__

Found = Mapping[str, Any]

DEVICES = {"cuda": "the GPU", "rocm": "the GPU", "mps": "Apple's GPU", "cpu": "the processor"}

SLOW_TOGETHER = 0.8
"""Of the speed of one alone, what processes that share a device should reach in sum."""


def report(found: Found) -> list[str]:
    """Return the whole report, a line each; the last is the verdict."""
    rows = [("report", f"doctor --gpu of autoresearch {__version__}")]
    for name, lines in (("card", _card), ("products", _products), ("kernels", _kernels), ("compiler", _compiler),
                        ("step", _step), ("memory", _handed_over), ("together", _together)):  # fmt: skip
        if "error" in found[name] and name != "memory":
            rows.append((name, f"failed ({found[name]['error']})"))
        else:
            rows += lines(found)
    rows += [("problem", text) for text in problems(found)]
    rows.append(("verdict", verdict(found)))
    return [f"{name:<13}{text}" for name, text in rows]


def problems(found: Found) -> list[str]:
    """Return what keeps the device from being used as it could be, a line each."""
    told = [*found["card"].get("problems", ())]
    kernels = found["kernels"].get("paths", {})
    taken = kernels.get(found["kernels"].get("taken"), {})
    if "error" in taken or taken.get("agrees") is False:
        why = taken.get("error", "all are off")
        told.append(f"no way to compute attention gives what a masked softmax gives: {why}")
    both, alone = found["together"].get("tokens_a_second"), found["step"].get("tokens_a_second")
    if both and alone and sum(both) < SLOW_TOGETHER * alone:
        told.append(
            f"{len(both)} processes at once reach {sum(both) / alone:.2f} of the speed of one: run one at a time"
        )
    return told


def usable(found: Found) -> bool:
    """Whether a run would work: the task's own step does."""
    return "error" not in found["step"]


def verdict(found: Found) -> str:
    """Return what runs will use here, in one line."""
    step = found["step"]
    if not usable(found):
        return f"runs of the pretrain task do not work here: {step['error']}"
    kind = DEVICES.get(found["card"].get("kind"), "the device")
    how = ", ".join([step["dtype"], "compiled" if step["compiles"] else "eager", f"attention {step['attention']}"])
    size = f"profile {step['profile']}: {step['layers']} layers x {step['width']}"
    parts = "1 part" if step["parts"] == 1 else f"{step['parts']} parts"
    steps = f", {step['budget_s'] / step['step_s']:,.0f} steps in {step['budget_s']:g} s" if step["budget_s"] else ""
    return f"runs use {kind}; {size}, {step['batch_rows']} rows a step in {parts}; {how}{steps}"


def _card(found: Found) -> Iterator[tuple[str, str]]:
    card = found["card"]
    more = [f"capability {card['capability']}"] if "capability" in card else []
    if card["kind"] == "cpu":
        bf16 = "with" if card["bf16_instructions"] else "without"
        more = [f"{card['cores']} cores, {card['threads']} threads, {card['vectors']} {bf16} bfloat16"]
    free = f" ({card['free_gb']:g} free)" if "free_gb" in card else ""
    count = f"{card['devices']} x " if card.get("devices", 1) > 1 else ""
    yield "device", ", ".join([f"{count}{card['device']}", *more, f"{card['memory_gb']:g} GB{free}"])
    driver = f", driver {card['driver']}" if card.get("driver") else ""
    archs = f" ({' '.join(card['archs'])})" if card.get("archs") else ""
    yield "torch", f"{card['torch']}, built for {card['built_for']}{archs}{driver}; Python {card['python']}"
    yield "system", card["system"]
    limits = (found["products"].get("under_load") or card.get("limits")) if card["kind"] != "cpu" else None
    if limits:
        yield "limits", _limits(limits, "under load" if found["products"].get("under_load") else "at rest")


def _limits(limits: Found, when: str) -> str:
    shown = []
    for name, unit, word in (("power", "W", "power limit"), ("clock", "MHz", f"clock {when}")):
        now, most = (limits.get(f"{name}{part}_{unit.lower()}") for part in ("", "_most"))
        told = "not told" if now is None else f"{now:g}"
        shown.append(f"{word} {told} of {'?' if most is None else f'{most:g}'} {unit}")
    celsius = limits.get("celsius")
    return ", ".join([*shown, *([f"{celsius:g} degrees C"] if celsius is not None else [])])


def _products(found: Found) -> Iterator[tuple[str, str]]:
    own = found["products"]
    peak, speeds = own["peak_tflops"], own["tflops"]
    best = max(speeds.values(), default=None)
    shown = []
    for name, speed in speeds.items():
        part = f" ({100 * speed / peak:.0f} % of the data sheet)" if peak and name in ("bfloat16", "float16") else ""
        shown.append(f"{name} {number(speed)}{part}")
    shown += [f"{name} fails ({why})" for name, why in own["errors"].items()]
    yield "products", f"{', '.join(shown)} TFLOP/s at {own['square']} x {own['square']}; runs use {own['used']}"
    if best and own["used"] in speeds and speeds[own["used"]] < 0.5 * best:
        fastest = max(speeds, key=speeds.__getitem__)
        yield "", f"{fastest} is {best / speeds[own['used']]:.1f} times as fast here as what runs use"
    one = own.get("one_thread_tflops")
    if one and "float32" in speeds:
        yield "threads", f"all together {speeds['float32'] / one:.2f} times as fast as one"
    shapes = [f"{name} {number(s) if not isinstance(s, str) else s}" for name, s in own["shapes"].items()]
    copy = f"; copies {own['copy_gb_per_s']:,.0f} GB/s" if own["copy_gb_per_s"] else ""
    yield "shapes", f"{', '.join(shapes)} TFLOP/s{copy}"


def _kernels(found: Found) -> Iterator[tuple[str, str]]:
    own = found["kernels"]
    for place, (name, path) in enumerate(own["paths"].items()):
        if "error" in path:
            text = f"does not run ({path['error']})"
        else:
            off = "" if path["agrees"] else ", which is not rounding"
            text = f"off by {number(path['output'])}, gradients by {number(path['gradient'])}{off}"
            text += "".join(f"; {number(ms)} ms at window {window}" for window, ms in path.get("ms", {}).items())
        used = "  <- runs use this" if name == own["taken"] else ""
        yield "attention" if place == 0 else "", f"{name:<12}{text}{used}"


def _compiler(found: Found) -> Iterator[tuple[str, str]]:
    own = found["compiler"]
    used = "runs use it" if own["used"] else "runs do not use it here"
    yield "compiler", f"{own['compile_s']:.1f} s for one layer, {own['gain']:.2f} times as fast; {used}"


def _step(found: Found) -> Iterator[tuple[str, str]]:
    step = found["step"]
    fast = max(found["products"].get("tflops", {}).values(), default=None)
    told = [f"MFU {step['mfu']:.1f} %"] if step["mfu"] else []
    told += [f"{100 * step['tflops'] / fast:.0f} % of the fastest product"] if fast else []
    yield "step", (f"the first after {step['first_s']:.1f} s, then {1e3 * step['step_s']:,.0f} ms: "
                   + ", ".join([f"{step['tokens_a_second'] / 1e3:,.1f} k tokens/s", *told]))  # fmt: skip
    expected, took = step["estimated_mb"], step["measured_mb"]
    how = "checkpointed" if step["checkpointed"] else "without checkpoints"
    yield "memory", (f"{expected:,.0f} MB expected, {took:,.0f} MB taken ({100 * took / expected:.0f} %), "
                     f"{step['rows']} rows at a time {how}")  # fmt: skip


def _handed_over(found: Found) -> Iterator[tuple[str, str]]:
    own = found["memory"]
    if own.get("works") is not None:
        works = "work" if own["works"] else f"do not work ({own['error']}): logits go through the machine's memory"
        yield "blocks", f"of device memory between processes {works}"
    elif "error" in own:
        yield "blocks", f"of device memory between processes: not known ({own['error']})"


def _together(found: Found) -> Iterator[tuple[str, str]]:
    both, alone = found["together"]["tokens_a_second"], found["step"].get("tokens_a_second")
    if alone:
        each = " and ".join(f"{speed / alone:.2f}" for speed in both)
        yield "together", f"{len(both)} processes at once: {each} of the speed of one alone"


def number(value: float | None) -> str:
    """Return three digits of a number; what was not finite was no number."""
    return "not finite" if value is None else f"{value:.3g}"
