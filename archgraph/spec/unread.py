"""Values that nobody reads, and nodes that do not say what they take."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from archgraph.ir.diagnostics import Collector
from archgraph.spec.loops import LoopPlan
from archgraph.spec.model import Block
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_forms import FormulaPlan, GroupPlan, ListPlan, SwitchPlan, ValuePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_share import SharePlan
from archgraph.spec.yaml import YMap, span_of


def check_read(block: Block, raw: YMap, faults: Collector) -> None:
    """A value that nobody reads is a mistake, unless it is marked ``unused``."""
    plan = block.plan
    assert plan is not None
    _check_items(
        plan.items, plan.outputs is None, frozenset().union(*(o.ref.refs for o in plan.outputs or ())), raw, faults
    )


def check_sources(block: Block, raw: YMap, faults: Collector) -> None:
    """A node without ``in`` takes the value above, and must mean it where that is a parameter or the like."""
    assert block.plan is not None
    items = block.plan.items
    for (above, plan), (name, below) in pairwise(items):
        if plan.is_source and _reads_above(below) and name in raw:
            faults.error(
                "in/source",
                span_of(raw, name, key=True),
                f"`{name}` does not say what it takes, and `{above}` above takes nothing itself",
                hint=f"say `in: {above}`, or `in:` the value that you mean",
            )


def _reads_above(plan: NodePlan) -> bool:
    """`takes_above`, looked at closely: a choice takes the value above if one of its cases does."""
    if isinstance(plan, SwitchPlan):
        return plan.given is None and any(map(_reads_above, plan.cases.values()))
    if isinstance(plan, FormulaPlan):
        return plan.given is None and "it" in plan.refs
    if isinstance(plan, ValuePlan):
        return False
    if isinstance(plan, LoopPlan):
        return plan.given is None and _reads_above(plan.body)
    if isinstance(plan, OpPlan) and isinstance(plan.target, Block):
        inputs = plan.target.inputs
        if not inputs or (plan.kwinputs is not None and next(iter(inputs)) in plan.kwinputs):
            return False
    return not isinstance(plan, (SharePlan, ListPlan)) and takes_above(plan)


def _check_items(
    items: list[tuple[str, NodePlan]], last_is_read: bool, read_outside: frozenset[str], raw: YMap, faults: Collector
) -> None:
    for k, (name, plan) in enumerate(items):
        if name == "_" or "unused" in plan.flags or (isinstance(plan, LoopPlan) and "unused" in plan.body.flags):
            continue
        later = items[k + 1 :]
        if not later and last_is_read:
            continue
        if name in read_outside or any(name in p.refs for _, p in later):
            continue
        named = set(plan.names or ())
        if (named and any(named & p.refs for _, p in later)) or named & read_outside:
            continue
        if later and takes_above(later[0][1]):
            continue
        if isinstance(plan, GroupPlan) and _inner_read(plan, later, read_outside):
            continue
        inner = inner_names(plan)
        if inner and (inner & read_outside or any(inner & p.refs for _, p in later)):
            continue
        key = name if name in raw else int(name) if name.isdecimal() else None
        if key in raw:
            faults.error(
                "value/unread",
                span_of(raw, key, key=True),
                f"nobody reads `{name}`",
                hint="take it out, name it in `outputs`, or mark it `unused: true`",
            )


def inner_names(plan: Any) -> set[str]:
    """Names that a group, chain or residual puts into the block's namespace."""
    from archgraph.spec.plan_forms import ChainPlan, ResidualPlan

    found: set[str] = set(plan.names or ())
    if isinstance(plan, ChainPlan):
        for label, p in plan.items:
            if label is not None:
                found.add(label)
            found |= inner_names(p)
    elif isinstance(plan, GroupPlan):
        for label, p in plan.body.items:
            found.add(label)
            found |= inner_names(p)
    elif isinstance(plan, ResidualPlan):
        found |= inner_names(plan.branch)
        if plan.shortcut is not None:
            found |= inner_names(plan.shortcut)
    elif isinstance(plan, SwitchPlan):
        for p in plan.cases.values():
            found |= inner_names(p)
    return found


def _inner_read(plan: GroupPlan, later: list[tuple[str, NodePlan]], outside: frozenset[str]) -> bool:
    names = {n for n, _ in plan.body.items}
    return bool(names & outside) or any(names & p.refs for _, p in later)


def takes_above(plan: NodePlan) -> bool:
    """Whether a node reads the value above it without naming it."""
    from archgraph.spec.plan_forms import ChainPlan

    if isinstance(plan, ChainPlan):
        return bool(plan.items) and takes_above(plan.items[0][1])
    if plan.wraps:
        return getattr(plan, "given", None) is None
    if "it" in plan.refs:
        return True
    if isinstance(plan, OpPlan):
        if plan.inputs is not None:
            inline = [getattr(p, "inline", None) for p in plan.inputs]
            return any(takes_above(p) for p in inline if p is not None)
        if plan.kwinputs is not None:
            return isinstance(plan.target, Block)
        return not plan.is_source
    if isinstance(plan, FormulaPlan):
        return plan.given is None and ("it" in plan.refs or plan.condition is not None)
    if isinstance(plan, LoopPlan):
        return plan.given is None and takes_above(plan.body)
    return not plan.explicit
