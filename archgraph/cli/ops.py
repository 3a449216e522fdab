"""``archgraph ops``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import Json, Plugins


def complete_op(incomplete: str) -> list[str]:
    """Names of ops, for the shell."""
    from archgraph.ops.base import all_ops

    return [name for name in sorted(all_ops()) if name.startswith(incomplete)]


def ops(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="An op, for its attributes.", autocompletion=complete_op)
    ] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """List the ops, or describe one: operands, attributes with defaults, whether it counts.

    Example:  archgraph ops conv2d
    """
    from archgraph.cli.console import console, fail, print_json
    from archgraph.cli.loading import use_plugins
    from archgraph.ir.diagnostics import did_you_mean
    from archgraph.ops.base import all_ops
    from archgraph.report.ops import op_to_dict

    use_plugins(plugins)
    known = dict(sorted(all_ops().items()))
    if name is None:
        if json:
            print_json([op_to_dict(op) for op in known.values()])
            return
        from archgraph.report.tables import ops_view

        console().print(ops_view(known.values()))
        return
    if name not in known:
        near = did_you_mean(name, known)
        hint = f"did you mean `{near}`?" if near else "`archgraph ops` lists them"
        fail("op/unknown", f"there is no op called `{name}`", hint=hint)
    if json:
        print_json(op_to_dict(known[name]))
    else:
        from archgraph.report.tables import op_view

        console().print(op_view(known[name]))
