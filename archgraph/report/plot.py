"""Cost curves as a PNG picture, by matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.report.curves import samples

if TYPE_CHECKING:
    from archgraph.report.compare import Comparison

#: Okabe and Ito's colours, which colour-blind people tell apart, and dashes for print without colours.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4b5563", "#8d7f00")
_DASHES: Final = ("-", "--", ":", "-.")
_CROSSINGS: Final = 20  # marked; beyond, lines would hide the curves


def png(comparison: Comparison, width: float = 8.0, height: float = 4.8, dpi: int = 160) -> bytes:
    """The curves as a picture of ``width`` × ``height`` inches, both axes logarithmic, crossings marked.

    Raises
    ------
    SpecError
        Without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator
    except ImportError:
        raise SpecError(
            Diagnostic(
                "plot/matplotlib",
                None,
                "a picture as PNG needs matplotlib, which is not installed",
                hint="pip install 'archgraph[search]', or write --svg or --html, which need nothing",
            )
        ) from None
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")  # of no window: nothing is opened
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log", base=2 if comparison.cost == "activation_bytes" else 10)
    for k, (curve, points) in enumerate(zip(comparison.curves, samples(comparison), strict=True)):
        axes.plot(
            [n for n, _ in points],
            [v for _, v in points],
            color=COLOURS[k % len(COLOURS)],
            linestyle=_DASHES[k % len(_DASHES)],
            linewidth=2,
            marker="o" if len(points) <= 24 else None,
            markersize=4,
            label=f"{curve.label}   {curve.order(comparison.high)}",
        )
    for crossing in comparison.crossovers[:_CROSSINGS]:
        axes.axvline(crossing.at, color="#888888", linestyle=(0, (1, 3)), linewidth=1, zorder=0)
        axes.annotate(
            f"{crossing.at:,}", (crossing.at, 1), (3, -10), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=8, color="#444444",
        )  # fmt: skip
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{round(n):,}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda n, _: ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: comparison.cell(round(v))))
    axes.set_xlabel(comparison.name)
    axes.set_ylabel({"macs": "MACs", "flops": "FLOPs", "params": "params"}.get(comparison.cost, "peak of activations"))
    axes.grid(color="#e8ebef")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
