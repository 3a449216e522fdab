"""Source text of a `Program`: for NumPy, block by block into given arrays, and for plain Python integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archgraph.analysis.program import Program, Step

_UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "floor_divide", "min": "minimum", "max": "maximum",
    "ge": "greater_equal", "eq": "equal", "ne": "not_equal", "and": "logical_and",
}  # fmt: skip
#: The functions of NumPy that a source calls.
UFUNCS = (*_UFUNCS.values(), "copyto", "left_shift", "right_shift", "square")
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "//", "ge": ">=", "eq": "==", "ne": "!=", "and": "and"}
_TRUTH = frozenset({"ge", "eq", "ne", "and"})


class Source(NamedTuple):
    """A function ``run(x, o, t, m)``: columns, results, and scratch arrays of integers and of truth values.

    All arrays have one length; ``integers`` and ``truths`` tell how many scratch arrays it needs.
    """

    text: str
    integers: int
    truths: int


def numpy_source(program: Program) -> Source:
    """A line of NumPy per step, each into a given array; an array is used again when its value has been read."""
    order = [k for k in program.needed() if program.steps[k].kind not in ("input", "const")]
    last: dict[int, int] = {}
    for k in order:
        for arg in program.steps[k].args:
            last[arg] = k
    place = {k: f"x{step.value}" for k, step in enumerate(program.steps) if step.kind == "input"}
    place |= {k: str(step.value) for k, step in enumerate(program.steps) if step.kind == "const"}
    lines: list[str] = []
    copies: list[str] = []
    for name, k in program.results.items():
        target = f"o_{name}"
        if k in place:
            copies.append(f"copyto({target}, {place[k]})")
        else:
            place[k] = target
    free: dict[str, list[str]] = {"t": [], "m": []}
    made = {"t": 0, "m": 0}
    for k in order:
        step = program.steps[k]
        pool = "m" if step.kind in _TRUTH else "t"
        arguments = [place[arg] for arg in step.args]
        for arg in dict.fromkeys(step.args):
            if last[arg] == k and place[arg][0] in "tm":
                free[place[arg][0]].append(place[arg])
        if k not in place:
            if not free[pool]:
                free[pool].append(f"{pool}{made[pool]}")
                made[pool] += 1
            place[k] = free[pool].pop()
        lines.append(_line(program, step, arguments, place[k]))
    head = [
        "def run(x, o, t, m):",
        *_unpacked("x", "x", len(program.columns)),
        *_unpacked("t", "t", made["t"]),
        *_unpacked("m", "m", made["m"]),
        *(f"    o_{name} = o[{name!r}]" for name in program.results),
    ]
    return Source("\n".join([*head, *(f"    {line}" for line in (*lines, *copies))]) + "\n", made["t"], made["m"])


def _unpacked(prefix: str, source: str, n: int) -> Iterator[str]:
    for k in range(n):
        yield f"    {prefix}{k} = {source}[{k}]"


def _line(program: Program, step: Step, arguments: list[str], target: str) -> str:
    if step.kind == "log2":
        return f"ceil_log2({arguments[0]}, {target})"
    if step.kind in ("mul", "div"):
        other = program.steps[step.args[1]]
        if other.kind == "const" and other.value > 1 and not other.value & (other.value - 1):
            shift = "left_shift" if step.kind == "mul" else "right_shift"  # both round as floor division does
            return f"{shift}({arguments[0]}, {other.value.bit_length() - 1}, {target})"
        if step.kind == "mul" and step.args[0] == step.args[1]:
            return f"square({arguments[0]}, {target})"
    return f"{_UFUNCS[step.kind]}({', '.join(arguments)}, {'out=' if step.kind in ('min', 'max') else ''}{target})"


def python_source(program: Program) -> str:
    """A function ``run(*columns)`` of Python ints that returns the results as a tuple.

    A division by zero gives 0; that such a point is not valid is a condition of the program.
    """
    lines = [f"def run({', '.join(f'x{k}' for k in range(len(program.columns)))}):"]
    place: dict[int, str] = {}
    for k in program.needed():
        step = program.steps[k]
        arguments = [place[arg] for arg in step.args]
        if step.kind == "input":
            place[k] = f"x{step.value}"
        elif step.kind == "const":
            place[k] = str(step.value) if step.value >= 0 else f"({step.value})"
        else:
            place[k] = f"t{k}"
            if step.kind in ("min", "max"):
                text = f"{step.kind}({', '.join(arguments)})"
            elif step.kind == "log2":
                text = f"max({arguments[0]} - 1, 0).bit_length()"
            else:
                text = f" {_SIGNS[step.kind]} ".join(arguments)
                if not step.sure:
                    text += f" if {arguments[1]} else 0"
            lines.append(f"    t{k} = {text}")
    lines.append(f"    return {', '.join(place[k] for k in program.results.values())},")
    return "\n".join(lines) + "\n"
