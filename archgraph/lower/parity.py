"""Parity with reference implementations: recorded runs rebuilt from their arguments, and key lists of checkpoints."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from archgraph.ir.graph import Graph
from archgraph.lower.cases import Case, CaseError, read_case, read_head, read_key_list
from archgraph.lower.fx import build, emit, torch_dtype
from archgraph.lower.plan import LoweringError
from archgraph.lower.probe import Place, find_place, recording
from archgraph.lower.weights import WeightsError, load_state, state_tables
from archgraph.spec.change import reason
from archgraph.spec.keys import Failure, KeyPlan
from archgraph.spec.reference import FAULTS, Fed, Misfit, Reading, Reference
from archgraph.spec.reference_find import Candidate, candidates, published_names

__all__ = ["TOLERANCE", "KeyRow", "Row", "check_key_list", "check_keys", "idle_rules", "run_case"]

#: An output agrees if max|ours − theirs| is at most this, times max(1, max|theirs|).
TOLERANCE: Final = 1e-4


@dataclass(slots=True)
class Row:
    """What became of one recorded run. ``verdict``: pass, fail, or unmapped where no spec has the class."""

    paper: str
    case: str
    unit: str
    spec: str | None = None
    params: int | None = None
    params_expected: int | None = None
    max_abs_error: float | None = None
    verdict: str = "fail"
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as JSON data; an error that is no finite number is null there."""
        row = asdict(self)
        if self.max_abs_error is not None and not math.isfinite(self.max_abs_error):
            row["max_abs_error"] = None
        return row


@dataclass(slots=True)
class KeyRow:
    """What became of one key list: numbers of keys, theirs and ours, and why they don't match."""

    paper: str
    name: str
    spec: str | None = None
    theirs: int = 0
    ours: int = 0
    dropped: int = 0
    verdict: str = "fail"
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Mismatch(Exception):
    """A case ran, or was built, and differs."""


def run_case(folder: Path, fired: dict[tuple[str, str], set[int]] | None = None) -> Row:
    """Rebuild a recorded run, load its weights strictly, run it, compare.

    ``fired`` gathers, by spec and entry, the numbers of the rename rules that matched some key. Never raises for what
    is wrong with a case or a spec: that is a failed row.
    """
    row = Row(folder.parent.name, folder.name, "")
    try:
        head = read_head(folder)
        row.paper, row.unit = str(head.get("paper", row.paper)), str(head.get("unit", ""))
        row.params_expected = head["params"] if isinstance(head.get("params"), int) else None
        official = str(head["official"])
        found = list(candidates(official, row.paper))
        if not any(candidate.reference is not None for candidate in found):
            own = [candidate for candidate in found if candidate.spec.partition("/")[0] == row.paper]
            if own:
                row.spec = own[0].spec
                raise Mismatch(f"the spec has faults: {_broken(own[0])}")
            row.verdict, row.reason = "unmapped", f"no spec has a reference `{' '.join(official.split())}`"
            if found:
                row.reason += f"; not read for their faults: {', '.join(candidate.spec for candidate in found)}"
            return row
        _run(read_case(folder), found, row, {} if fired is None else fired)
        row.verdict = "pass"
    except (Mismatch, Misfit, CaseError, WeightsError, LoweringError, *FAULTS) as error:
        row.reason = _one_line(error)
    except Exception as error:  # whatever torch or an op raises is this case's failure, not the report's
        row.reason = f"{type(error).__name__}: {_one_line(error)}"
    return row


def _one_line(error: Exception) -> str:
    if isinstance(error, FAULTS[0]):
        at = error.diagnostics[0].at
        return f"{at}: {reason(error)}" if at is not None else reason(error)
    if isinstance(error, WeightsError) and error.failures:
        return f"{error.message}: {_first(error.failures)}"
    return " ".join(str(error).split())


def _first(failures: Sequence[Failure]) -> str:
    more = f" … and {len(failures) - 3} more" if len(failures) > 3 else ""
    return "; ".join(map(str, failures[:3])) + more


def _broken(candidate: Candidate) -> str:
    assert candidate.broken is not None
    return _one_line(candidate.broken)


