from __future__ import annotations

import time

import pytest

from llmplan.errors import InputError
from llmplan.spec.yaml_files import MAX_BYTES, MAX_DEPTH, read_yaml, scalar, with_values


def read(text: str) -> object:
    return read_yaml(text, "f.yaml").data


def refusal(text: str) -> str:
    with pytest.raises(InputError) as error:
        read_yaml(text, "f.yaml")
    said = str(error.value)
    assert said.startswith("f.yaml")
    assert "\n" not in said
    return said


@pytest.mark.parametrize("text", ["NO", "no", "on", "off", "yes", "Y", "TRUE", "12:30", "1:2:3", "010", "08", "0x10"])
def test_what_other_readers_turn_into_something_else_stays_text(text):
    assert read(f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", ["0o17", "1_000", "2024-01-01", ".inf", ".nan", "1e", "e5", "<<", "="])
def test_what_is_no_plain_number_stays_text(text):
    assert read(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e9", 1e9), ("1E-3", 1e-3), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("5", 5), ("-5", -5), ("+1", 1), ("0", 0)],
)
def test_numbers_are_numbers(text, value):
    found = read(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_true_and_null_are_what_json_calls_so():
    assert read("a: true\nb: false\nc: null\nd: ~\ne:") == {"a": True, "b": False, "c": None, "d": None, "e": None}


def test_json_is_read_too():
    assert read('{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\na: 2", 2), ("b:\n  a: 1\n  c: 2\n  a: 3", 4), ("{a: 1, a: 1}", 1), ("1: x\n1: y", 2)]
)
def test_a_key_that_comes_twice_is_an_error_with_its_line(text, line):
    said = refusal(text)
    assert said.startswith(f"f.yaml:{line}: key ")
    assert said.endswith("is here twice; keep one")


@pytest.mark.parametrize("text", ["? [a]\n: 1", "? {a: 1}\n: 1", "[a]: 1"])
def test_a_key_is_text(text):
    assert refusal(text) == "f.yaml:1: not valid YAML: a key must be text"


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "a: &x 1\nb: 2", "- &a [x]", "a: &x {b: 1}\nc:\n  <<: *x"])
def test_anchors_and_aliases_are_refused(text):
    assert refusal(text) == "f.yaml:1: anchors and aliases are not read; write the value out"


def test_the_catalog_may_use_anchors_but_merges_nothing():
    found = read_yaml("a: &x {k: 1}\nb: *x\nc: {<<: *x}", "f.yaml", trusted=True).data
    assert found == {"a": {"k": 1}, "b": {"k": 1}, "c": {"<<": {"k": 1}}}


def test_a_billion_laughs_are_refused_at_once():
    lines = ["a0: &a0 [lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    start = time.perf_counter()
    assert "anchors" in refusal("\n".join(lines))
    assert time.perf_counter() - start < 1


def test_nesting_has_a_limit():
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    too_deep = f"f.yaml:1: nested deeper than {MAX_DEPTH} levels"
    assert refusal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) == too_deep
    assert refusal("[" * 100_000) == too_deep
    assert refusal('{"a":' * 100_000) == too_deep


@pytest.mark.parametrize("text", ["\ta: 1", "a:\n\t- 1"])
def test_a_tab_is_no_indent(text):
    assert "found character that cannot start any token" in refusal(text)


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "# only words", "---"])
def test_an_empty_file_holds_nothing(text):
    assert read(text) is None


def test_a_huge_file_is_refused_before_it_is_read():
    said = refusal("a: " + "x" * MAX_BYTES)
    assert said.endswith(f"is too large; want at most {MAX_BYTES // 2**20} MiB")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2", "did not find expected ',' or ']'"),
        ("a: 'x", "unexpected end of stream"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: \x01", "control characters are not allowed"),
        ("a: !!int x", "an explicit tag is not read"),
        ("a: " + "9" * 5000, "cannot be read as YAML"),
    ],
)
def test_what_is_no_yaml_is_said_on_one_line(text, said):
    assert said in refusal(text)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [ls]", "!!python/name:os.system", "!foo 1"])
def test_no_tag_runs_anything(tag):
    assert "an explicit tag is not read" in refusal(f"a: {tag}")


def test_a_value_knows_its_line():
    text = read_yaml("a: 1\nb:\n  c:\n    - 1\n    - d: 2\n", "f.yaml")
    assert text.line(("a",)) == 1
    assert text.line(("b", "c")) == 3
    assert text.line(("b", "c", 1, "d")) == 5
    assert text.line(()) is None


def test_a_missing_value_is_at_the_nearest_line_above():
    text = read_yaml("a: 1\nb:\n  c: 2\n", "f.yaml")
    assert text.line(("b", "x")) == 2
    assert text.line(("b", "c", 7)) == 3


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("500 ms p95", "500 ms p95"), ("[1, 2]", [1, 2]), ("NO", "NO"), ("", None)]
)
def test_an_option_is_one_yaml_value(text, value):
    assert scalar(text) == value


def test_an_option_that_is_no_value_is_refused():
    with pytest.raises(InputError, match=r"value '\[1'"):
        scalar("[1")


@pytest.mark.parametrize(
    ("data", "path", "result"),
    [
        ({"a": {"b": 1, "c": 2}}, "a.b", {"a": {"b": 9, "c": 2}}),
        ({}, "a.b.c", {"a": {"b": {"c": 9}}}),
        ({"a": None}, "a.b", {"a": {"b": 9}}),
        ({"a": [{"r": 1}, {"r": 2}]}, "a[1].r", {"a": [{"r": 1}, {"r": 9}]}),
    ],
)
def test_a_value_is_set_by_its_path_in_a_copy(data, path, result):
    before = repr(data)
    assert with_values(data, {path: 9}, "f.yaml") == result
    assert repr(data) == before


@pytest.mark.parametrize(("data", "path"), [({"a": 1}, "a.b"), ({"a": [1]}, "a[3]"), ({}, "a[0]"), ([], "a")])
def test_a_path_through_nothing_is_refused(data, path):
    with pytest.raises(InputError) as error:
        with_values(data, {path: 9}, "f.yaml")
    assert str(error.value) == f"f.yaml: there is nothing at {path!r} to set"
