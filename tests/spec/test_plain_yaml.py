from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmplan.spec.plain_yaml import read_plain
from llmplan.spec.yaml_files import _Loader

FOLDER = Path(__file__).parents[2]
FILES = sorted(p for kind in ("hardware", "models", "engines", "techniques") for p in FOLDER.glob(f"{kind}/**/*.yaml"))
PLAIN = {"gpus", "links", "nodes", "prices"}
"""Folders whose files are all plain: there are many of them."""


def in_full(text):
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a safe loader


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_shipped_file_means_the_same_read_in_haste_and_in_full(path):
    text = path.read_text("utf-8")
    found = read_plain(text)
    assert found == (in_full(text) if found is not None or path.parent.name in PLAIN else None)


def test_a_plain_file_is_nested_by_two_spaces():
    text = (
        '# head\na: b c  # said\nd:\n  e: {f: 1, g: "x, y"}\n\n  h: [i, 2, null]\n'
        "k: >-\n  one\n  two: three # four\nl: 0.5\n"
    )
    want = {"a": "b c", "d": {"e": {"f": 1, "g": "x, y"}, "h": ["i", 2, None]}, "k": "one two: three # four", "l": 0.5}
    assert read_plain(text) == want == in_full(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "a: 'x'\n",
        "a: x: y\n",
        "a:\n  b: 1\n c: 2\n",
        "a:\n    b: 1\n",
        "a: >-\n  x\n\n  y\n",
        "a: |\n  x\n",
        "a: &x 1\n",
        "a: !int 1\n",
        "a: x\n  y\n",
        "a: [1, [2]]\n",
        "a: {b: {c: 1}}\n",
        "a: {b: 1, b: 2}\n",
        "a: 1\na: 2\n",
        "- a\n",
        "a: - b\n",
        "a: -\n",
        'a: "\\u0041"\n',
        "a:\nb: 1\n",
        "1: a\n",
        "null: a\n",
        "a: {1: b}\n",
        "--- a: b\n",
        "\ta: b\n",
        "a: b\n---\nc: d\n",
        "a: [x,\n  y]\n",
        "a: ~\n",
    ],
)
def test_whatever_else_is_left_to_yaml(text):
    assert read_plain(text) is None


SCALARS = st.one_of(
    st.sampled_from(
        ["x", "80 GiB", "1", "-1", "010", "1.5", "1e9", "12:30", "null", "true", "NO", "~", "a:b", "a#b", "a #b"]
    ),
    st.sampled_from(
        ['"x"', '"a, b # c: d"', "x's", "a  ", "[a, b ]", "{a: b, c: 2}", "{a: }", "[]", "{}", "=", "%", "."]
    ),
    st.text(alphabet="ab1-.:,#'\"[]{} \\", min_size=1, max_size=8),
)
LINES = st.builds(
    lambda indent, key, value: f"{' ' * indent}{key}:{value}",
    st.sampled_from([0, 0, 0, 2, 4, 1]),
    st.sampled_from(["a", "b", "c", "a.b/c", "1", "no"]),
    st.one_of(st.just(""), st.just(" >-"), SCALARS.map(lambda text: f" {text}")),
)


@given(st.lists(LINES, min_size=1, max_size=6).map("\n".join))
def test_what_is_read_in_haste_means_the_same_in_full(text):
    found = read_plain(text)
    if found is not None:
        assert found == in_full(text)
