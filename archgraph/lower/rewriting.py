"""Rules on built models: the typed graph is rewritten, built anew, and the trained weights follow.

A model remembers the graph that it was built from (`archgraph.lower.provenance`). One whose code was edited since is
refused: its graph no longer says what it computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassBase, PassResult

from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build, emit
from archgraph.lower.init import fill_
from archgraph.lower.provenance import provenance, typed_graph
from archgraph.rewrite.api import Rewritten, WeightStep, rewrite
from archgraph.rewrite.rule import Rule, load_rule
from archgraph.rewrite.weights import Source

__all__ = ["RewriteError", "RewrittenModule", "RulePass", "carry", "rewrite_module", "rule_pass"]


class RewriteError(Exception):
    """A model can't be rewritten; the text says why."""


@dataclass(frozen=True)
class RewrittenModule:
    """A model after some rules.

    Attributes
    ----------
    module : GraphModule
        The new one; the old one is as it was, and shares no tensor with it.
    rewritten : Rewritten
        What was found and replaced.
    """

    module: GraphModule
    rewritten: Rewritten

    @property
    def table(self) -> list[tuple[str, str, str]]:
        """`Rewritten.weight_table`: where each parameter and buffer comes from, and what is lost."""
        return self.rewritten.weight_table()


def graph_of(model: Any) -> Graph:
    """The typed graph that a model was built from.

    Raises
    ------
    RewriteError
        If it has none, or was edited since.
    """
    graph = typed_graph(model) if isinstance(model, nn.Module) else None
    if graph is None or not isinstance(model, GraphModule):
        raise RewriteError(_why_not(model))
    emitted = emit(graph)
    fresh = {path: part for path, part in emitted.named_modules() if isinstance(part, GraphModule)}
    own = {path: part for path, part in model.named_modules() if isinstance(part, GraphModule)}
    changed = sorted(fresh.keys() ^ own.keys())
    changed += [p for p in fresh if p in own and _steps(fresh[p]) != _steps(own[p])]
    if changed:
        where = f"`{changed[0]}`" if changed[0] else "its forward"
        raise RewriteError(f"the model was edited after it was built ({where}); rules apply before such passes")
    shapes, found = ({n: tuple(t.shape) for n, t in m.state_dict().items()} for m in (emitted, model))
    if shapes != found:
        name = next(n for n in (*shapes, *found) if shapes.get(n) != found.get(n))
        was, now = (f"of shape {list(s[name])}" if name in s else "none" for s in (shapes, found))
        raise RewriteError(
            f"the model was edited after it was built (`{name}` was {was}, it is {now}); apply rules first, then edit"
        )
    return graph


def _why_not(model: Any) -> str:
    """Why something is no model that rules apply to, and what to do about it."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        return f"rules apply to specs, typed graphs and models that `archgraph.build` made, not to {kind}"
    for name, how in (("_orig_mod", "compiled"), ("module", "wrapped")):
        inner = model._modules.get(name)
        if inner is not None and typed_graph(inner) is not None:
            again = "compile" if how == "compiled" else "wrap"
            return f"the model is {how} ({kind}): rewrite `model.{name}`, then {again} the result"
    parts = [path for path, part in model.named_modules() if path and typed_graph(part) is not None]
    if parts:
        return (
            f"{kind} was not built by archgraph, but its part `{parts[0]}` was: rewrite that, and put the result there"
        )
    if any(provenance(part) for part in model.modules()):
        return f"{kind} is a part of a built model: rewrite the whole model, and say by `where` at which paths"
    return (
        f"{kind} was not built by archgraph: rules apply to what `archgraph.build` makes of a spec. Build the spec of "
        "this network and load its weights (`archgraph build SPEC --weights FILE`), then rewrite that"
    )


def _steps(module: GraphModule) -> list[tuple[Any, ...]]:
    """What a module's graph does, without the names of its nodes: pickling gives new ones."""
    number = {node: k for k, node in enumerate(module.graph.nodes)}

    def plain(value: Any) -> Any:
        if isinstance(value, Node):
            return f"%{number[value]}"
        if isinstance(value, (tuple, list)):
            return tuple(plain(v) for v in value)
        if isinstance(value, Mapping):
            return tuple((k, plain(v)) for k, v in value.items())
        return plain((value.start, value.stop, value.step)) if isinstance(value, slice) else value

    return [(n.op, n.target if n.op != "placeholder" else "", plain(n.args), plain(n.kwargs)) for n in number]


