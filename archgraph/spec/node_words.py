"""The words that a node may say, by what it is."""

from __future__ import annotations

from typing import Final

META: Final = frozenset(
    {
        "op",
        "in",
        "when",
        "else",
        "as",
        "shape",
        "unused",
        "frozen",
        "repeat",
        "for",
        "each",
        "map",
        "label",
        "weights",
        "vmap",
        "share",
    }
)
FORMS: Final = ("op", "formula", "residual", "switch", "share", "graph", "list")
FORM_KEYS: Final[dict[str, frozenset[str]]] = {
    "formula": frozenset({"formula", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}),
    "residual": frozenset(
        {"residual", "shortcut", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}
    ),
    "switch": frozenset(
        {"switch", "cases", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}
    ),
    "list": frozenset({"list", "when", "else", "as"}),
    "share": frozenset({"share", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}),
    "graph": frozenset(
        {
            "graph",
            "inputs",
            "vmap",
            "outputs",
            "carry",
            "updates",
            "in",
            "when",
            "else",
            "as",
            "shape",
            "repeat",
            "for",
            "each",
            "map",
            "label",
            "unused",
            "frozen",
        }
    ),
}
