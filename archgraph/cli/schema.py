"""``archgraph schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import Plugins


def schema(
    plugins: Plugins = None, rules: Annotated[bool, typer.Option("--rules", help="That of rewrite rules.")] = False
) -> None:
    """Print the JSON Schema of spec files, ops of plugins included, for editors.

    Example:  archgraph schema --plugin my_ops > my-spec.json
    """
    import sys

    from archgraph.cli.loading import use_plugins
    from archgraph.spec.schema import schema_text, spec_schema

    use_plugins(plugins)
    if rules:
        from archgraph.rewrite.schema import rule_schema

        sys.stdout.write(schema_text(rule_schema()))
    else:
        sys.stdout.write(schema_text(spec_schema()))
