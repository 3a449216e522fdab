"""From typed graphs to plans: runs the ops' lowerings and settles which module each node calls.

A composite gets a plan of its own, made once per distinct graph and late values. A composite that uses another's
weights calls that module if both are the same graph; if they differ (in sizes, say), its nodes are inlined and call the
modules inside the other one. Nodes whose weights are given as values are inlined likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.lower.emitter import Body, OpEmitter
from archgraph.lower.plan import Cases, Leaf, LoweringError, Plan, Step
from archgraph.ops.base import Op, OpError
from archgraph.ops.binding import NOTHING, Late, SymbolicTurns, late_turns, own_weights, weight_path
from archgraph.ops.higher import GetWeight, Scan, SwitchTraining

Values = tuple[Step | None, ...]


class Scope(NamedTuple):
    """A graph at a path below the composite that is being lowered."""

    path: tuple[str, ...]
    graph: Graph
    late: Late
    frozen: bool


class Owner(NamedTuple):
    """A node that owns weights, and the scope that it stands in."""

    scope: Scope
    node: Node

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.scope.path, self.node.name)

    @property
    def frozen(self) -> bool:
        return self.scope.frozen or "frozen" in self.node.flags


class Frame:
    """One graph being lowered into a body: where it stands, whose weights it uses, and its values so far."""

    __slots__ = ("given", "inputs", "outputs", "owner", "scope")

    def __init__(
        self, scope: Scope, inputs: Values, owner: Scope | None = None, given: Mapping[str, Step | None] = NOTHING
    ) -> None:
        self.scope = scope
        self.inputs = inputs
        self.owner = owner
        self.given = given
        self.outputs: list[Values] = []

    def value(self, ref: ValueRef | None) -> Step | None:
        if ref is None:
            return None
        node, out = ref
        return self.inputs[out] if node < 0 else self.outputs[node][out]


class Planner:
    """Makes plans, each once."""

    def __init__(self) -> None:
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def plan(
        self,
        graph: Graph,
        late: Late = NOTHING,
        frozen: bool = False,
        root: bool = False,
        extras: tuple[Dim, ...] = (),
    ) -> Plan:
        """The plan of a graph for given late values; ``extras`` are sizes that callers pass in any case.

        Raises
        ------
        LoweringError
            If the graph can't become a module.
        """
        key = (id(graph), frozen, root, extras, *[late[name] for name in graph.late])
        found = self._plans.get(key)
        if found is not None:
            return found
        body = Body(root)
        for dim in extras:
            body.extra(dim)
        placeholders, inputs = _root_inputs(body, graph) if root else _inputs(body, graph)
        frame = Frame(Scope((), graph, late, frozen), inputs)
        self._run(body, frame)
        values = [frame.value(ref) for _, ref in graph.outputs]
        result: Any = values[0] if len(values) == 1 else tuple(values)
        if root:
            result = grouped([name for name, _ in graph.outputs], values)
            result = next(iter(result.values())) if len(result) == 1 else result
        steps = (*placeholders, *body.extras.values(), *body.steps)
        provenance = {n.name: (str(n.origin or ""), ", ".join(map(str, n.types))) for n in graph.nodes}
        plan = Plan(graph.name, steps, result, body.entries, tuple(body.extras), provenance, graph)
        self._plans[key] = plan
        return plan

    # -- nodes -------------------------------------------------------------------------------------------------------

    def _run(self, body: Body, frame: Frame) -> None:
        for node in frame.scope.graph.nodes:
            try:
                outs = self._node(body, frame, node)
            except (OpError, SymbolicTurns) as error:
                raise LoweringError(str(error), (node.name,), node.origin) from error
            except LoweringError as error:
                error.path = (node.name, *error.path)
                error.at = error.at or node.origin
                raise
            frame.outputs.append(outs)
            if "unused" in node.flags:
                continue
            for out, t in zip(outs, node.types, strict=True):
                if isinstance(out, Step):
                    body.sizes.add(out, t)

    def _node(self, body: Body, frame: Frame, node: Node) -> Values:
        if "unused" in node.flags:
            with body.aside():
                return self._used(body, frame, node)
        return self._used(body, frame, node)

    def _used(self, body: Body, frame: Frame, node: Node) -> Values:
        scope = frame.scope
        args = tuple([frame.value(ref) for ref in node.inputs])
        given = NOTHING
        if node.weights or frame.given:
            prefix = f"{node.name}."
            given = {name: frame.value(ref) for name, ref in node.weights}
            given |= {name[len(prefix) :]: value for name, value in frame.given.items() if name.startswith(prefix)}
        owner = None
        if node.share is not None:
            owner = self._find(frame.owner or scope, node.share)
        elif frame.owner is not None:
            owner = self._find(frame.owner, (node.name,))
        place = Scope((*scope.path, node.name), scope.graph, scope.late, scope.frozen or "frozen" in node.flags)
        if node.op is None:
            return self._call(body, place, node, args, owner, given)
        if isinstance(node.op, GetWeight):
            return (self._get_weight(body, frame, node.op, place),)
        if node.callees:
            return self._regions(body, place, node, args, owner, given)
        return self._op(body, place, node, args, owner, given)

    # -- ops ---------------------------------------------------------------------------------------------------------

    def _op(
        self, body: Body, place: Scope, node: Node, args: Values, owner: Owner | None, given: Mapping[str, Step | None]
    ) -> Values:
        op = node.op
        assert isinstance(op, Op)
        in_types = tuple([None if ref is None else place.graph.type_of(ref) for ref in node.inputs])
        owner_path = None if owner is None else owner.path
        functional = bool(given) and type(op).functional is not Op.functional
        if owner is not None and not functional:
            mine = self._leaf(place, node)
            theirs = self._leaf(owner.scope, owner.node)
            if mine is not None and (theirs is None or mine[:2] != theirs[:2]):
                functional = bool(op.weights(*in_types))
                owner_path = owner_path if functional else None
        b = OpEmitter(body, op, args, in_types, node.types, place.path, owner_path, given, place.late, place.frozen)
        start = len(body.steps)
        found = (op.functional if functional else op.lower)(b, *args)
        outs: Values = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(outs) != len(node.types):
            raise LoweringError(f"`{op.op_name}` has {len(node.types)} outputs, its lowering gives {len(outs)}")
        _name_results(body.steps[start:], outs, "_".join(place.path), type(op).outputs)
        return outs

    def _leaf(self, scope: Scope, node: Node) -> Leaf | None:
        """The torch module that an op node makes by itself, if it makes one."""
        body = Body(dry=True)
        op = node.op
        assert isinstance(op, Op)
        in_types = tuple([None if ref is None else scope.graph.type_of(ref) for ref in node.inputs])
        args = tuple([None if t is None else body.placeholder("x") for t in in_types])
        for arg, t in zip(args, in_types, strict=True):
            if arg is not None and t is not None:
                body.sizes.add(arg, t)
        op.lower(OpEmitter(body, op, args, in_types, node.types, ("leaf",), None, NOTHING, scope.late, False), *args)
        entry = body.entries.get("leaf")
        return entry if isinstance(entry, Leaf) else None

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(
        self, body: Body, place: Scope, node: Node, args: Values, owner: Owner | None, given: Mapping[str, Step | None]
    ) -> Values:
        turns = late_turns(node, place.late)
        target, frozen = place.path, place.frozen
        if owner is not None:
            target, frozen = owner.path, owner.frozen
            if owner.node.op is not None:
                raise LoweringError(f"a call can't share the weights of `{'.'.join(target)}`, which is an op")
        if given or (owner is not None and not _same_call(node, turns, owner)):
            return self._inline(body, place, node, args, turns, owner, given)
        plan = self._chain(node, turns, frozen)
        path = ".".join(target)
        if owner is None:
            body.entries[path] = plan
        name = "_".join(place.path)
        extras = _sizes(body, place, node, args, plan.extras)
        step = body.add("call_module", path, (*args, *extras), {}, name)
        return _items(body, step, [out for out, _ in node.callee.outputs], f"{name}_")

    def _chain(self, node: Node, turns: Sequence[Late], frozen: bool) -> Plan:
        """The plan of a call: that of the callee, or of a chain of as many as there are turns."""
        callee = node.callee
        plans = [self.plan(callee, late, frozen) for late in turns]
        if node.count == 1:
            return plans[0]
        key = ("chain", *[id(plan) for plan in plans])
        found = self._plans.get(key)
        if found is not None:
            return found
        body = Body()
        placeholders, inputs = _inputs(body, callee)
        values: Values = inputs
        for turn, plan in enumerate(plans):
            extras = [body.size(dim) for dim in plan.extras]
            body.entries[str(turn)] = plan
            step = body.add("call_module", str(turn), (*values, *extras), {}, f"turn_{turn}")
            outs = _items(body, step, [out for out, _ in callee.outputs])
            values = (*outs, *values[len(outs) :])
        outs = values[: len(callee.outputs)]
        steps = (*placeholders, *body.extras.values(), *body.steps)
        result = outs[0] if len(outs) == 1 else outs
        chain = Plan(f"{callee.name}_chain", steps, result, body.entries, tuple(body.extras), {}, callee)
        self._plans[key] = chain
        return chain

    def _inline(
        self,
        body: Body,
        place: Scope,
        node: Node,
        args: Values,
        turns: Sequence[Late],
        owner: Owner | None,
        given: Mapping[str, Step | None],
    ) -> Values:
        """Emit the callee's own nodes here, turn by turn."""
        callee = node.callee
        values = args
        for turn, late in enumerate(turns):
            segment = () if node.count == 1 else (str(turn),)
            prefix = f"{turn}." if segment else ""
            its = {name.removeprefix(prefix): v for name, v in given.items() if name.startswith(prefix)}
            scope = Scope((*place.path, *segment), callee, late, place.frozen)
            frame = Frame(scope, values, None if owner is None else _inside(owner, turn), its)
            self._run(body, frame)
            outs = tuple([frame.value(ref) for _, ref in callee.outputs])
            values = (*outs, *values[len(outs) :])
        return values[: len(callee.outputs)]

    # -- regions and weights as values -------------------------------------------------------------------------------

    def _regions(
        self, body: Body, place: Scope, node: Node, args: Values, owner: Owner | None, given: Mapping[str, Step | None]
    ) -> Values:
        op = node.op
        (late,) = late_turns(node, place.late)
        path = place.path
        if owner is not None:
            path = owner.path
            if given or owner.node.callees != node.callees or [late] != late_turns(owner.node, owner.scope.late):
                raise LoweringError(f"`{'.'.join(path)}` can only be shared as it is")
        name = "_".join(place.path)
        plans = [self.plan(region, late, place.frozen) for region in node.callees]
        extras = tuple(dict.fromkeys(dim for plan in plans for dim in plan.extras))
        plans = [self.plan(region, late, place.frozen, extras=extras) for region in node.callees]
        operands: tuple[Any, ...] = (*args, *_sizes(body, place, node, args, extras))
        target = ".".join(path)
        if isinstance(op, Scan):
            taken = {other.name for other in place.graph.nodes}
            driver = f"{node.name}_scan"
            while driver in taken:
                driver += "_"
            if owner is None:
                body.entries[target] = plans[0]
            kwargs = {"xs": op.xs, "carry": op.carry, "dim": op.dim, "reverse": op.reverse}
            operands = (body.attribute(target, f"{name}_body"), *operands)
            target = ".".join((*place.path[:-1], driver))
            body.entries[target] = Leaf("archgraph.nn.Scan", kwargs)
        elif owner is None:
            parts = {segments[0]: plan for segments, plan in zip(SwitchTraining.segments, plans, strict=True)}
            assert isinstance(op, SwitchTraining)
            body.entries[target] = Cases("archgraph.nn.Switch", parts, {"updates": op.updates} if op.updates else {})
        step = body.add("call_module", target, operands, {}, name)
        return _items(body, step, [out for out, _ in node.callees[-1].outputs], f"{name}_")

    def _get_weight(self, body: Body, frame: Frame, op: GetWeight, place: Scope) -> Step | None:
        if op.path in frame.given:
            return frame.given[op.path]
        names = tuple(op.path.split("."))
        for cut in range(1, len(names)):
            owner = self._find(frame.owner or frame.scope, names[:cut])
            if owner.node.op is None:
                continue
            for weight in own_weights(owner.scope.graph, owner.node):
                if weight.name == ".".join(names[cut:]):
                    return body.attribute(weight_path(".".join(owner.path), weight), "_".join(place.path))
        raise LoweringError(f"there is no weight `{op.path}`")

    # -- owners ------------------------------------------------------------------------------------------------------

    def _find(self, scope: Scope, names: tuple[str, ...]) -> Owner:
        """The node at ``names`` below a scope, or the one whose weights it uses in turn."""
        head, rest = names[0], names[1:]
        try:
            node = scope.graph.node(head)
        except KeyError:
            where = ".".join((*scope.path, head))
            raise LoweringError(f"there is no `{where}` whose weights could be shared") from None
        if node.share is not None:
            return self._find(scope, (*node.share, *rest))
        if not rest:
            return Owner(scope, node)
        if node.op is not None:
            raise LoweringError(f"`{'.'.join((*scope.path, *names))}` lies inside an op")
        owner = Owner(scope, node)
        if node.count == 1:
            return self._find(_inside(owner, 0), rest)
        turn = int(rest[0])
        if len(rest) > 1:
            return self._find(_inside(owner, turn), rest[1:])
        late = late_turns(node, scope.late)[turn]
        one = node.replace(name=str(turn), count=1, late=tuple(late.items()))
        return Owner(Scope(owner.path, scope.graph, scope.late, owner.frozen), one)


