"""The command line. Each command is a module; what it needs is imported when it runs."""


def main() -> None:
    """Run ``archgraph`` with the arguments of the process."""
    import sys

    from archgraph.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        # a terminal without Unicode shows replacements instead of ending in a traceback
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="archgraph")
