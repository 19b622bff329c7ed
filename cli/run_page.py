"""`--html`: one page on a run, for people. It needs nothing else.

What comes from the input, the model or a provider is hostile: the template
escapes every value, the page has no script, and its policy allows none, nor
anything from elsewhere.
"""

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cli.answer_classes import by_class, confusion
from cli.early_stop import Cause, advice
from cli.errors import CommandError, reason
from cli.input_file import Item
from cli.pilot import money
from cli.results_file import PROCESSED, Row
from cli.run_settings import RunOptions
from cli.tally import Tally, row_cost
from cli.terminal import span
from utilities import payload

_TEMPLATES = Path(__file__).parent / "page_templates"
_POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    "style-src 'sha256-{digest}'"
)
_EXAMPLES, _CAUSES, _BARS = 8, 10, 12
_LONGEST_TEXT, _LONGEST_PROMPT = 1_500, 20_000
_HALF, _NINETEEN = 0.5, 0.95


def write_page(
    options: RunOptions,
    items: Sequence[Item],
    rows: Mapping[str, Row],
    tally: Tally,
) -> None:
    """Write the page of a run.

    Raises:
        CommandError: it cannot be written.
    """
    path = options.html
    assert path is not None  # noqa: S101 - whoever calls wants it
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(
            page_of(options, items, rows, tally), encoding="utf-8"
        )
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def page_of(
    options: RunOptions,
    items: Sequence[Item],
    rows: Mapping[str, Row],
    tally: Tally,
) -> str:
    """Make the page."""
    style = (_TEMPLATES / "run.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(style.encode()).digest()
    found = list(rows.values())
    return (
        _environment()
        .get_template("run.html.j2")
        .render(
            # As read from our own package, and hashed in the policy.
            style=Markup(style),  # noqa: S704
            policy=_POLICY.format(digest=base64.b64encode(digest).decode()),
            options=options,
            tally=tally,
            unasked=len(items) - len(rows),
            prompt=_shortened(options.prompt, _LONGEST_PROMPT),
            user=options.user and _shortened(options.user, _LONGEST_PROMPT),
            latency=_latency(found),
            bars=_bars(found),
            causes=_causes(found),
            classes=by_class(found),
            confusion=confusion(found, options.answer_field),
            examples=_examples(items, rows),
            mistakes=_mistakes(items, rows),
            mean_cost=tally.cost / len(found) if found else 0.0,
            dearest=max(map(row_cost, found), default=0.0),
        )
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"money": money, "span": span}
    environment.filters |= {
        "count": lambda value: f"{value:,}",
        "percent": lambda value: f"{100 * value:.1f} %",
    }
    return environment


def _durations(rows: Iterable[Row]) -> list[float]:
    found = ((row.get("metrics") or {}).get("duration") for row in rows)
    return sorted(float(each) for each in found if each)


def _latency(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, in seconds."""
    values = _durations(rows)
    if not values:
        return None
    places = (int(share * (len(values) - 1)) for share in (_HALF, _NINETEEN))
    median, high = (values[place] for place in places)
    return median, high


def _bars(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Count rows by how long they took; each bar is as wide."""
    values = _durations(rows)
    if not values:
        return []
    width = values[-1] / _BARS or 1.0
    counts = Counter(min(int(each / width), _BARS - 1) for each in values)
    most = max(counts.values())
    return [
        {
            "from": number * width,
            "to": (number + 1) * width,
            "count": counts[number],
            "height": 100 * counts[number] / most,
        }
        for number in range(_BARS)
    ]


def _causes(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Count failed rows by their cause, with the words of one of them."""
    failed = [row for row in rows if row["status"] != PROCESSED]
    counts = Counter(map(Cause.of, failed))
    first = {Cause.of(row): row for row in reversed(failed)}
    return [
        {
            "kind": cause.kind,
            "count": count,
            "line": first[cause]["line"],
            "words": _shortened(
                str((first[cause].get("error") or {}).get("message", ""))
            ),
            "advice": advice(cause.kind),
        }
        for cause, count in counts.most_common(_CAUSES)
    ]


def _examples(
    items: Sequence[Item], rows: Mapping[str, Row]
) -> list[dict[str, Any]]:
    """Show rows from all over the input: every n-th that is answered."""
    answered = [
        item
        for item in items
        if item.key in rows and rows[item.key]["status"] == PROCESSED
    ]
    step = max(1, len(answered) // _EXAMPLES)
    return [_example(each, rows) for each in answered[::step][:_EXAMPLES]]


def _mistakes(
    items: Sequence[Item], rows: Mapping[str, Row]
) -> list[dict[str, Any]]:
    wrong = [
        item
        for item in items
        if item.key in rows and rows[item.key].get("correct") is False
    ]
    return [_example(each, rows) for each in wrong[:_EXAMPLES]]


def _example(item: Item, rows: Mapping[str, Row]) -> dict[str, Any]:
    row = rows[item.key]
    return {
        "line": row["line"],
        "asked": _shortened(payload.dump(item.request_data)),
        "answer": _shortened(payload.dump(row["response"])),
        "label": row.get("label"),
        "correct": row.get("correct"),
    }


def _shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= longest else f"{text[:longest]} …"
