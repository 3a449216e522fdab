"""Drawings of a graph: Graphviz text, and pictures by Graphviz where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.graph import Graph
from archgraph.report.dot import to_dot
from archgraph.report.scene import scene
from archgraph.report.svg import to_svg

#: Formats by file suffix.
FORMATS: Final = ("dot", "gv", "svg", "png", "pdf")


def draw(graph: Graph, form: str = "dot", *, title: str = "", depth: int | None = 2) -> bytes:
    """A drawing of a graph, opened blocks as boxes around what is inside, repeats folded (``×12``).

    Parameters
    ----------
    graph : Graph
    form : str
        One of `FORMATS`. ``dot`` and ``gv`` are Graphviz text. Pictures are laid out by Graphviz' ``dot``; without it
        SVG is laid out here, and the others are refused.
    title : str
        Stands above; the graph's name by default.
    depth : int or None
        How many levels of composites to open; None opens all.

    Raises
    ------
    SpecError
        For other formats, and where Graphviz is needed and missing.
    """
    if form not in FORMATS:
        raise SpecError(
            Diagnostic("draw/format", None, f"there is no drawing as `{form}`", expected=", ".join(FORMATS))
        )
    seen, name = scene(graph, depth), title or graph.name
    if form in ("dot", "gv"):
        return to_dot(seen, name).encode()
    program = shutil.which("dot")
    if program is not None:
        return _rendered(program, form, to_dot(seen, name))
    if form == "svg":
        return to_svg(seen, name).encode()
    raise SpecError(
        Diagnostic(
            "draw/graphviz",
            None,
            f"a drawing as {form} needs Graphviz, whose program `dot` is not here",
            hint="install Graphviz, or write .svg or .dot",
        )
    )


def _rendered(program: str, form: str, text: str) -> bytes:
    done = subprocess.run([program, f"-T{form}"], input=text.encode(), capture_output=True, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()
        raise SpecError(Diagnostic("draw/graphviz", None, f"Graphviz can't draw this: {complaint}"))
    return done.stdout
