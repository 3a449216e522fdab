"""Operands of ops and calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ops.base import Op, OpError
from archgraph.spec.frame import Frame
from archgraph.spec.model import Block
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_refs import RefPlan, absent, near
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
    Weights,
    flatten,
    holds_unknown,
    is_value,
)


class OperandPlan(NodePlan):
    """A node with operands: the value above, or what ``in`` names, one after another or by name."""

    __slots__ = ("inputs", "kwinputs", "word")

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        self.word = ""
        self.inputs: list[RefPlan | list[RefPlan]] | None = None
        self.kwinputs: dict[str, RefPlan | list[RefPlan]] | None = None

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        for first in (self.inputs or (), list((self.kwinputs or {}).values())):
            if first:
                got = self._one(f, first[0], it, name)
                if isinstance(got, Values) and (len(self.inputs or ()) == 1):
                    return got[0] if got else None
                return got
        return it

    def _one(self, f: Frame, plan: RefPlan | list[RefPlan], it: Any, name: str) -> Any:
        if isinstance(plan, list):
            items = Values()
            for p in plan:
                v = p.get(f, it, name)
                if p.splice and isinstance(v, Values):
                    items.extend(v)
                else:
                    items.append(v)
            return items
        return plan.get(f, it, name)

    def _positional(self, f: Frame, it: Any, name: str) -> list[Any]:
        if self.inputs is None:
            return [] if it is None else [it]
        found: list[Any] = []
        for p in self.inputs:
            v = p.get(f, it, name) if type(p) is RefPlan else self._one(f, p, it, name)
            if type(v) is Values and type(p) is RefPlan and p.splice:
                found.extend(v)
            else:
                found.append(v)
        return found

    def _operands(self, f: Frame, it: Any, name: str, cls: type[Op]) -> list[Ref | None] | None:
        """References for the operands; None where one of them failed."""
        operands = cls.operands
        if not operands and self.inputs is None and self.kwinputs is None:
            return []
        found: list[Any]
        if self.kwinputs is not None:
            by_name = {o.name: k for k, o in enumerate(operands)}
            found = [None] * len(operands)
            for key, p in self.kwinputs.items():
                if key not in by_name:
                    raise OpError(
                        f"`{cls.op_name}` has no operand `{key}`",
                        ", ".join(by_name),
                        key,
                        near(key, by_name),
                        key="in",
                    )
                found[by_name[key]] = self._one(f, p, it, name)
            if operands and operands[-1].variadic and isinstance(found[-1], Values):
                found[-1:] = list(found[-1])
        else:
            found = self._positional(f, it, name)
        if operands and operands[-1].variadic:
            flat: list[Any] = []
            for v in found:
                if isinstance(v, (Values, Turns)):
                    flat.extend([UNKNOWN] if holds_unknown(v) else [r for _, r in flatten(v)])
                else:
                    flat.append(v)
            found = flat
        refs: list[Ref | None] = []
        variadic = bool(operands) and operands[-1].variadic
        for k, v in enumerate(found):
            if v is None and (variadic or (k < len(operands) and not operands[k].optional)):
                self._absent(k)
            if type(v) is Ref:
                refs.append(v)
                continue
            if isinstance(v, Turns):
                v = v.last
            if type(v) is Weights:
                raise OverWeights(found)
            if isinstance(v, Record) and len(v) >= 1 and self.inputs is None:
                v = next(iter(v.values()))
            if v is UNKNOWN:
                return None
            if v is not None and not isinstance(v, Ref):
                what = operands[k].name if k < len(operands) else f"{operands[-1].name}[{k}]"
                if is_value(v):
                    raise OpError(f"operand `{what}` is a list; name one of its values, or splice it with `...`")
                raise OpError(f"operand `{what}` is a number, not a tensor", hint="use `formula`, or `constant`")
            refs.append(v)
        n = len(operands)
        if len(refs) > n and not variadic:
            raise OpError(f"`{cls.op_name}` takes {n} operand{'s' * (n != 1)}; {len(refs)} are given", key="in")
        for k, o in enumerate(operands):
            if not o.optional and (k >= len(refs) or refs[k] is None):
                hint = "nothing stands above: say `in:`" if not refs else None
                raise OpError(f"`{cls.op_name}` needs the operand `{o.name}`", hint=hint)
        if not variadic:
            refs += [None] * (n - len(refs))
        return refs

    def _absent(self, number: int) -> None:
        """Refuse an operand that is given and absent: an optional input, or a node that is left out.

        Raises
        ------
        OpError
            Naming it, unless the operand is not given at all.
        """
        written = self.inputs[number : number + 1] if self.inputs is not None else []
        if self.kwinputs is not None:
            written = list(self.kwinputs.values())[number : number + 1]
        for p in written:
            if isinstance(p, RefPlan) and p.inline is None:
                raise absent(p.name)

    def _block_inputs(self, f: Frame, it: Any, name: str, block: Block) -> dict[str, Any] | None:
        declared = list(block.inputs)
        found: dict[str, Any] = {}
        if self.kwinputs is not None:
            for key, p in self.kwinputs.items():
                if key not in block.inputs:
                    raise OpError(
                        f"`{block.name}` has no input `{key}`",
                        ", ".join(declared) or "no inputs",
                        key,
                        near(key, declared),
                        key="in",
                    )
                found[key] = self._one(f, p, it, name)
            first = declared[0] if declared else None
            if first is not None and first not in found and it is not None and not block.inputs[first].optional:
                found[first] = it
        else:
            given = self._positional(f, it, name)
            if self.inputs is None and len(given) == 1 and isinstance(given[0], Record):
                named = given[0]
                if all(k in block.inputs for k in named):
                    return dict(named)
                given = [next(iter(named.values()))]
            if self.inputs is None and not declared:
                given = []
            if len(given) > len(declared):
                n = len(declared)
                raise OpError(f"`{block.name}` takes {n} input{'s' * (n != 1)}; {len(given)} are given", key="in")
            found = dict(zip(declared, given, strict=False))
        for v in found.values():
            if type(v) is not Ref and holds_unknown(v):
                return None
        return found


class OverWeights(Exception):
    """An operand is a record of weights: the op acts on each of its tensors."""

    def __init__(self, operands: list[Any]) -> None:
        super().__init__()
        self.operands = operands

    def apply(self, f: Frame, name: str, op: Op, flags: frozenset[str]) -> Any:
        """`archgraph.spec.weights.apply_to_each`."""
        from archgraph.spec.weights import apply_to_each

        if any(v is UNKNOWN for v in self.operands):
            return UNKNOWN
        return apply_to_each(f, name, op, self.operands, flags)
