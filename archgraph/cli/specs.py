"""``archgraph specs``."""

from __future__ import annotations

from archgraph.cli.options import Json


def specs(json: Json = False) -> None:
    """List the shipped specs: name, variants, what it is, and the paper.

    Example:  archgraph specs
    """
    from archgraph.cli.console import console, print_faults, print_json, progress
    from archgraph.ir.diagnostics import SpecError
    from archgraph.spec.model import SpecFile
    from archgraph.spec.spec_files import parse_file, shipped

    named = [
        (name if len(files) == 1 else f"{name}/{path.stem}", path)
        for name, files in shipped().items()
        for path in files
    ]
    read: list[tuple[str, SpecFile]] = []
    with progress(named, "reading") as each:
        for name, path in each:
            try:
                read.append((name, parse_file(path)))
            except SpecError as error:
                print_faults(error.diagnostics)
    if json:
        print_json(
            [
                {
                    "name": name,
                    "path": file.path,
                    "summary": file.summary,
                    "variants": list(file.variants),
                    "graphs": list(file.graphs),
                    "paper": dict(file.paper),
                }
                for name, file in read
            ]
        )
        return
    from archgraph.report.tables import specs_view

    console().print(specs_view(read))
