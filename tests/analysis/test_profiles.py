"""Shipped profiles: every figure has a source, the schema takes them, and rates are what their makers say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archgraph.analysis.profiles import (
    FOLDER,
    KEYS,
    DeviceProfile,
    load_profile,
    profile_schema,
    read_profile,
    shipped_profiles,
)
from archgraph.spec.yaml import load_yaml
from archgraph.spec.yaml_dump import dump_yaml


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_figure_has_a_source(name: str) -> None:
    found = load_profile(name)
    raw = load_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(found.sources) == set(raw) - {"archgraph", "summary", "sources"}
    assert found.summary
    assert found.energy is not None


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_schema_takes_it(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = profile_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    raw = json.loads(json.dumps(load_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))))
    jsonschema.validate(raw, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**raw, "watts": 5}, schema)
    assert set(schema["properties"]) == set(KEYS)


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_profile_written_is_read_back(name: str) -> None:
    found = load_profile(name)
    again = read_profile(dump_yaml(found.to_dict()), f"{name}.yaml")
    assert again.to_dict() == found.to_dict()
    assert again.name == name


def test_narrower_products_are_no_slower_and_take_no_more_energy() -> None:
    order = ("float64", "float32", "tf32", "bfloat16", "int8")
    for name in shipped_profiles():
        found = load_profile(name)
        rates = [found.macs_per_second[t] for t in order if t in found.macs_per_second]
        assert rates == sorted(rates)
        assert found.energy is not None
        joules = [found.energy.picojoules_per_mac[t] for t in order if t in found.energy.picojoules_per_mac]
        assert joules == sorted(joules, reverse=True)


def test_a_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("archgraph: 1\nmacs_per_second: {float32: 1.0e+9}\nbytes_per_second: 1.0e+9\n", encoding="utf-8")
    first = load_profile("own.yaml", tmp_path)
    assert first is load_profile(str(path))
    path.write_text("archgraph: 1\nmacs_per_second: {float32: 25.0e+9}\nbytes_per_second: 1.0e+9\n", encoding="utf-8")
    assert load_profile(str(path)).macs_per_second == {"float32": 25e9}
    assert isinstance(first, DeviceProfile)
    assert first.name == "own"


def test_the_dtype_that_is_meant() -> None:
    assert DeviceProfile("a", {"int8": 1e9, "float32": 1e9}, 1e9).dtype == "float32"
    assert DeviceProfile("a", {"int8": 1e9, "float16": 1e9}, 1e9).dtype == "int8"


def test_the_schema_in_the_repository_is_this_one() -> None:
    from archgraph.spec.schema import schema_text
    from tools.schema import DEVICES

    assert DEVICES.read_text(encoding="utf-8") == schema_text(profile_schema()), "run `make docs`"