def _run(case: Case, found: list[Candidate], row: Row, fired: dict[tuple[str, str], set[int]]) -> None:
    """Fill in a row. Raises what makes the case fail."""
    inputs = {name: tuple(tensor.shape) for name, tensor in case.inputs.items()}
    outputs = {name: tuple(tensor.shape) for name, tensor in case.outputs.items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in case.state.items()}
    refused: list[str] = []
    for spec, reference, _ in found:
        if reference is None:
            continue
        try:
            env = reference.environment(case.args, inputs, shapes, case.note, outputs)
            fed = reference.feed(inputs, env)
        except Misfit as misfit:
            row.spec = row.spec or spec
            refused += [f"{why} ({reference.name})" if len(found) > 1 else why for why in misfit.reasons]
            continue
        row.spec = spec
        graph = reference.graph(env, fed)
        model = build(graph)
        row.params = sum(parameter.numel() for parameter in model.parameters())
        plan = load_state(model, case.state, reference, env)
        fired.setdefault((spec, reference.name), set()).update(plan.fired)
        _compare(case, reference, graph, model, fed, env, row)
        if case.params is not None and row.params != case.params:
            raise Mismatch(f"{row.params} parameters, expected {case.params}")
        return
    raise Misfit(*refused)


def _compare(
    case: Case,
    reference: Reference,
    graph: Graph,
    model: nn.Module,
    fed: list[Fed],
    env: Mapping[str, Any],
    row: Row,
) -> None:
    names = list(dict.fromkeys(part for name, _ in graph.outputs for part in (name, name.rpartition(".")[0] or name)))
    own = [name for name, _ in graph.outputs]
    readings = reference.compared(case.outputs, own)
    modes = _modes(case.mode)
    places: dict[str, Place] = {}
    for reading in readings.values():
        if reading is not None and reading.names[0] not in names:
            places[reading.names[0]] = find_place(graph, reading.names[0])
    arguments = _arguments(graph, fed, case.inputs)
    worst, error = "", -1.0
    left = [name for name, reading in readings.items() if reading is None]
    with recording(model, places.values()) as values:
        for mode in modes:
            _set_mode(model, mode, frozen="frozen" in case.mode.lower())
            # a failing fx module prints its code to stderr; the row's reason says what failed
            with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
                result = model(*arguments)
            for name, theirs in case.outputs.items():
                reading = readings[name]
                if reading is None or (reading.mode or modes[-1]) != mode:
                    continue
                place = places.get(reading.names[0])
                ours = _value(result, graph, reading.names[0]) if place is None else values[place]
                ours = _changed(ours, reading, env)
                found = distance(name, ours, theirs)
                row.max_abs_error = found if row.max_abs_error is None else max(row.max_abs_error, found)
                excess = found / (TOLERANCE * max(1.0, _largest(theirs)))
                if not excess <= error:
                    worst, error = name, excess
    if left:
        row.reason = f"not compared: {', '.join(left)}"
    if not error <= 1.0:
        raise Mismatch(f"`{worst}` differs by {row.max_abs_error:.3g}, {error:.3g} times what is allowed")


def _modes(mode: str) -> list[str]:
    """The passes of a case: ``eval``, ``train``, or both one after the other (``train then eval``)."""
    words = mode.lower().replace("(", " ").replace(")", " ").split()
    return [word for word in words if word in ("train", "eval")] or ["eval"]


def _set_mode(model: nn.Module, mode: str, frozen: bool) -> None:
    model.train(mode == "train")
    if frozen:
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()


def _arguments(graph: Graph, fed: list[Fed], tensors: Mapping[str, Tensor]) -> list[Any]:
    """What the model is called with, in the order of its inputs; lists as lists."""
    given = {each.ours: each for each in fed}
    found: dict[str, Any] = {}
    for name, kind in graph.inputs:
        each = given[name]
        tensor = tensors[each.theirs]
        if each.change is not None:
            tensor = build(each.change)(tensor)
        if kind.dtype == "bool" or (kind.dtype == "float" and not tensor.is_floating_point()):
            tensor = tensor.to(torch_dtype(kind.dtype))
        head, _, item = name.partition(".")
        if item:
            found.setdefault(head, []).append(tensor)
        else:
            found[name] = tensor
    return list(found.values())