def _same_call(node: Node, turns: Sequence[Late], owner: Owner) -> bool:
    theirs = owner.node
    return node.callee == theirs.callee and node.count == theirs.count and turns == late_turns(theirs, owner.scope.late)


def _inside(owner: Owner, turn: int) -> Scope:
    """The graph that an owning call calls, in one of its turns."""
    node = owner.node
    late = late_turns(node, owner.scope.late)
    if turn >= len(late):
        raise LoweringError(f"`{'.'.join(owner.path)}` has {len(late)} turns, none is number {turn}")
    segment = () if node.count == 1 else (str(turn),)
    return Scope((*owner.path, *segment), node.callee, late[turn], owner.frozen)


def _name_results(steps: Sequence[Step], outs: Values, name: str, names: Sequence[str]) -> None:
    """Give the statements whose values are the node's the node's name, and no others."""
    for step in steps:
        if step.name == name:
            step.name = f"{name}_inner"
    for k, out in enumerate(outs):
        if isinstance(out, Step) and out in steps:
            out.name = name if len(outs) == 1 else f"{name}_{names[k] if k < len(names) else k}"


def _items(body: Body, step: Step, names: Sequence[str], prefix: str = "") -> Values:
    """The values of a call: itself, or its items if there are several."""
    if len(names) == 1:
        return (step,)
    return tuple(
        [
            body.add("call_function", "operator.getitem", (step, k), {}, f"{prefix}{name}")
            for k, name in enumerate(names)
        ]
    )


