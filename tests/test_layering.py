"""Imports inside archgraph point one way, and heavy libraries stay off the path of `check` and `report`.

The rules are the tables below; the source is read with `ast`, so nothing is imported and lazy imports count as well.
A *unit* is a package or module directly under `archgraph/`; `archgraph` itself stands for its `__init__.py`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "archgraph"

# Lowest first. A unit imports itself and what stands in a lower row; the units of one row do not know each other.
LAYERS: list[set[str]] = [
    {"nn"},  # torch modules for generated code: they outlive the compiler, so they know nothing of it
    {"ir"},
    {"ops"},
    {"spec"},
    {"rewrite", "analysis", "lower"},
    {"report", "search", "optical", "importer"},
    {"cli"},
    {"archgraph", "__main__"},
]
RANK = {unit: rank for rank, row in enumerate(LAYERS) for unit in row}

# Exceptions to the rule for one row: (importer, imported) and the reason.
SIBLINGS: dict[tuple[str, str], str] = {
    ("lower", "rewrite"): "a built model is rewritten as its typed graph, then built and filled anew",
}

# Only what emits torch code needs `archgraph.nn`.
ONLY_FOR: dict[str, set[str]] = {"nn": {"lower"}}

# library: units that may import it at module level, and units that may import it inside a function.
EVERY = set(RANK)
HEAVY: dict[str, tuple[set[str], set[str]]] = {
    "torch": ({"nn", "lower"}, EVERY - {"ir", "ops", "spec", "analysis", "rewrite"}),
    "numpy": ({"nn", "lower", "search", "optical", "importer"}, EVERY),
    "networkx": (set(), EVERY),
    "optuna": ({"search"}, {"search", "cli"}),
    "sympy": (set(), set()),
}

# Modules outside those units that are torch code through and through, and the reason.
TORCH_MODULES: dict[str, str] = {
    **{
    f"archgraph.optical.{name}": "what a 4f device computes, tensor by tensor"
    for name in ("detection", "fields", "layers", "optnn", "tiling")
    },
    **{
    f"archgraph.search.{name}": "imported when a trial is trained or measured"
    for name in (
        "data", "data.base", "data.files", "data.tasks",
        "objectives.devices", "objectives.latency", "objectives.proxies", "objectives.training",
    )
    },
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import: where it stands, what it names, and whether it runs only when a function is called."""

    module: str
    line: int
    target: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}{' inside a function' if self.lazy else ''}"


def modules(root: Path) -> dict[str, Path]:
    """Dotted name and file of every module of the package at ``root``."""
    names: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def unit(module: str) -> str:
    """The unit that a module of archgraph belongs to."""
    head, _, rest = module.partition(".")
    return rest.partition(".")[0] or head


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Every import of a module: statements, relative ones resolved, and calls of ``import_module`` with a constant."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def targets(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    above = package.split(".")[: len(package.split(".")) - level + 1]
                    base = ".".join([*above, *([base] if base else [])])
                assert base is not None
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in known else base
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for target in targets(node):
            yield Import(module, getattr(node, "lineno", 0), target, lazy)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy or is_type_checking(node))

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False)