def rewrite_module(
    model: nn.Module,
    rule: Rule | str | Sequence[Any],
    *,
    where: Any = None,
    expect: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = 0,
) -> RewrittenModule:
    """Apply rules to a built model; see `archgraph.rewrite`.

    Parameters
    ----------
    model : GraphModule
        Built by archgraph.
    seed : int or None
        Of the generator that new weights are drawn from.

    Raises
    ------
    SpecError
        As `archgraph.rewrite`.
    RewriteError
        If the model does not know its graph.
    """
    done = rewrite(graph_of(model), rule, where=where, expect=expect, settings=settings)
    return RewrittenModule(carry(done, model, seed), done)


def carry(done: Rewritten, model: nn.Module, seed: int | None = 0) -> GraphModule:
    """The model of a rewritten graph, with weights from one of the graph before.

    It has the device and mode of the old one, each carried weight its dtype, and new ones that of the first weight;
    which parameters train is carried with them. Hooks are not carried.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    like = next((t for t in state.values() if t.is_floating_point()), None)
    device = like.device if like is not None else torch.device("cpu")
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    values: dict[str, Tensor] = {name: t.detach() for name, t in state.items()}
    for step, after in zip(done.weights, _graphs(done), strict=True):
        values, trained = _stepped(step, after, values, trained, seed, like)
    new = build(done.after, seed=seed, device=device, dtype=like.dtype if like is not None else None, init=False)
    with torch.no_grad():
        for name, t in (*new.named_parameters(), *new.named_buffers()):
            value = values.get(name)
            if value is not None and t.is_floating_point() and value.dtype != t.dtype:
                t.data = value.to(device, copy=True)
            elif value is not None:
                t.copy_(value)
        for name, p in new.named_parameters():
            p.requires_grad_(trained.get(name, p.requires_grad))
    new.train(model.training)
    return new


def _graphs(done: Rewritten) -> list[Graph]:
    """The graph after each step of weights."""
    return [each.graph for step in done.steps for each in step.rounds]


def _stepped(
    step: WeightStep,
    after: Graph,
    values: Mapping[str, Tensor],
    trained: Mapping[str, bool],
    seed: int | None,
    like: Tensor | None,
) -> tuple[dict[str, Tensor], dict[str, bool]]:
    found: dict[str, Tensor] = {}
    train: dict[str, bool] = {}
    fresh: dict[str, Tensor] | None = None
    made: dict[tuple[int, tuple[str, ...]], Any] = {}
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for path, source in step.sources.items():
        if source.kind == "carried":
            origin = source.paths[0]
            found[path] = values[origin]
            if origin in trained:
                train[path] = trained[origin]
        elif source.kind == "computed":
            found[path] = _computed(source, values, made)
        else:
            if fresh is None:
                model = build(after, seed=seed)
                fresh = {n: t.detach() for n, t in (*model.named_parameters(), *model.named_buffers())}
            found[path] = fresh[path]
            if source.init is not None:
                law, args = source.init
                fill_(found[path], law, {k: float(v) if not isinstance(v, int) else v for k, v in args}, generator)
            if like is not None and found[path].is_floating_point():
                found[path] = found[path].to(like.dtype)
    return found, train


def _computed(source: Source, values: Mapping[str, Tensor], made: dict[tuple[int, tuple[str, ...]], Any]) -> Tensor:
    part = source.graph
    assert part is not None
    key = (id(part), source.paths)
    if key not in made:
        given = [values[p] for p in source.paths]
        like = next((t for t in given if t.is_floating_point()), None)
        module = build(
            part, device=like.device if like is not None else "cpu", dtype=like.dtype if like is not None else None
        )
        with torch.no_grad():
            made[key] = module.eval()(*given)
    got = made[key]
    result: Tensor = got[part.outputs[source.output][0]] if isinstance(got, dict) else got
    return result.detach().clone()


class RulePass(PassBase):
    """A rule as a pass of `torch.fx`: it takes a built model and gives a new one; composes in torch's `PassManager`.

    Parameters
    ----------
    rule : Rule, shipped name or path
    where : path pattern or list, optional
    settings : mapping, optional
        Params of the rule.
    """

    def __init__(self, rule: Rule | str, where: Any = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.rule = rule if isinstance(rule, Rule) else load_rule(rule)
        self.where = where
        self.settings = dict(settings or {})
        self.__name__ = self.rule.name
        #: What the last call did; None where it found nothing.
        self.last: RewrittenModule | None = None

    def call(self, graph_module: GraphModule) -> PassResult:
        """The rewritten model, or the same one where the rule finds nothing."""
        try:
            self.last = rewrite_module(graph_module, self.rule, where=self.where, settings=self.settings)
        except SpecError as error:
            if any(d.code != "rule/nothing" for d in error.diagnostics):
                raise
            self.last = None
            return PassResult(graph_module, False)
        return PassResult(self.last.module, True)


def rule_pass(rule: Rule | str, where: Any = None, **settings: Any) -> RulePass:
    """`RulePass` with settings as keyword arguments."""
    return RulePass(rule, where, settings)
