"""What luck may cost: how much of alpha each look at a candidate spends.

Constant: each candidate that reaches its pairs has `alpha` to itself. Budget: with `night_alpha` the whole session has
one, and whenever it stops the chance that it kept any change without effect is at most that. It is online control of
the familywise error rate by alpha spending (Foster and Stine 2008, J. R. Statist. Soc. B 70, 429, without the payout
for a rejection; Tian and Ramdas 2021, Stat. Methods Med. Res. 30, 976): a candidate may spend the part `SHARE` of what
is left, and only the looks that were made are paid for, since each looks at runs that nothing before depends on.
"""

from __future__ import annotations

from autoresearch.statistics.rules import Rules

SHARE = 0.12
"""The part of what is left of the budget that one candidate may spend on all its looks."""


def alpha_at(look: int, rules: Rules, spent: float = 0.0) -> float:
    """Return the part of alpha that a look may spend, from 1 to `rules.seeds`; the parts add up to the candidate's.

    Little is spent early, as O'Brien and Fleming (1979) do: the spent part grows with the square of the looks. Taking
    the looks for independent, which they are not, errs on the safe side. `spent` is what the session's earlier
    experiments have spent of a budget.
    """
    whole = rules.alpha
    if rules.night_alpha is not None:
        whole = SHARE * max(0.0, rules.night_alpha - spent)
    return whole * (2 * look - 1) / rules.seeds**2


def spent_on(looks: int, rules: Rules, spent: float = 0.0) -> float:
    """Return what this many looks at one candidate have spent."""
    return sum(alpha_at(look, rules, spent) for look in range(1, looks + 1))


def chance_of_luck(rules: Rules, spent: float = 0.0) -> float | None:
    """Return how likely a change without effect is kept at most; None where one noisy run decides, which bounds
    nothing."""
    if rules.exact:
        return 0.0
    return None if rules.policy == "greedy" else spent_on(rules.seeds, rules, spent)
