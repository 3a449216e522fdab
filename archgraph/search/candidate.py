"""A candidate: what a vector of values asks for, elaborated, costed and hashed; built only when somebody asks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.cost import totals
from archgraph.analysis.roofline import Target, roofline
from archgraph.ir.canon import canonical_hash
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.graph import Graph
from archgraph.search.space import Assignment
from archgraph.spec.libraries import specs_folder
from archgraph.spec.load import Spec
from archgraph.spec.settings import variant_settings
from archgraph.spec.spec_files import parse_text
from archgraph.spec.yaml import YMap, dump_yaml, load_yaml

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from archgraph.search.study_file import Study

__all__ = ["Candidate", "Candidates"]

_MAX_SPECS: Final = 512
_DERIVED: Final = "derived_"  # a file that does not exist, beside the base: paths start there


class Candidate:
    """One point of the space.

    Attributes
    ----------
    study : Study
    values : dict
        Parameter name → value, as Optuna proposed it.
    assignment : Assignment
        What they ask for.
    spec : Spec
        The study's spec with these settings and rewrites.
    seed : int
        Of its weights, its batches, and all else that is drawn for it.
    """

    def __init__(self, study: Study, values: Mapping[str, Any], assignment: Assignment, spec: Spec, seed: int) -> None:
        self.study = study
        self.values = dict(values)
        self.assignment = assignment
        self.spec = spec
        self.seed = seed

    @property
    def train(self) -> dict[str, Any]:
        """Settings of its training."""
        return {**self.study.train, **self.assignment.train}

    @property
    def data(self) -> dict[str, Any]:
        """Settings of its data, ``kind`` among them; empty where the study has none."""
        if self.study.data is None:
            return {}
        return {"kind": self.study.data.kind, **self.study.data.values, **self.assignment.data}

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """The input shapes that costs are for."""
        from archgraph.analysis.sizes import default_sizes

        return default_sizes(self.spec, self.study.graph, self.study.at)

    @cached_property
    def graph(self) -> Graph:
        """The typed graph at the study's sizes.

        Raises
        ------
        SpecError
            If the values don't make a valid architecture.
        """
        return self.spec.graph(self.study.graph, self.sizes)

    @cached_property
    def open_graph(self) -> Graph:
        """The typed graph with the batch left open: what is built."""
        block = self.spec.block(self.study.graph)
        sizes = self.sizes
        given: dict[str, Any] = {}
        for name, shape in sizes.items():
            i = block.inputs[name]
            axes = i.pattern.axes
            if not i.is_list and axes and axes[0].kind == "name" and isinstance(shape, tuple):
                from archgraph.ir.dim import sym

                given[name] = (sym(axes[0].name), *shape[1:])
            elif i.is_list or isinstance(shape, tuple):
                given[name] = shape
        return self.spec.graph(self.study.graph, given)

    @cached_property
    def costs(self) -> dict[str, float]:
        """Every cost metric by name, as numbers."""
        return costs_of(self.graph, self.study.machine)

    @cached_property
    def hash(self) -> str:
        """Canonical hash of the graph: equal for isomorphic candidates."""
        return canonical_hash(self.graph)

    @cached_property
    def key(self) -> str:
        """What its result is remembered under: the hash of the graph and the settings of training and data."""
        more = json.dumps([self.assignment.train, self.assignment.data], sort_keys=True)
        return hashlib.sha256(f"{self.hash} {more}".encode()).hexdigest()[:32]

    def build(self, *, init: bool = True, device: str = "cpu") -> GraphModule:
        """The module, its weights drawn from the candidate's seed."""
        from archgraph.lower import fx

        return fx.build(self.open_graph, seed=self.seed, device=device, init=init)

    def to_yaml(self, name: str | None = None, summary: str = "") -> str:
        """The candidate as a spec file of its own."""
        return spec_text(self.spec, name or f"{self.study.name}_candidate", summary, self.study.graph, self.sizes)


def costs_of(graph: Graph, machine: Target | None) -> dict[str, float]:
    """Costs of a closed graph, by the names of `archgraph.search.metrics.COSTS`; times where there is a machine."""
    t = totals(graph)
    memory = t.memory
    found: dict[str, Any] = {
        "params": t.params,
        "buffers": t.buffers,
        "macs": t.macs,
        "flops": t.flops,
        "activation_bytes": memory.peak,
        "saved_bytes": memory.saved,
        "weight_bytes": memory.weights,
    }
    open_ones = sorted(name for name, value in found.items() if not isinstance(value, (int, float)))
    if open_ones:
        message = f"`{open_ones[0]}` is {found[open_ones[0]]}: a size is open"
        raise SpecError(Diagnostic("study/size", None, message, hint="say it with `at: {input: [1, 3, 32, 32]}`"))
    found["memory"] = found["weight_bytes"] + found["activation_bytes"]
    if machine is not None:
        times = roofline(graph, machine)
        found |= {"roofline": times.bound, "roofline_op_by_op": times.op_by_op}
        if times.energy is not None:
            found["energy"] = times.energy
    return found


