"""Broken specs, one per kind of mistake, with everything that is said about each.

``cases/NAME.yaml`` is the spec and ``cases/NAME.txt`` its full message. After a deliberate change of messages

    ARCHGRAPH_UPDATE=1 python -m pytest tests/errors/test_messages.py

writes them anew; read the difference as a person would who has made that mistake.
"""

import os
import re

import pytest

from archgraph.ops.base import all_ops
from tests.errors.cases_reader import CASES, text_of

UPDATE = "ARCHGRAPH_UPDATE" in os.environ
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_message_is_as_stored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    said = text_of(f"{name}.yaml")
    stored = CASES / f"{name}.txt"
    if UPDATE:
        stored.write_text(said + "\n", encoding="utf-8")
    assert said + "\n" == stored.read_text(encoding="utf-8")


def test_every_stored_message_has_its_spec() -> None:
    assert sorted(path.stem for path in CASES.glob("*.txt")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_message_says_where_and_shows_the_line(name: str) -> None:
    stored = (CASES / f"{name}.txt").read_text(encoding="utf-8")
    heads = re.findall(r"^(\S.*?: )?error\[([\w/-]+)\]: (.+)$", stored, re.MULTILINE)
    assert heads
    for place, _, message in heads:
        assert message
        if place:
            assert re.fullmatch(r".+:\d+:\d+: ", place)
    assert stored.count("^") >= sum(1 for place, *_ in heads if place and not place.startswith("--"))
    assert not re.search(r"Traceback|object at 0x|<class|None\b", stored)


def test_there_is_a_case_for_most_kinds_of_mistake() -> None:
    codes = {c for path in CASES.glob("*.txt") for c in re.findall(r"error\[([\w/-]+)\]", path.read_text())}
    assert len(NAMES) >= 120
    assert len(codes) >= 70


def test_no_case_is_an_op_of_its_own() -> None:
    """Names in the cases that are meant to be unknown stay so."""
    assert not {"rellu", "layernorm", "secret_op", "mlpp"} & set(all_ops())
