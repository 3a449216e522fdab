"""A declarative graph compiler for PyTorch: YAML block graphs, checked and costed before a tensor exists.

    import archgraph

    spec = archgraph.load("vit", "base", image_size=384)
    print(archgraph.report(spec))
    module = archgraph.build(spec)

Everything is imported when it is first asked for: nothing but `build` needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archgraph.analysis.function import cost_function
    from archgraph.ir.diagnostics import SpecError
    from archgraph.lower.build import build
    from archgraph.report.check import check
    from archgraph.report.law import law
    from archgraph.report.report import report
    from archgraph.report.verify import verify
    from archgraph.rewrite.api import find, rewrite
    from archgraph.rewrite.rule import load_rule
    from archgraph.spec.dump import dump
    from archgraph.spec.load import load, loads

__all__ = [
    "SpecError",
    "build",
    "check",
    "cost_function",
    "dump",
    "find",
    "law",
    "load",
    "load_rule",
    "loads",
    "report",
    "rewrite",
    "verify",
]

_HOMES = {
    "SpecError": "archgraph.ir.diagnostics",
    "build": "archgraph.lower.build",
    "check": "archgraph.report.check",
    "cost_function": "archgraph.analysis.function",
    "dump": "archgraph.spec.dump",
    "find": "archgraph.rewrite.api",
    "law": "archgraph.report.law",
    "load": "archgraph.spec.load",
    "load_rule": "archgraph.rewrite.rule",
    "loads": "archgraph.spec.load",
    "report": "archgraph.report.report",
    "rewrite": "archgraph.rewrite.api",
    "verify": "archgraph.report.verify",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
