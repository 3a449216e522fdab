"""The check of a rule when it is loaded: instances of its own pattern are replaced, and types must agree.

What fails for reasons of sizes (a block of the replacement that asks for more than the pattern says) is left to the
sites; what can't be right at any is a fault of the rule: another type, an unknown name, weights that are not accounted
for.
"""

from __future__ import annotations

from random import Random
from typing import Final

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.rewrite.draw import Undrawable, draw
from archgraph.rewrite.match import Matcher
from archgraph.rewrite.rule import Rule
from archgraph.rewrite.site import Refused, TypeDiffers, complete, replaced
from archgraph.rewrite.weights import WeightFault
from archgraph.spec.frame import Session

__all__ = ["check_rule"]

INSTANCES: Final = 4
_CERTAIN: Final = ("name/unknown", "attr/unknown", "attr/missing")


def check_rule(rule: Rule) -> None:
    """Try a rule on a few instances of its pattern.

    Raises
    ------
    SpecError
        Where a replacement has another type, names what is not there, or loses weights.
    """
    if rule.context:
        return  # an instance has no surroundings
    session = Session()
    for seed in range(INSTANCES):
        try:
            instance = draw(rule, Random(seed), session)
        except Undrawable:
            return  # the sites decide
        matches = Matcher(rule.pattern, session).find(instance.graph)
        if not matches:
            continue
        match = matches[-1]
        numbers = dict.fromkeys(rule.where.captures, 0)
        env = dict(match.env)
        sizes = ", ".join(f"{n} = {v}" for n, v in sorted(match.env.items()) if isinstance(v, int))
        try:
            complete(rule, env, instance.settings, numbers, {})
            replaced(rule, instance.graph, match, env, session)
        except TypeDiffers as error:
            hint = f"found for {sizes}" if sizes else None
            raise SpecError(Diagnostic("rule/type", rule.span("replace"), error.reason, hint=hint)) from error
        except WeightFault as error:
            at = rule.weights.spans.get(error.key) or rule.span("weights")
            raise SpecError(Diagnostic("rule/weights", at, error.reason)) from error
        except Refused:
            continue
        except SpecError as error:
            if any(d.code in _CERTAIN for d in error.diagnostics):
                raise
