"""Weights of reference implementations: reading checkpoints, and loading them into a model through renamed keys."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from archgraph.ir.diagnostics import did_you_mean
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.spec.keys import Failure, KeyPlan, Piece, Shape, plan_keys
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.reference import Misfit, Reference
from archgraph.spec.reference_find import rank
from archgraph.spec.reference_parse import references

__all__ = ["StateTables", "WeightsError", "apply_plan", "load_checkpoint", "load_state", "read_state", "state_tables"]

#: Where checkpoint files of training scripts keep the state_dict.
_WRAPPERS: Final = ("state_dict", "model", "model_state_dict", "params", "net", "module")
_SHOWN: Final = 12


class WeightsError(Exception):
    """Weights don't fit a model, or can't be read; `failures` lists every key that doesn't."""

    def __init__(self, message: str, failures: Iterable[Failure] = ()) -> None:
        self.message = message
        self.failures = tuple(failures)
        super().__init__(message, self.failures)

    def __str__(self) -> str:
        lines = [self.message, *(f"  {failure}" for failure in self.failures[:_SHOWN])]
        if len(self.failures) > _SHOWN:
            lines.append(f"  … and {len(self.failures) - _SHOWN} more")
        return "\n".join(lines)


class StateTables(NamedTuple):
    """A model's state_dict as shapes, and which keys name a tensor that an earlier key names already."""

    shapes: dict[str, Shape]
    aliases: dict[str, str]


def state_tables(model: nn.Module) -> StateTables:
    """Shapes and aliases of a model's state_dict."""
    shapes: dict[str, Shape] = {}
    aliases: dict[str, str] = {}
    first: dict[int, str] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        shapes[key] = tuple(tensor.shape)
        owner = first.setdefault(id(tensor), key)
        if owner != key:
            aliases[key] = owner
    return StateTables(shapes, aliases)


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint on the CPU: a safetensors file, or what `torch.save` wrote.

    Pickled files are read with ``weights_only=True``: tensors and plain containers, no code. A state_dict that stands
    under a usual name (``state_dict``, ``model`` …) is taken out; a prefix ``module.`` that all keys have (what
    `DataParallel` leaves) is taken off.

    Raises
    ------
    WeightsError
        If the file can't be read, or holds no state_dict.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file") from None
    except Exception as error:  # zip, pickle and safetensors each have errors of their own
        raise WeightsError(f"{file}: can't be read as weights: {str(error).splitlines()[0]}") from error
    while isinstance(found, Mapping) and not _is_state(found):
        inner = next((found[name] for name in _WRAPPERS if isinstance(found.get(name), Mapping)), None)
        if inner is None:
            names = ", ".join(map(str, list(found)[:8]))
            raise WeightsError(f"{file}: no state_dict in it; it holds {names or 'nothing'}")
        found = inner
    if not isinstance(found, Mapping):
        raise WeightsError(f"{file}: no state_dict in it, but a {type(found).__name__}")
    prefix = "module." if found and all(key.startswith("module.") for key in found) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in found.items()}


def _is_state(tree: Mapping[Any, Any]) -> bool:
    return bool(tree) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in tree.items())


