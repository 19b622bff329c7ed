"""Texts with `{{name}}` in them, filled from JSON values.

Jinja's sandbox does the work, with less than Jinja's language: names and
their fields, a fixed list of filters, conditions. There are no loops, no
calls, no assignments and no arithmetic, so that a render takes time and
memory in proportion to what it is given; what comes out, the length of a
template and the number of its parts are bounded as well.

Only JSON values can be reached: a name's fields are looked up in objects
and lists, never as attributes of Python's.
"""

import difflib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from utilities.template_filters import (
    FILTERS,
    MOST_CHARACTERS,
    TemplateError,
    counted_work,
    text_of,
)

__all__ = ["TemplateError", "check_names", "has_marks", "render"]

MOST_TEXT = 1_000_000
# Words and signs inside the braces, and the pieces between them.
MOST_TOKENS = 3_000
MOST_DEPTH = 20
# All values together, for names with other characters.
WHOLE = "row"
_KEPT_TEMPLATES, _KEPT_CHARACTERS = 256, 16_000_000
_MOST_NAMES, _LONGEST_NAME, _NAMES_SHOWN = 1_000, 100, 10
_MARKS = ("{{", "{%", "{#")
_SPELLING = (
    "A name with other characters than letters, digits and _ is written "
    '{{ row["first name"] }}'
)
_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name,
    nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test,
    nodes.If, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not,
    nodes.Compare, nodes.Operand, nodes.List, nodes.Keyword,
)  # fmt: skip
_TESTS = frozenset({"defined", "undefined", "none"})


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A template that may be rendered, and the names that it needs."""

    template: Template
    needed: frozenset[str]


class _DataOnly(ImmutableSandboxedEnvironment):
    """Looks fields up in objects and lists, and nowhere else."""

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - JSON
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(obj, StrictUndefined):
            return obj
        try:
            if isinstance(obj, dict):
                return obj[argument]
            if isinstance(obj, list) and isinstance(argument, int):
                return obj[argument]
        except (LookupError, TypeError):
            pass
        hint = f"there is no {argument!r} in it"
        if isinstance(obj, dict):
            hint += _nearest(str(argument), map(str, obj))
        return self.undefined(hint=hint, obj=obj, name=argument)


def _environment() -> _DataOnly:
    made = _DataOnly(
        undefined=StrictUndefined,
        finalize=text_of,
        keep_trailing_newline=True,
        autoescape=False,
        cache_size=0,
    )
    made.globals.clear()
    made.filters.clear()
    made.filters.update(FILTERS)
    made.tests = {n: t for n, t in made.tests.items() if n in _TESTS}
    return made


_ENVIRONMENT = _environment()


class _Kept:
    """Templates that were compiled lately; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Compiled] = OrderedDict()
        self._characters = 0

    def get(self, text: str) -> _Compiled:
        with self._lock:
            if (found := self._entries.get(text)) is not None:
                self._entries.move_to_end(text)
                return found
        made = _compile(text)
        with self._lock:
            if text not in self._entries:
                self._entries[text] = made
                self._characters += len(text)
            self._make_room()
        return made

    def holds(self, text: str) -> bool:
        return text in self._entries

    def _make_room(self) -> None:
        while (
            len(self._entries) > _KEPT_TEMPLATES
            or self._characters > _KEPT_CHARACTERS
        ):
            gone, _ = self._entries.popitem(last=False)
            self._characters -= len(gone)


_KEPT = _Kept()


def has_marks(text: str) -> bool:
    """Tell whether a text is more than itself."""
    return any(mark in text for mark in _MARKS)


def is_kept(text: str) -> bool:
    """Tell whether a template need not be compiled again."""
    return _KEPT.holds(text)


def check_names(text: str, known: Iterable[str]) -> None:
    """Check that a text is a template that needs none but these names.

    Raises:
        TemplateError: it is none, or names what is not known.
    """
    if has_marks(text):
        _check_known(_KEPT.get(text), set(known))


