"""Plots of a study: Optuna's, as HTML by plotly and PNG by matplotlib, and the front over cost."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.search.metrics import COSTS
from archgraph.search.worker import record_of

if TYPE_CHECKING:
    from archgraph.search.results import Results

__all__ = ["plot"]


def plot(results: Results, target: Path) -> tuple[list[Path], list[str]]:
    """Write every plot that the study allows.

    Returns
    -------
    files : list of Path
    left_out : list of str
        Plots that could not be drawn, and why.

    Raises
    ------
    SpecError
        If plotly or matplotlib is missing, or no trial is complete.
    """
    try:
        import matplotlib

        importlib.import_module("plotly")  # Optuna imports it when it draws
    except ImportError as error:
        message = f"plots need {error.name}"
        raise SpecError(Diagnostic("plot/package", None, message, hint="pip install 'archgraph[search]'")) from None
    matplotlib.use("agg")
    if not any(t.state == TrialState.COMPLETE for t in results.trials):
        raise SpecError(Diagnostic("plot/empty", None, "no trial is complete yet"))
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    left_out: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's matplotlib front is marked experimental
        for name, html, png in _plots(results):
            try:
                html(target / f"{name}.html")
                png(target / f"{name}.png")
                written += [target / f"{name}.html", target / f"{name}.png"]
            except (ValueError, RuntimeError, ImportError, ZeroDivisionError) as error:
                (target / f"{name}.html").unlink(missing_ok=True)
                left_out.append(f"{name}: {error}")
    return written, left_out


def _plots(results: Results) -> list[tuple[str, Callable[[Path], None], Callable[[Path], None]]]:
    from optuna import visualization as interactive
    from optuna.visualization import matplotlib as still

    study = results.optuna
    names = [o.name for o in results.study.objectives]
    found: list[tuple[str, Callable[[Path], None], Callable[[Path], None]]] = []

    def pair(name: str, function: str, **options: Any) -> None:
        def html(path: Path) -> None:
            path.write_text(getattr(interactive, function)(study, **options).to_html(include_plotlyjs="cdn"), "utf-8")

        def png(path: Path) -> None:
            _save(getattr(still, function)(study, **options), path)

        found.append((name, html, png))

    several = len(names) > 1
    if len(names) in (2, 3):
        pair("front", "plot_pareto_front")
    for k, name in enumerate(names):
        options: dict[str, Any] = {"target": lambda t, k=k: t.values[k], "target_name": name} if several else {}
        suffix = f"_{name}" if several else ""
        pair(f"history{suffix}", "plot_optimization_history", **options)
        pair(f"importances{suffix}", "plot_param_importances", **options)
        pair(f"parallel{suffix}", "plot_parallel_coordinate", **options)
    cost = next((c for c in ("macs", "params") if c not in names), None)
    quality = next((o for o in results.study.objectives if o.metric not in COSTS), None)
    if quality is not None:
        costs = dict.fromkeys([*(n for n in names if n in COSTS), *([cost] if cost else [])])
        found += [(f"{quality.name}_over_{axis}", *_over(results, quality.name, axis)) for axis in costs]
    return found


def _save(axes: Any, path: Path) -> None:
    import matplotlib.pyplot as plt
    import numpy as np

    figure = np.ravel(np.asarray(axes, dtype=object))[0].figure
    figure.set_size_inches(8, 5)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _over(results: Results, name: str, cost: str) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """The front of one objective over a cost, all trials behind it."""
    k = next(i for i, o in enumerate(results.study.objectives) if o.name == name)
    better = max if results.study.objectives[k].direction == "maximize" else min
    done = [t for t in results.trials if t.state == TrialState.COMPLETE and cost in record_of(t).get("costs", {})]
    points = sorted((record_of(t)["costs"][cost], t.values[k], t.number) for t in done)
    steps: list[tuple[float, float, int]] = []
    for x, y, number in points:
        if not steps or (better(y, steps[-1][1]) == y and y != steps[-1][1]):
            if steps and steps[-1][0] == x:
                steps.pop()
            steps.append((x, y, number))

    def html(path: Path) -> None:
        go = importlib.import_module("plotly.graph_objects")
        figure = go.Figure()
        labels = [f"trial {n}" for *_, n in points]
        figure.add_scatter(
            x=[p[0] for p in points], y=[p[1] for p in points], mode="markers", text=labels, name="trials"
        )
        front_labels = [f"trial {n}" for *_, n in steps]
        figure.add_scatter(
            x=[p[0] for p in steps], y=[p[1] for p in steps], mode="lines+markers", line_shape="hv", text=front_labels,
            name="front",
        )  # fmt: skip
        figure.update_layout(xaxis_title=cost, yaxis_title=name, title=results.study.name)
        path.write_text(figure.to_html(include_plotlyjs="cdn"), "utf-8")

    def png(path: Path) -> None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots()
        axes.scatter([p[0] for p in points], [p[1] for p in points], s=14, alpha=0.5, label="trials")
        axes.step(
            [p[0] for p in steps], [p[1] for p in steps], where="post", marker="o", color="tab:red", label="front"
        )
        axes.set_xlabel(cost)
        axes.set_ylabel(name)
        axes.set_title(results.study.name)
        axes.legend()
        _save(axes, path)

    return html, png