def apply_plan(plan: KeyPlan, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of theirs under our keys, changed as the plan says."""
    modules: dict[int, nn.Module] = {}
    split: dict[tuple[str, tuple[int, ...]], Any] = {}

    def module(graph: Graph) -> nn.Module:
        found = modules.get(id(graph))
        if found is None:
            found = modules[id(graph)] = build(graph)
        return found

    def value(piece: Piece) -> Tensor:
        tensor = state[piece.key]
        passed: tuple[int, ...] = ()
        for graph, output in piece.steps:
            passed = (*passed, id(graph))
            result = split.get((piece.key, passed))
            if result is None:
                result = split[piece.key, passed] = module(graph)(tensor)
            tensor = result[graph.outputs[output][0]] if isinstance(result, dict) else result
            passed = (*passed, output)
        return tensor

    with torch.no_grad():
        return {
            key: value(entry.pieces[0])
            if len(entry.pieces) == 1
            else torch.cat([value(piece) for piece in entry.pieces], entry.dim)
            for key, entry in plan.entries.items()
        }


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    reference: Reference | None = None,
    env: Mapping[str, Any] | None = None,
) -> KeyPlan:
    """Load a state_dict strictly, through the renames of a reference; returns the plan.

    Parameters
    ----------
    model : nn.Module
        As `archgraph.lower.fx.build` makes it.
    state : mapping
        Their keys → tensors.
    reference : Reference, optional
        None: the keys are ours already.
    env : mapping, optional
        What expressions in rules read: `Reference.environment`.

    Raises
    ------
    WeightsError
        With every key that does not fit; the model is unchanged then.
    """
    tables = state_tables(model)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    rules = () if reference is None else reference.rules
    plan = plan_keys(rules, shapes, tables.shapes, env, tables.aliases)
    if not plan.fits:
        name = "our own keys" if reference is None else f"`{reference.name}`"
        raise WeightsError(f"the weights don't fit by {name}: {_counted(plan.failures)}", plan.failures)
    tensors = apply_plan(plan, state)
    for key, owner in tables.aliases.items():
        twin = tensors.get(owner)
        if key in tensors and twin is not None and not torch.equal(tensors[key], twin):
            raise WeightsError(f"{key} and {owner} are one tensor here, and two different ones in the weights")
    with torch.no_grad():
        for key, own in model.state_dict(keep_vars=True).items():
            if key in tensors:
                own.copy_(tensors[key])
            elif key in plan.fresh:
                own.zero_()
    return plan


def _counted(failures: Iterable[Failure]) -> str:
    kinds: dict[str, int] = {}
    for failure in failures:
        kinds[failure.kind] = kinds.get(failure.kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def load_checkpoint(
    model: nn.Module,
    path: str | os.PathLike[str],
    file: SpecFile,
    block: Block,
    *,
    cls: str | None = None,
    variant: str | None = None,
) -> Reference | None:
    """Load a checkpoint file into a graph or block of a spec; returns the reference by whose renames it fits.

    Parameters
    ----------
    model : nn.Module
    path : path
        See `read_state`.
    file, block
        The spec file, and the graph or block in it that the model is.
    cls : str, optional
        The reference class. Left out: our own keys are tried, then every reference that leads to ``block``.
    variant : str, optional
        Our variant; arguments that a reference publishes for it are those that its rules read.

    Raises
    ------
    WeightsError
        If the weights fit by none; of several the one that fits best is reported.
    SpecError
        For faults in the section ``reference:``.
    """
    state = read_state(path)
    entries = [entry for entry in references(file).values() if entry.block is block]
    tried: list[Reference | None] = [None, *entries]
    if cls is not None:
        named = [entry for entry in entries if any(rank(cls, word) is not None for word in entry.spellings)]
        if not named:
            near = did_you_mean(cls, [entry.name for entry in entries])
            known = ", ".join(entry.name for entry in entries) or "none"
            hint = f"; did you mean `{near}`?" if near else ""
            raise WeightsError(f"`{file.name}` has no reference `{cls}` for `{block.name}`; there are: {known}{hint}")
        tried = list(named)
    best: WeightsError | None = None
    for entry in tried:
        try:
            load_state(model, state, entry, None if entry is None else _environment(entry, variant))
        except (WeightsError, Misfit) as error:
            fault = error if isinstance(error, WeightsError) else WeightsError(str(error))
            if best is None or len(fault.failures) < len(best.failures):
                best = fault
            continue
        return entry
    assert best is not None
    raise best


def _environment(entry: Reference, variant: str | None) -> dict[str, Any]:
    """Arguments published for our variant, else the defaults."""
    for published in entry.published.values():
        if variant is not None and variant in (published.variant, published.name) and published.args is not None:
            return entry.environment(published.args)
    return entry.plain_environment()
