from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pytest
from pydantic import ValidationError

from llmplan.spec.base import (
    NAME_PATTERN,
    SUFFIX_UNITS,
    Bytes,
    BytesPerS,
    Count,
    FlopPerS,
    InUnit,
    Seconds,
    Source,
    Spec,
    folded,
    promised_unit,
)
from llmplan.units import UNITS


class Box(Spec):
    """A toy with one field of each sort."""

    name: str
    size_bytes: Bytes
    """How large."""
    rest_bytes: Bytes | None = None
    flop_per_s: Mapping[str, FlopPerS] = {}
    count: Count = 1


def box(**changes: object) -> Box:
    return Box.model_validate({"name": "toy", "size_bytes": "80 GiB"} | changes)


def test_a_quantity_is_read_from_text_with_its_unit():
    found = box(rest_bytes="1 KiB", flop_per_s={"bf16": "1 TFLOP/s"})
    assert (found.size_bytes, found.rest_bytes, found.flop_per_s) == (85899345920.0, 1024.0, {"bf16": 1e12})


@pytest.mark.parametrize("value", [80, 80.0, True, None, [80], {"B": 80}])
def test_a_bare_number_is_refused_with_an_example(value):
    with pytest.raises(ValidationError, match="has no unit; write it as '80 GiB'"):
        box(size_bytes=value)


def test_a_quantity_of_another_unit_is_refused():
    with pytest.raises(ValidationError, match="'80 TB/s' is in B/s, but B is wanted here"):
        box(size_bytes="80 TB/s")


def test_a_file_that_llmplan_wrote_holds_plain_numbers():
    found = Box.model_validate({"name": "toy", "size_bytes": 80}, context={"base_units": True})
    assert found.size_bytes == 80.0
    assert Box.model_validate(found.model_dump(), context={"base_units": True}) == found


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True])
def test_even_there_a_quantity_is_finite_and_not_negative(value):
    with pytest.raises(ValidationError):
        Box.model_validate({"name": "toy", "size_bytes": value}, context={"base_units": True})


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        box(size_byte="80 GiB")


def test_a_noun_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        box().name = "other"


def test_the_schema_tells_the_unit_and_the_docstring():
    schema = Box.model_json_schema()["properties"]["size_bytes"]
    assert schema["x-unit"] == "B"
    assert schema["type"] == "string"
    assert schema["examples"] == ["80 GiB"]
    assert schema["description"] == "How large."
    assert Box.model_json_schema(mode="serialization")["properties"]["size_bytes"]["type"] == "number"


def test_a_name_that_promises_another_unit_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"Bad\.a_bytes promises B, its type says \{'B/s'\}"):

        class Bad(Spec):
            a_bytes: BytesPerS


def test_the_promise_is_checked_inside_unions_and_mappings():
    with pytest.raises(TypeError, match="promises B, its type says"):

        class InUnion(Spec):
            a_bytes: BytesPerS | None = None

    with pytest.raises(TypeError, match="promises FLOP/s, its type says"):

        class InMapping(Spec):
            flop_per_s: Mapping[str, Mapping[str, Bytes]]

    with pytest.raises(TypeError, match="promises s, its type says"):

        class InTuple(Spec):
            wait_s: tuple[Bytes, ...]


def test_a_quantity_whose_name_is_silent_is_refused():
    with pytest.raises(TypeError, match="which its name does not say"):

        class Silent(Spec):
            bandwidth: BytesPerS

    with pytest.raises(TypeError, match="which its name does not say"):

        class Hidden(Spec):
            waits: tuple[Annotated[float, InUnit("s", example="1 s")], ...]


def test_a_name_that_keeps_its_promise_is_fine():
    class Good(Spec):
        a_bytes: Bytes
        waits_s: tuple[Seconds, ...] = ()
        tokens: int = 0
        ratio: float = 0.0

    assert Good.model_validate({"a_bytes": "1 B", "waits_s": ["1 ms"]}).waits_s == (0.001,)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("memory_bytes", "B"),
        ("memory_bytes_per_s", "B/s"),
        ("flop_per_s", "FLOP/s"),
        ("bf16_flop_per_s", "FLOP/s"),
        ("ttft_s", "s"),
        ("clock_hz", "Hz"),
        ("tdp_w", "W"),
        ("step_j", "J"),
        ("usd_per_hour", "USD/h"),
        ("requests_per_s", "requests/s"),
        ("tokens_per_s", "tokens/s"),
        ("gco2e_per_kwh", "gCO2e/kWh"),
        ("tokens", None),
        ("gpus", None),
        ("bytes_tokens", None),
    ],
)
def test_the_end_of_a_name_promises_a_unit(name, unit):
    assert promised_unit(name) == unit


def test_every_promise_is_of_a_base_unit():
    assert all(UNITS[unit] == (unit, 1.0) for _, unit in SUFFIX_UNITS)


@pytest.mark.parametrize("confidence", ["datasheet", "measured", "secondary", "derived", "memory", "preliminary"])
def test_a_source_says_how_much_it_can_be_trusted(confidence):
    assert Source.model_validate({"tag": "x", "confidence": confidence}).confidence == confidence


@pytest.mark.parametrize("confidence", ["", "sure", "datasheet ", "Datasheet"])
def test_a_source_has_no_other_confidence(confidence):
    with pytest.raises(ValidationError):
        Source.model_validate({"tag": "x", "confidence": confidence})


@pytest.mark.parametrize("name", ["h100-sxm", "llama-3.1-8b", "p5.48xlarge", "t4", "1b"])
def test_a_name_is_lower_case(name):
    assert NAME_PATTERN.match(name)


@pytest.mark.parametrize("name", ["", "H100", "a--b", "-a", "a-", "a.", "a_b", "a b", "a/b", "a\n", "../a", "ä"])
def test_nothing_else_is_a_name(name):
    assert not NAME_PATTERN.match(name)


def test_names_are_compared_without_case_and_separators():
    assert folded("H100_SXM") == folded("h100-sxm") == folded("H100 sxm") == "h100sxm"
    assert folded("qwen2.5") != folded("qwen25")
