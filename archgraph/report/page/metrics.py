"""What a page measures: quantities that reports and their rows have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity.

    Attributes
    ----------
    key : str
        The attribute of a `Report` (and of a `Row`) that holds it, dots for attributes of attributes.
    label : str
        What people call it.
    unit : str
        ``""`` for counts (decimal prefixes), ``"B"`` for bytes (binary prefixes), ``"s"``, ``"J"`` and the like.
    about : str
        One sentence on what is counted.
    adds_up : bool
        Whether rows add up to the row above, so that they can be shown as its parts.
    """

    key: str
    label: str
    unit: str
    about: str
    adds_up: bool = True

    def of(self, thing: object) -> Any:
        """Its value of a report or a row; None where there is none."""
        for name in self.key.split("."):
            thing = getattr(thing, name, None)
        return thing

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "key": self.key,
            "label": self.label,
            "unit": self.unit,
            "about": self.about,
            "addsUp": self.adds_up,
        }


PARAMS: Final = Metric("params", "Params", "", "Trained numbers; shared weights count once.")
MACS: Final = Metric("macs", "MACs", "", "Multiply-accumulates of contractions and convolutions in one evaluation.")
FLOPS: Final = Metric("flops", "FLOPs", "", "Two per MAC, and all element-wise work.")
MEMORY: Final = Metric(
    "saved_bytes", "Memory", "B", "All values made in one evaluation: an upper bound of what training keeps."
)
PEAK: Final = Metric(
    "activation_bytes", "Peak memory", "B", "Values alive at once in an evaluation, without inputs and weights.", False
)
WEIGHTS: Final = Metric("weight_bytes", "Weights", "B", "Params and buffers.", False)

BOUND: Final = Metric(
    "roofline.bound", "Bound", "s", "A time that nothing can beat on the device, whatever is fused or cached.", False
)
OP_BY_OP: Final = Metric("roofline.op_by_op", "Op by op", "s", "The roofline of every op by itself, on the device.")
ENERGY: Final = Metric("roofline.op_by_op_energy", "Energy", "J", "Of every op by itself, on the device.")

#: What blocks are measured by. Those that a report or its rows lack are left out.
METRICS: Final = (PARAMS, MACS, FLOPS, MEMORY, PEAK, OP_BY_OP, ENERGY)
#: What stands at the head of a page.
TOTALS: Final = (PARAMS, MACS, FLOPS, WEIGHTS, PEAK, BOUND, OP_BY_OP, ENERGY)