def _value(result: Any, graph: Graph, name: str) -> Any:
    """An output of the model by name, items of lists by number, of records by name."""
    if not isinstance(result, dict):
        only = graph.outputs[0][0].partition(".")[0]
        result = {only: result}
    head, *rest = name.split(".")
    found = result[head]
    for item in rest:
        found = found[item] if isinstance(found, dict) else found[int(item)]
    return found


def _changed(value: Any, reading: Reading, env: Mapping[str, Any]) -> Any:
    if reading.change is None:
        return value
    dtype = "float" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
    return build(reading.change.graph(value.shape, env, dtype))(value)


def distance(name: str, ours: Any, theirs: Tensor) -> float:
    """max|ours − theirs|; infinities of one sign agree.

    Raises
    ------
    Mismatch
        For another shape, or a list.
    """
    if not isinstance(ours, Tensor):
        raise Mismatch(f"`{name}` is a {type(ours).__name__} of ours, no tensor")
    if ours.shape != theirs.shape:
        raise Mismatch(f"`{name}` has shape {list(ours.shape)}, expected {list(theirs.shape)}")
    if theirs.numel() == 0:
        return 0.0
    if ours.is_complex() or theirs.is_complex():
        a, b = ours.to(torch.complex128), theirs.to(torch.complex128)
    else:
        a, b = ours.to(torch.float64), theirs.to(torch.float64)
    found = torch.where(a == b, torch.zeros((), dtype=torch.float64), (a - b).abs()).max().item()
    return math.inf if math.isnan(found) else float(found)


def _largest(tensor: Tensor) -> float:
    values = tensor.abs().to(torch.float64)
    values = values[torch.isfinite(values)]
    return float(values.max()) if values.numel() else 0.0


def check_keys(reference: Reference, name: str, theirs: Mapping[str, tuple[int, ...]]) -> tuple[KeyPlan, int]:
    """The plan from the keys of a published variant to ours, and how many ours are.

    Raises
    ------
    Misfit, SpecError, LoweringError
        If our variant can't be built.
    """
    env, graph = reference.published_graph(name, theirs)
    tables = state_tables(emit(graph, device="meta"))
    return reference.plan(env, theirs, tables.shapes, tables.aliases), len(tables.shapes)


def check_key_list(file: Path, fired: dict[tuple[str, str], set[int]] | None = None) -> KeyRow:
    """Check ``<paper>/keys-<name>.tsv.gz`` against the variant published under that name. Raises nothing."""
    paper, name = file.parent.name, file.name.removeprefix("keys-").removesuffix(".tsv.gz")
    row = KeyRow(paper, name)
    try:
        theirs = read_key_list(file)
        row.theirs = len(theirs)
        found = published_names(paper, name)
        if not found:
            row.verdict, row.reason = "unmapped", "no reference publishes a variant of this name"
            return row
        faults: list[Failure] = []
        for candidate, key in found:
            row.spec, reference = candidate.spec, candidate.reference
            if reference is None:
                raise Mismatch(f"the spec has faults: {_broken(candidate)}")
            plan, row.ours = check_keys(reference, key, theirs)
            row.dropped = len(plan.dropped)
            if fired is not None:
                fired.setdefault((candidate.spec, reference.name), set()).update(plan.fired)
            if plan.fits:
                row.verdict = "pass"
                return row
            faults += plan.failures
        row.reason = _first(faults)
    except (Mismatch, Misfit, CaseError, LoweringError, *FAULTS) as error:
        row.reason = _one_line(error)
    except Exception as error:  # as in `run_case`
        row.reason = f"{type(error).__name__}: {_one_line(error)}"
    return row


def idle_rules(fired: Mapping[tuple[str, str], set[int]], entries: Iterable[tuple[str, Reference]]) -> list[str]:
    """Rules that matched no key of any case or list, though some entry that holds them was used.

    A rule of several entries (by `use`) needs to match in one. Rules with a condition are for options that recordings
    need not have; they are passed over.
    """
    idle: dict[str, str] = {}
    active: set[str] = set()
    for spec, reference in entries:
        seen = fired.get((spec, reference.name), set())
        for number, rule in enumerate(reference.rules if seen else ()):
            place = str(rule.span)
            if number in seen or rule.when is not None:
                active.add(place)
            else:
                idle.setdefault(place, f"{spec}: {reference.name}: {rule.text}")
    return [text for place, text in idle.items() if place not in active]
