"""``archgraph check``."""

from __future__ import annotations

from pathlib import Path

import typer

from archgraph.cli.options import AnySpecs, Json, Plugins, Settings


def check(specs: AnySpecs = None, settings: Settings = None, plugins: Plugins = None, json: Json = False) -> None:
    """Find every fault of some specs, in all their graphs and variants.

    Exit code 1 if there is one.

    Example:  archgraph check hornet my_model.yaml
    """
    from archgraph.cli.console import fault_to_dict, print_faults, print_json, progress
    from archgraph.cli.loading import read_settings, use_plugins
    from archgraph.ir.diagnostics import SpecError
    from archgraph.report.check import Checked, check_file, spec_files

    use_plugins(plugins)
    values = read_settings(settings)
    found: list[Checked] = []
    files: list[Path] = [] if specs else spec_files()
    for name in specs or ():
        try:
            files += spec_files(name)
        except SpecError as error:
            found.append(Checked(name, error.diagnostics))
    with progress(files, "checking") as each:
        found += [check_file(path, values) for path in each]
    if json:
        print_json(
            [{"path": c.path, "ok": c.ok, "faults": [fault_to_dict(fault) for fault in c.faults]} for c in found]
        )
    else:
        for checked in found:
            print_faults(checked.faults)
            if checked.ok:
                extent = _extent(checked.graphs, checked.variants)
                typer.echo(f"{checked.path}: {typer.style('ok', fg='green')}, {extent}")
    if not all(checked.ok for checked in found):
        raise typer.Exit(1)


def _extent(graphs: int, variants: int) -> str:
    if not graphs:
        return "a library of blocks"
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((graphs, "graph"), (variants, "variant")) if n)
