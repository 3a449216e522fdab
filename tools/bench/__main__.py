"""``python -m tools.bench [NAME…] [--quick] [--write]``: run benchmarks, print them, and keep them in the docs."""

from __future__ import annotations

import argparse
import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path

import tools.bench
from tools.bench.common import machine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `python -m tools.bench --write`. The machine class stands in each section; other processes used these
machines too, so compare within a table: ratios matter, milliseconds don't carry over.
"""


def benchmarks() -> list[str]:
    """Names of the modules here that have a `run`."""
    names = [m.name for m in pkgutil.iter_modules(tools.bench.__path__)]
    return [n for n in names if n != "__main__" and hasattr(import_module(f"tools.bench.{n}"), "run")]


def keep(name: str, text: str) -> None:
    """Put a section into the page, in place of an older one of that name."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else HEAD
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    block = f"{begin}{text}{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page = pattern.sub(lambda _: block, page) if pattern.search(page) else f"{page}\n{block}"
    PAGE.write_text(page, encoding="utf-8")


def main() -> int:
    """Run what is named, or all; 1 if a gate fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    known = benchmarks()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; all if left out")
    parser.add_argument("--quick", action="store_true", help="few repetitions, for a look")
    parser.add_argument("--only", default="", help="rows that hold this text, where the benchmark has parts")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/benchmarks.md")
    given = parser.parse_args()
    unknown = [n for n in given.names if n not in known]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(known)}")
    failed = False
    for name in given.names or known:
        part = {"only": given.only} if given.only else {}
        section = import_module(f"tools.bench.{name}").run(given.quick, **part)
        text = section.markdown() + f"\nMachine: {machine()}.\n"
        print(text, flush=True)
        failed = failed or not all(gate.ok for gate in section.all_gates)
        if given.write:
            keep(f"{name} {given.only}".strip(), text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
