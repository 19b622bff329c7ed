"""Templates: what they say, what they refuse, what they cost at most."""

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from utilities import template_filters, templates
from utilities.templates import TemplateError, check_names, render

ROW: dict[str, Any] = {
    "text": "Hello wörld, a long text",
    "user": {"name": "A", "items": [1, 2]},
    "n": 7,
    "first name": "F",
    "yes": True,
    "none": None,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("plain } text { with\n", "plain } text { with\n"),
        ("{{text}}!\n", "Hello wörld, a long text!\n"),
        ("{{ n }} {{ yes }} {{ none }}.", "7 true ."),
        ("{{ user }}", '{"name":"A","items":[1,2]}'),
        # The object's own fields, never those of Python's `dict`.
        ("{{ user.items }} {{ user.items[1] }}", "[1,2] 2"),
        ('{{ row["first name"] }}', "F"),
        ("{{ text | json }}", '"Hello wörld, a long text"'),
        ('{{ text | truncate_tokens(1, "...") }}', "Hello..."),
        ("{{ text | truncate_tokens(1000) }}", "Hello wörld, a long text"),
        ("{{ text | truncate_characters(4) | upper }}", "HELL"),
        ('{{ user.items | join("-") }} {{ text | length }}', "1-2 24"),
        ('{{ other | default("-") }}{{ none | default("-") }}', "--"),
        ("{% if other is defined %}{{ other }}{% endif %}.", "."),
        ('{% if n > 3 and text != "x" %}a{% else %}b{% endif %}', "a"),
        ("{% raw %}{{ text }}{% endraw %}", "{{ text }}"),
    ],
)
def test_a_template_is_filled(text: str, made: str) -> None:
    assert render(text, ROW) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ tetx }}", "'tetx' is not known (did you mean 'text'?)"),
        ("{{ row.tetx }}", "did you mean 'text'?"),
        ("{{ user.nme }}", "there is no 'nme' in it (did you mean 'name'?)"),
        ("{{ first name }}", 'row["first name"]'),
        ("{{ text | uper }}", "did you mean 'upper'?"),
        ("{% for x in user %}{{ x }}{% endfor %}", "For is not possible"),
        ("{{ range(10**9) }}", "Call is not possible"),
        ('{{ "a" * 1000000000 }}', "Mul is not possible"),
        ("{{ text ~ text }}", "Concat is not possible"),
        ("{% set a = 1 %}", "Assign is not possible"),
        ('{% include "x" %}', "Include is not possible"),
        ("{{ text[n] }}", "only a fixed text or number"),
        ("{{ text.__class__ }}", "there is no '__class__'"),
        ("{{ text < n }}", "cannot be filled"),
        ("{{ " + "(" * 500 + "n" + ")" * 500 + " }}", "nested too deep"),
        ("{{ " + "not " * 1000 + "n }}", "nested too deep"),
        ("{% if n %}" * 60 + "{% endif %}" * 60, "nested too deep"),
        ("{{ " + "9" * 5000 + " }}", "digits"),
        ("{{ text", "line 1"),
        ("{{a}}" * 150_000, "more than 3,000"),
        ("x" * 1_000_001 + "{{n}}", "longer than 1,000,000"),
    ],
)
def test_a_template_is_refused(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        render(text, ROW)
    assert said in str(refused.value)


@pytest.mark.timing
@pytest.mark.parametrize(
    "text",
    [
        "{{a}}" * 500,
        "{{ a | upper | json | truncate_tokens(1) }}" * 150,
        "{{ a | truncate_tokens(1000000) | length }}" * 300,
        "{% if a == b %}x{% endif %}" * 200,
    ],
)
def test_a_hostile_template_ends_soon(text: str) -> None:
    # Two values that only their last characters tell apart.
    values = {"a": "x" * 4_000_000 + "a", "b": "x" * 4_000_000 + "b"}
    began = time.perf_counter()
    try:
        made = render(text, values)
    except TemplateError:
        made = ""
    assert len(made) <= template_filters.MOST_CHARACTERS
    assert time.perf_counter() - began < 10


def test_few_templates_are_kept() -> None:
    for number in range(600):
        render(f"{number} {{{{ n }}}}", ROW)
    assert not templates.is_kept("0 {{ n }}")
    assert templates.is_kept("599 {{ n }}")


def test_names_are_checked_without_values() -> None:
    check_names("{{ a }}{{ row.b }}{{ c | default(1) }}", ["a", "b"])
    with pytest.raises(TemplateError, match="'b' is not known"):
        check_names("{{ a }}{{ row.b }}", ["a"])


@given(text=st.text(alphabet="{}%#|()[]\"'., abnr=-~*0", max_size=40))
def test_any_text_gives_a_text_or_says_why(text: str) -> None:
    # Nothing else is raised.
    with contextlib.suppress(TemplateError):
        assert isinstance(render(text, {"a": "x", "b": [1]}), str)


@given(value=JSON)
def test_any_value_is_what_it_was(value: Any) -> None:
    text = render("{{ a | json }}", {"a": value})
    assert from_json(text) == value


@given(text=st.text(max_size=60), most=st.integers(0, 20))
def test_a_cut_text_begins_as_the_whole(text: str, most: int) -> None:
    cut = render(f"{{{{ a | truncate_tokens({most}) }}}}", {"a": text})
    assert text.startswith(cut)
    assert len(cut) <= most * 61