def is_type_checking(node: ast.AST) -> bool:
    """Whether a statement is ``if TYPE_CHECKING:``; what stands below it never runs."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
    return False


def faults(root: Path) -> list[str]:
    """Every broken rule in the package at ``root``, one line each."""
    known = modules(root)
    found = [each for module, path in known.items() for each in imports(module, path, known)]
    unknown = sorted({unit(module) for module in known} - set(RANK))
    lines = [f"{root.name}/{name} stands in no row of LAYERS" for name in unknown]
    found = [each for each in found if unit(each.module) in RANK]
    lines += [f"{each}: {why}" for each in found if (why := fault(each, root.name))]
    lines += reaches_torch(found, known)
    return lines


def stale(root: Path) -> list[str]:
    """Exceptions in the tables above that nothing needs."""
    known = modules(root)
    found = [each for module, path in known.items() for each in imports(module, path, known)]
    used = {(unit(each.module), unit(each.target)) for each in found if each.target.split(".")[0] == root.name}
    lines = [f"SIBLINGS lists {a} → {b}, which nothing uses" for a, b in SIBLINGS if (a, b) not in used]
    lines += [f"TORCH_MODULES lists {module}, which is not there" for module in TORCH_MODULES if module not in known]
    return lines


def fault(each: Import, package: str) -> str | None:
    """What is wrong with one import by itself, if anything."""
    here, library = unit(each.module), each.target.split(".")[0]
    if library == package:
        there = unit(each.target)
        if there == here or there not in RANK:
            return None
        if here == package and not each.lazy:
            return "every module of the package runs this file first, so it imports on demand"
        if here not in ONLY_FOR.get(there, EVERY):
            return f"only {', '.join(sorted(ONLY_FOR[there]))} may"
        if RANK[there] > RANK[here]:
            return "that points upwards"
        if RANK[there] == RANK[here] and (here, there) not in SIBLINGS:
            return "they stand in one row"
        return None
    if library not in HEAVY or (library == "torch" and each.module in TORCH_MODULES):
        return None
    eager, lazily = HEAVY[library]
    if here in eager or (each.lazy and here in lazily):
        return None
    if here in lazily:
        return f"{library} may be imported there only inside a function"
    return f"{library} is not for {here}"


def reaches_torch(found: list[Import], known: dict[str, Path]) -> list[str]:
    """Modules that load torch when imported, through other modules of the package, though they should not."""
    eager = HEAVY["torch"][0]
    edges: dict[str, set[str]] = {module: set() for module in known}
    direct: set[str] = set()
    for each in found:
        if each.lazy:
            continue
        if each.target.split(".")[0] == "torch":
            direct.add(each.module)
        parts = each.target.split(".")
        edges[each.module].update(name for i in range(len(parts)) if (name := ".".join(parts[: i + 1])) in known)
    for module in known:
        if (parent := module.rpartition(".")[0]) in known:
            edges[module].add(parent)

    lines = []
    for start in known:
        if unit(start) in eager or start in direct or start in TORCH_MODULES:
            continue
        came_from = {start: ""}
        queue = [start]
        for module in queue:
            fresh = sorted(edges[module] - set(came_from))
            came_from.update(dict.fromkeys(fresh, module))
            queue += fresh
        if ends := [module for module in queue if module in direct]:
            path = [ends[0]]
            while before := came_from[path[0]]:
                path.insert(0, before)
            lines.append(f"importing {start} loads torch: {' → '.join(path)}")
    return lines


def test_imports_point_one_way() -> None:
    assert faults(ROOT) == []
    assert stale(ROOT) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"ir/a.py": "from archgraph.ops import b", "ops/b.py": ""}, ["points upwards"]),
        ({"ir/a.py": "def f():\n    from ..cli import b", "cli/b.py": ""}, ["points upwards"]),
        ({"spec/a.py": "import_module('archgraph.cli.b')", "cli/b.py": ""}, ["points upwards"]),
        ({"rewrite/a.py": "from archgraph.lower.b import c", "lower/b.py": ""}, ["stand in one row"]),
        ({"cli/a.py": "import archgraph.nn.b", "nn/b.py": ""}, ["only lower may"]),
        ({"ir/a.py": "from archgraph import __version__", "__init__.py": ""}, ["points upwards"]),
        ({"__init__.py": "from archgraph.ir import Graph", "ir/__init__.py": ""}, ["imports on demand"]),
        ({"ir/a.py": "def f():\n    import torch"}, ["torch is not for ir"]),
        ({"analysis/a.py": "import numpy as np"}, ["numpy may be imported there only inside a function"]),
        ({"analysis/a.py": "def f():\n    import numpy as np"}, []),
        ({"analysis/a.py": "if TYPE_CHECKING:\n    import networkx"}, []),
        ({"lower/a.py": "import sympy"}, ["sympy is not for lower"]),
        ({"lower/a.py": "import torch.fx", "report/b.py": "from archgraph.lower import a"}, ["report.b loads torch"]),
        (
            {"lower/__init__.py": "import torch", "lower/a.py": "", "cli/b.py": "from archgraph.lower import a"},
            ["cli.b loads torch"],
        ),
        ({"lower/a.py": "import torch.fx", "report/b.py": "def f():\n    from archgraph.lower import a"}, []),
        ({"lower/a.py": "from archgraph.ir.b import c\nimport torch", "ir/b.py": ""}, []),
        ({"helpers.py": ""}, ["in no row"]),
    ],
)
def test_broken_rules_are_found(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    root = tmp_path / "archgraph"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    lines = faults(root)
    assert len(lines) == len(expected), lines
    assert all(part in line for part, line in zip(expected, lines, strict=True)), lines
