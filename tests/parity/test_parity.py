"""Shipped specs against recorded runs of the papers' own implementations.

A few small recordings are kept beside this file; the rest, and most key lists of published checkpoints, lie in the
shared folder, where there is one. A class there that no spec covers is skipped, and said so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from archgraph.lower.cases import find_cases, find_key_lists
from archgraph.lower.parity import KeyRow, Row, check_key_list, idle_rules, run_case
from archgraph.spec.reference import Reference
from archgraph.spec.reference_parse import references
from archgraph.spec.spec_files import parse_file, shipped
from tests.shared_files import shared_folder

HERE = Path(__file__).parent / "fixtures"
SHARED = shared_folder()
FOLDERS = [HERE] if SHARED is None else [HERE, SHARED / "fixtures"]
CASES = find_cases(FOLDERS)
LISTS = find_key_lists(FOLDERS)

R = TypeVar("R", Row, KeyRow)


def label(path: Path) -> str:
    where = "kept" if path.is_relative_to(HERE) else "shared"
    return f"{where}-{path.parent.name}-{path.name.removesuffix('.tsv.gz')}"


def judged(row: R, path: Path) -> R:
    """The row, which passes; the test is skipped where no spec has the class, but for the recordings kept here."""
    if row.verdict == "unmapped" and not path.is_relative_to(HERE):
        pytest.skip(row.reason)
    assert row.verdict == "pass", row.reason
    return row


@pytest.mark.parametrize("folder", CASES, ids=label)
def test_a_recorded_run_is_repeated(folder: Path) -> None:
    row = judged(run_case(folder), folder)
    assert row.params == row.params_expected
    assert row.max_abs_error is not None


@pytest.mark.parametrize("file", LISTS, ids=label)
def test_keys_of_a_published_checkpoint_are_ours(file: Path) -> None:
    row = judged(check_key_list(file), file)
    assert row.theirs > 0
    assert row.ours > 0


def entries() -> list[tuple[str, Reference]]:
    """Every entry of the shipped specs, by the name that rows give the spec."""
    return [
        (name if len(paths) == 1 else f"{name}/{path.stem}", reference)
        for name, paths in shipped().items()
        for path in paths
        for reference in references(parse_file(path)).values()
    ]


@pytest.mark.skipif(SHARED is None, reason="the recordings kept here are too few to try every rule")
def test_every_rename_rule_is_needed_somewhere() -> None:
    fired: dict[tuple[str, str], set[int]] = {}
    _each(run_case, CASES, fired)
    _each(check_key_list, LISTS, fired)
    assert idle_rules(fired, entries()) == []


def _each(
    check: Callable[[Path, dict[tuple[str, str], set[int]]], object],
    paths: list[Path],
    fired: dict[tuple[str, str], set[int]],
) -> None:
    for path in paths:
        check(path, fired)