class Candidates:
    """Makes candidates of a study; specs of one variant and rewrite share their memo."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._specs: dict[str, Spec] = {}
        given = study.base.settings
        variant = study.base.variant
        preset = variant_settings(study.base.file, variant)
        self._own = {name: value for name, value in given.items() if name not in preset or preset[name] != value}

    def candidate(self, values: Mapping[str, Any], seed: int = 0) -> Candidate:
        """The candidate for values of all parameters.

        Raises
        ------
        SpecError
            If the spec refuses a value.
        """
        assignment = self.study.space.assignment(values, {})
        spec = self.structure(assignment)
        if assignment.settings:
            spec = Spec(
                spec.file, spec.variant, {**spec.settings, **self._settings(spec, assignment.settings)}, spec.session
            )
        return Candidate(self.study, values, assignment, spec, seed)

    def structure(self, assignment: Assignment) -> Spec:
        """The spec of an assignment's variant and rewrites, before its settings."""
        key = json.dumps([assignment.variant, [dict(r) for r in assignment.rewrites]], default=str)
        known = self._specs.get(key)
        if known is None:
            base = self.study.base
            known = base
            if assignment.variant is not None:
                settings = {**variant_settings(base.file, assignment.variant), **self._own}
                known = Spec(base.file, assignment.variant, settings)
            if assignment.rewrites:
                known = rewritten(known, assignment.rewrites)
            while len(self._specs) >= _MAX_SPECS:
                del self._specs[next(iter(self._specs))]
            self._specs[key] = known
        return known

    def _settings(self, spec: Spec, values: Mapping[str, Any]) -> dict[str, Any]:
        from archgraph.spec.settings import checked_settings

        plain = {name: value for name, value in values.items() if isinstance(value, (int, float, tuple))}
        rest = {name: value for name, value in values.items() if name not in plain}
        return {**plain, **checked_settings(spec.file, rest)} if rest else plain


def rewritten(spec: Spec, rules: tuple[Mapping[str, Any], ...]) -> Spec:
    """A spec that derives from another by rewrites.

    Raises
    ------
    SpecError
        If there is no such rule, or it takes no such settings.
    """
    folder, name = os.path.split(spec.file.path)
    tree = {"archgraph": 1, "name": spec.name, "base": name, "rewrite": [dict(r) for r in rules]}
    file = parse_text(dump_yaml(tree), os.path.join(folder, f"{_DERIVED}{name}"))
    return Spec(file, spec.variant, spec.settings)


def spec_text(spec: Spec, name: str, summary: str, graph: str | None, at: Mapping[str, Any]) -> str:
    """A spec with its settings written in as defaults; claims, references and variants are left behind.

    Where it needs files that are not shipped, the typed graph is written out instead, with nothing left to set.
    """
    file = spec.file
    shipped = os.fspath(specs_folder())
    parts = [*file.libraries, *([file.origin] if file.origin is not None else [])]
    if not all(os.path.abspath(part.path).startswith(shipped + os.sep) for part in parts):
        from archgraph.spec.dump import dump

        closed: dict[str, Any] = dict(load_yaml(dump(spec.graph(graph, at))))
        found = {"archgraph": 1, "name": name, **({"summary": summary} if summary else {})}
        return dump_yaml({**found, **{k: v for k, v in closed.items() if k not in found}})
    old = file.tree
    tree: dict[str, Any] = {"archgraph": 1, "name": name}
    if summary:
        tree["summary"] = summary
    for key, value in old.items():
        if key in ("archgraph", "name", "summary", "variants", "claims", "reference", "notes", "paper"):
            continue
        if key == "params":
            value = {p: _default(spec, str(p), raw) for p, raw in value.items()}
        if key == "graphs" and graph is not None:
            value = {graph: value[graph]}
        if key == "base" and file.origin is not None:
            value = os.path.relpath(os.path.abspath(file.origin.path), shipped).removesuffix(".yaml")
        tree[str(key)] = value
    if file.origin is not None:
        given = {n: _plain(v) for n, v in spec.settings.items() if v is not None and n in file.params}
        if given:
            tree["params"] = {**tree.get("params", {}), **given}
    return dump_yaml(tree)


def _default(spec: Spec, name: str, raw: Any) -> Any:
    """A param's declaration with the setting as its default."""
    if spec.settings.get(name) is None:
        return raw
    value = _plain(spec.settings[name])
    if isinstance(raw, YMap) and "one_of" in raw:
        return {"one_of": list(raw["one_of"]), "default": value}
    return value


def _plain(value: Any) -> Any:
    from archgraph.spec.model import OpRef

    if isinstance(value, OpRef):
        target = getattr(value.target, "op_name", None) or value.target.name
        return {"op": target, **{k: _plain(v) for k, v in value.attrs}}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
