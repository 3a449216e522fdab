"""``archgraph parity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.options import Json, Plugins

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR…", help="Folders to look in, at any depth.", exists=True, show_default=False),
]
Keys = Annotated[
    bool, typer.Option("--keys", help="Check key lists of published checkpoints (`keys-*.tsv.gz`) instead of runs.")
]


def parity(folders: Folders, keys: Keys = False, plugins: Plugins = None, json: Json = False) -> None:
    """Rebuild recorded runs of reference implementations, load their weights strictly, and compare the outputs.

    A run is a folder with a case.yaml; its class is looked up among the references of the shipped specs. Exit code 1
    if one fails.

    Example:  archgraph parity cases/hornet
    """
    from archgraph.cli.loading import use_plugins

    use_plugins(plugins)
    code = run(folders, json, keys)
    if code:
        raise typer.Exit(code)


def run(paths: list[Path], json: bool, keys: bool = False) -> int:
    """Print a row for every case (or key list) below some folders; 1 if one fails, 2 if there is none."""
    from archgraph.cli.console import console, print_json, progress
    from archgraph.lower.cases import find_cases, find_key_lists
    from archgraph.lower.parity import check_key_list, run_case

    found = find_key_lists(paths) if keys else find_cases(paths)
    if not found:
        what = "keys-*.tsv.gz" if keys else "case.yaml"
        typer.echo(f"no {what} in {', '.join(map(str, paths))}", err=True)
        return 2
    with progress(found, "comparing") as each:
        if keys:
            lists = [check_key_list(file) for file in each]
        else:
            rows = [run_case(folder) for folder in each]
    if json:
        print_json({"keys": [row.as_json() for row in lists]} if keys else {"cases": [row.as_json() for row in rows]})
    else:
        from archgraph.report.parity import cases_view, keys_view

        console().print(keys_view(lists) if keys else cases_view(rows))
    return int(any(row.verdict == "fail" for row in (lists if keys else rows)))