def render(text: str, values: Mapping[str, Any]) -> str:
    """Fill a template from JSON values; a text without marks is itself.

    Raises:
        TemplateError: it is no template, names what is not there, or
            makes more text than it may.
    """
    if not has_marks(text):
        return text
    compiled = _KEPT.get(text)
    _check_known(compiled, values.keys())
    pieces, size = [], 0
    try:
        with counted_work():
            for piece in compiled.template.generate({WHOLE: values, **values}):
                pieces.append(piece)
                size += len(piece)
                if size > MOST_CHARACTERS:
                    raise TemplateError(  # noqa: TRY301 - as the others
                        "the text that the template makes is longer than "
                        f"{MOST_CHARACTERS:,} characters"
                    )
    except TemplateError:
        raise
    except JinjaError as error:
        raise TemplateError(_first_line(error)) from None
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TemplateError(f"it cannot be filled: {error}") from None
    return "".join(pieces)


def _compile(text: str) -> _Compiled:
    if len(text) > MOST_TEXT:
        raise TemplateError(f"it is longer than {MOST_TEXT:,} characters")
    try:
        _check_tokens(text)
        tree = _ENVIRONMENT.parse(text)
        needed = _check_tree(tree)
        return _Compiled(_ENVIRONMENT.from_string(tree), needed)
    except TemplateSyntaxError as error:
        hint = f". {_SPELLING}" if "end of print" in str(error) else ""
        where = f"line {error.lineno}: {_first_line(error)}{hint}"
        raise TemplateError(where) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateError("it is nested too deep") from None
    except TemplateError:
        raise
    except (JinjaError, ValueError) as error:
        raise TemplateError(_first_line(error)) from None


def _check_tokens(text: str) -> None:
    # Before anything is made of it.
    tokens = _ENVIRONMENT.lexer.tokeniter(text, None)
    words = (each for each in tokens if each[1] != "whitespace")
    if next(islice(words, MOST_TOKENS, None), None) is not None:
        raise TemplateError(
            f"it has more than {MOST_TOKENS:,} names, signs and pieces"
        )


def _check_tree(tree: nodes.Template) -> frozenset[str]:
    """Refuse what is not allowed; return the names that are needed."""
    needed: set[str] = set()
    optional: set[str] = set()
    layer: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while layer:
        node, depth = layer.pop()
        if depth > MOST_DEPTH:
            raise TemplateError("it is nested too deep")
        _check_node(node)
        if (may_miss := _optional(node)) is not None:
            optional.add(may_miss)
        elif (name := _needed(node)) is not None:
            needed.add(name)
        layer += [(each, depth + 1) for each in node.iter_child_nodes()]
    return frozenset(needed - optional - {WHOLE})


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        kind = type(node).__name__
        raise TemplateError(
            f"line {node.lineno}: {kind} is not possible in a template; there "
            "are names, their fields, filters and conditions. " + _SPELLING
        )
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise TemplateError(
            f"line {node.lineno}: there is no filter {node.name!r}"
            + _nearest(node.name, FILTERS)
        )
    if isinstance(node, nodes.Getitem) and not isinstance(
        node.arg, nodes.Const
    ):
        raise TemplateError(
            f"line {node.lineno}: only a fixed text or number can stand "
            "between [ and ]"
        )


def _optional(node: nodes.Node) -> str | None:
    """Return the name that may be missing, since the template asks."""
    asks = isinstance(node, nodes.Filter) and node.name == "default"
    asks |= isinstance(node, nodes.Test) and node.name in {
        "defined",
        "undefined",
    }
    return _needed(node.node) if asks else None  # type: ignore[attr-defined] # both have one


def _needed(node: nodes.Node | None) -> str | None:
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        return str(node.attr) if _is_whole(node.node) else None
    if isinstance(node, nodes.Getitem) and _is_whole(node.node):
        return str(getattr(node.arg, "value", ""))
    return None


def _is_whole(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == WHOLE


def _check_known(compiled: _Compiled, known: Iterable[str]) -> None:
    there = known if isinstance(known, set) else set(known)
    if unknown := sorted(compiled.needed - there):
        name = unknown[0][:_LONGEST_NAME]
        raise TemplateError(
            f"{name!r} is not known{_nearest(name, there)}; "
            + _names_of(there)
        )


def _names_of(known: Iterable[str]) -> str:
    names = sorted(islice(known, _MOST_NAMES))
    if not names:
        return "there are no names"
    shown = [each[:_LONGEST_NAME] for each in names[:_NAMES_SHOWN]]
    more = ["..."] if len(names) > _NAMES_SHOWN else []
    return f"known are: {', '.join([*shown, *more])}"


def _nearest(name: str, known: Iterable[str]) -> str:
    names = [each[:_LONGEST_NAME] for each in islice(known, _MOST_NAMES)]
    by_lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
