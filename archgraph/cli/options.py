"""Arguments and options that several commands take."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer


def complete_spec(incomplete: str) -> list[str]:
    """Shipped specs, for the shell; paths are the shell's own."""
    from archgraph.spec.spec_files import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


def complete_variant(ctx: typer.Context, incomplete: str) -> list[str]:
    """Variants of the spec that stands on the line already."""
    from archgraph.ir.diagnostics import SpecError
    from archgraph.spec.spec_files import parse_file, resolve

    # An option that still lacks its value keeps the parser from sorting the rest of the line.
    given = ctx.params.get("specs") or ctx.params.get("spec") or [a for a in ctx.args if not a.startswith("-")]
    found: list[str] = []
    for name in [given] if isinstance(given, str) else given:
        with suppress(SpecError):
            found += [v for path in resolve(name) for v in parse_file(path).variants]
    return [v for v in found if v.startswith(incomplete)]


_SPEC_HELP = "A YAML file, or the name of a shipped spec; `hornet:tiny_7x7` chooses a variant."

Spec = Annotated[str, typer.Argument(metavar="SPEC", help=_SPEC_HELP, autocompletion=complete_spec, show_default=False)]
Specs = Annotated[
    list[str], typer.Argument(metavar="SPEC…", help=_SPEC_HELP, autocompletion=complete_spec, show_default=False)
]
AnySpecs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SPEC…]", help=f"{_SPEC_HELP} All shipped ones if left out.", autocompletion=complete_spec),
]
Variant = Annotated[
    str | None, typer.Option("--variant", "-v", help="One of the spec's variants.", autocompletion=complete_variant)
]
Variants = Annotated[
    list[str] | None,
    typer.Option("--variant", "-v", help="A variant; may repeat, for a row each.", autocompletion=complete_variant),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="Set a hyperparameter; may repeat.")
]
At = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="INPUT=SHAPE",
        help="Input sizes, as image=1x3x384x384; sets the hyperparameters in the input's pattern. A name in place of "
        "a size keeps it symbolic; the shapes of a list input are parted by commas. May repeat.",
    ),
]
GraphName = Annotated[str | None, typer.Option("--graph", "-g", help="Which graph, where the spec has several.")]
Depth = Annotated[int, typer.Option("--depth", "-d", min=0, help="How many levels of blocks to open.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", "-p", metavar="MODULE", help="A module or Python file that declares ops; may repeat."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