def _sizes(body: Body, place: Scope, node: Node, args: Values, dims: Sequence[Dim]) -> tuple[Any, ...]:
    if not dims:
        return ()
    types = [None if ref is None else place.graph.type_of(ref) for ref in node.inputs]
    return tuple([body.size(dim, zip(args, types, strict=True)) for dim in dims])


def _inputs(body: Body, graph: Graph) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    steps = tuple([body.placeholder(name) for name, _ in graph.inputs])
    for step, (_, t) in zip(steps, graph.inputs, strict=True):
        body.sizes.add(step, t)
    return steps, steps


def _root_inputs(body: Body, graph: Graph) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Placeholders, and the inputs' values: those of lists and records are items of one placeholder."""
    placeholders: dict[str, Step] = {}
    found: dict[str, Step] = {}
    for name, t in graph.inputs:
        head, *items = name.split(".")
        if head not in placeholders:
            placeholders[head] = found[head] = body.placeholder(head)
        here = head
        for item in items:
            before, here = found[here], f"{here}.{item}"
            if here not in found:
                args = (before, int(item) if item.isdigit() else item)
                found[here] = body.add("call_function", "operator.getitem", args, {}, here.replace(".", "_"))
        body.sizes.add(found[name], t)
    return tuple(placeholders.values()), tuple([found[name] for name, _ in graph.inputs])


def grouped(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Values by name, those of lists (``name.0``, ``name.1``) gathered again."""
    tree: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        *heads, last = name.split(".")
        level = tree
        for head in heads:
            level = level.setdefault(head, {})
        level[last] = value
    return {name: _listed(value) for name, value in tree.items()}


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if all(name.isdigit() for name in tree):
        return [_listed(tree[name]) for name in sorted(tree, key=int)]
    return {name: _listed(value) for name, value in tree.items()}
