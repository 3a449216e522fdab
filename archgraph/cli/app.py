"""The application: its commands, and what happens to errors.

Exit codes: 0, 1 for faults in what was given or found, 2 for a wrong use of the command line, 130 when interrupted.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from archgraph.cli import (
    build,
    check,
    compare,
    devices,
    diff,
    draw,
    dump,
    ops,
    optical,
    parity,
    report,
    rewrite,
    schema,
    search,
    specs,
    verify,
)


class Commands(TyperGroup):
    """Turns the errors that users can cause into diagnostics and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        from archgraph.ir.diagnostics import Diagnostic, SpecError

        try:
            return super().invoke(ctx)
        except SpecError as error:
            faults = error.diagnostics
        except OSError as error:
            if error.filename is None:  # a closed pipe, say: nothing that names a file of the user's
                raise
            faults = (Diagnostic("file/access", None, f"{error.filename}: {error.strerror}"),)
        from archgraph.cli.console import print_faults

        print_faults(faults)
        raise typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    name="archgraph",
    help="Architectures as data: check, cost, draw and build PyTorch models from YAML specs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"archgraph {version('archgraph')}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for command in (
    check.check,
    report.report,
    compare.compare,
    build.build,
    draw.draw,
    dump.dump,
    rewrite.rewrite,
    rewrite.find,
    rewrite.rules,
    diff.diff,
    ops.ops,
    parity.parity,
    specs.specs,
    schema.schema,
    verify.verify,
):
    app.command()(command)

app.add_typer(devices.app)
app.add_typer(optical.app)
app.add_typer(search.app)
