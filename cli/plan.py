"""`--plan`: what a run would ask, cost and take. It makes no call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.models.cost import TokenCounts, from_units
from cli.attachments import texts_of
from cli.input_file import Item, Question
from cli.known_model import KnownModel
from cli.pilot import money
from cli.results_file import Row
from cli.terminal import one_line, span
from utilities import payload, templates
from utilities.template_filters import count_tokens

# Tokens are counted in so many rows; for the others, by their bytes.
_COUNTED = 1000
_PROBLEMS_SHOWN = 3
# What a chat's frame adds to a request.
_FRAME_TOKENS = 8
_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do; tokens and money are estimates.

    `refused` says, by line, why the provider would not take a row.
    """

    rows: int
    kept: int
    input_tokens: int
    model: KnownModel
    refused: Mapping[int, str] = field(default_factory=dict)
    # Of rows that are answered already, on average; None without any.
    output_tokens: float | None = None
    seconds_each: float | None = None

    @property
    def asked(self) -> int:
        """How many rows would be asked."""
        return self.rows - self.kept

    def cost(self, output_tokens: float) -> float | None:
        """Price the rows, if each is answered with so many tokens."""
        price = self.model.price
        if price is None or not self.asked:
            return None
        counts = TokenCounts(
            self.input_tokens, 0, 0, round(output_tokens * self.asked), 0
        )
        units = price.cost.table.price(counts, requests=self.asked)
        return from_units(sum(units))

    def seconds(self, concurrency: int) -> tuple[float | None, str]:
        """Return how long it takes at least, and what bounds it."""
        limits = self.model.limits
        answered = self.output_tokens or 0
        tokens = self.input_tokens + answered * self.asked
        at_once = min(concurrency, limits.get("maxConcurrency", concurrency))
        found = {
            f"{limits[name]:,} {words}": 60 * amount / limits[name]
            for name, words, amount in (
                ("requestsPerMinute", "requests a minute", self.asked),
                ("tokensPerMinute", "tokens a minute", tokens),
            )
            if name in limits
        }
        if self.seconds_each:
            work = self.seconds_each * self.asked
            found[f"{at_once:,} calls at once"] = work / at_once
        if not found:
            return None, ""
        longest = max(found, key=lambda each: found[each])
        return found[longest], longest


def plan_of(
    items: Sequence[Item],
    kept: Mapping[str, Row],
    question: Question,
    model: KnownModel,
) -> Plan:
    """Work out what is to be asked: rows without an answer in `kept`."""
    waiting = [each for each in items if each.key not in kept]
    sizes: list[int] = []
    refused: dict[int, str] = {}
    for item, tokens in _tokens(waiting, question, refused):
        sizes.append(tokens)
        if model.window is not None and tokens > model.window:
            refused[item.line] = (
                f"about {tokens:,} tokens; the model takes {model.window:,}"
            )
    metrics = [row.get("metrics") or {} for row in kept.values()]
    return Plan(
        rows=len(items),
        kept=len(items) - len(waiting),
        input_tokens=sum(sizes),
        model=model,
        refused=refused,
        output_tokens=_mean(each.get("outputTokens") for each in metrics),
        seconds_each=_mean(each.get("duration") for each in metrics),
    )


def show(
    plan: Plan,
    console: Console,
    *,
    concurrency: int,
    budgets: Iterable[Mapping[str, object]] = (),
) -> None:
    """Print a plan."""
    table = Table(
        title="Plan: no call was made",
        show_header=False,
        title_justify="left",
        box=ROUNDED,
    )
    table.add_column(style="cyan")
    table.add_column(justify="right", overflow="fold")
    for name, value in _lines(plan, concurrency):
        table.add_row(name, escape(value))
    for budget in budgets:
        table.add_row("Budget left", escape(_budget(budget)))
    console.print(table)
    shown = list(plan.refused.items())[:_PROBLEMS_SHOWN]
    for line, why in shown:
        console.print(f"  line {line}: {why}", markup=False, highlight=False)
    if plan.output_tokens is None and plan.asked:
        console.print(
            "How long answers are, a pilot tells: --pilot 50.",
            highlight=False,
        )


def _lines(plan: Plan, concurrency: int) -> Iterator[tuple[str, str]]:
    kept = f" ({plan.kept:,} of {plan.rows:,} are answered)"
    yield "Rows to ask", f"{plan.asked:,}{kept if plan.kept else ''}"
    yield "Rows refused", f"{len(plan.refused):,}" if plan.refused else "none"
    yield "Input tokens", f"about {plan.input_tokens:,}"
    yield "Output tokens", _output(plan)
    yield "Price", _price(plan.model)
    yield from _costs(plan)
    seconds, bound = plan.seconds(concurrency)
    if seconds is None:
        yield "Time", "not known before the first answers"
    else:
        yield "Time", f"at least {span(seconds)} ({bound})"


def _output(plan: Plan) -> str:
    most = plan.model.output_tokens
    parts = []
    if plan.output_tokens is not None:
        parts.append(f"{plan.output_tokens:,.0f} a row so far")
    if most is not None:
        parts.append(f"{most:,} a row at most")
    return ", ".join(parts) or "not known"


def _costs(plan: Plan) -> Iterator[tuple[str, str]]:
    price = plan.model.price
    if price is None or not plan.asked:
        return
    currency = price.cost.currency
    amounts = [("Cost of the input", 0.0)]
    if plan.output_tokens is not None:
        amounts = [("Cost, as so far", plan.output_tokens)]
    amounts.append(("Cost at most", price.output_tokens))
    for name, tokens in amounts:
        amount = plan.cost(tokens)
        if amount is not None:
            yield name, f"about {money(amount, currency)}"


def _price(model: KnownModel) -> str:
    if model.price is None:
        return "not known: give --input-price and --output-price"
    cost = model.price.cost
    factor = _PER_MILLION / cost.tokens
    return (
        f"{cost.input * factor:g} in, {cost.output * factor:g} out, "
        f"{one_line(cost.currency)} a million tokens"
    )


def _budget(budget: Mapping[str, object]) -> str:
    return (
        f"{budget['remaining']:,.2f} of {budget['amount']:,.2f} "
        f"{one_line(str(budget['currency']))} ({budget['scope']}, "
        f"{budget['period']})"
    )


def _tokens(
    items: Sequence[Item], question: Question, refused: dict[int, str]
) -> Iterator[tuple[Item, int]]:
    """Estimate the tokens of each row; note those that cannot be filled."""
    step = max(1, len(items) // _COUNTED)
    counted, size = 0, 0
    for number, item in enumerate(items):
        try:
            text = _asked(item, question)
        except templates.TemplateError as error:
            refused[item.line] = str(error)
            continue
        length = len(text.encode())
        if number % step == 0 or not counted:
            tokens = count_tokens(text)
            counted, size = counted + tokens, size + length
        else:
            tokens = round(length * counted / max(size, 1))
        yield item, tokens + _FRAME_TOKENS


def _asked(item: Item, question: Question) -> str:
    """Give all that a row's request says."""
    if not question.is_template:
        return f"{question.prompt}\n{payload.dump(item.request_data)}"
    values = {**item.request_data, **texts_of(item.attachments)}
    return "\n".join(
        templates.render(text, values) for text in question.templates
    )


def _mean(values: Iterable[object]) -> float | None:
    found = [float(each) for each in values if isinstance(each, int | float)]
    return fmean(found) if found else None
