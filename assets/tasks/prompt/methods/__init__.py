"""Known searches, under the names that compare.py takes. Each is an `optimize(oracle, rng, ...)` as optimizer.py has
one, written from its paper; what a paper does for chat models (templates, behaviours, refusals) is left out.

`optimize` here is what the evaluator calls: `method` names one of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from oracle.client import Oracle

from methods import coordinate, gradient_free, relaxed


@dataclass(frozen=True, slots=True)
class Method:
    """One known search."""

    search: Callable[..., None]
    source: str
    """The paper, or who has published it."""

    def settings(self) -> dict[str, Any]:
        """Its settings and what they are when nothing is said."""
        own = inspect.signature(self.search).parameters.values()
        return {each.name: each.default for each in own if each.kind is each.KEYWORD_ONLY}


METHODS = {
    "random": Method(gradient_free.random_search, "Andriushchenko et al., 2024, arXiv 2404.02151"),
    "beam": Method(gradient_free.beam, "Sadasivan et al., 2024, arXiv 2402.15570 (BEAST)"),
    "gcg": Method(coordinate.gcg, "Zou et al., 2023, arXiv 2307.15043"),
    "mac": Method(coordinate.mac, "Zhang and Wei, 2024, arXiv 2405.01229"),
    "acg": Method(coordinate.acg, "Haize Labs, 2024, Making a SOTA adversarial attack on LLMs 38x faster"),
    "i_gcg": Method(coordinate.i_gcg, "Jia et al., 2024, arXiv 2405.21018; LSGM: Li et al., 2024, arXiv 2405.20778"),
    "tao": Method(coordinate.tao, "TAO-Attack, 2026: its direction-priority token optimisation"),
    "adc": Method(relaxed.adc, "Hu et al., 2024, arXiv 2405.09113"),
    "pgd": Method(relaxed.pgd, "Geisler et al., 2024, arXiv 2402.09154"),
}


def optimize(oracle: Oracle, rng: np.random.Generator, *, method: str, **settings: Any) -> None:
    METHODS[method].search(oracle, rng, **settings)
