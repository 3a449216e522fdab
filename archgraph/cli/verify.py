"""``archgraph verify``."""

from __future__ import annotations

import typer

from archgraph.cli.options import AnySpecs, Json, Plugins


def verify(specs: AnySpecs = None, plugins: Plugins = None, json: Json = False) -> None:
    """Put every number that a spec claims beside ours: exact, to the digits printed, or within its tolerance.

    Without arguments also the papers' claims that compare specs (alone: `archgraph verify headlines`). Variants without
    a claim are listed as unclaimed. Exit code 1 where one differs and no reason is recorded.

    Example:  archgraph verify vit hornet headlines
    """
    from archgraph.cli.console import console, print_faults, print_json, progress
    from archgraph.cli.loading import use_plugins
    from archgraph.ir.diagnostics import Diagnostic, SpecError
    from archgraph.report.verify import Verified, verified_files, verify_file

    use_plugins(plugins)
    found: list[Verified] = []
    unreadable: list[Diagnostic] = []
    with progress(verified_files(*(specs or [])), "verifying") as files:
        for path in files:
            try:
                found += verify_file(path)
            except SpecError as error:
                unreadable += error.diagnostics
    if json:
        print_json([each.to_dict() for each in found])
    else:
        from archgraph.report.tables import verified_view

        console().print(verified_view(found))
    print_faults([*unreadable, *(fault for each in found for fault in each.faults)])
    if unreadable or not all(each.ok for each in found):
        raise typer.Exit(1)
