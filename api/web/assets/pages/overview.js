// What is going on, and what needs somebody.

import * as api from "../api.js";
import { readAttention, showAttention } from "../attention.js";
import * as charts from "../charts.js";
import { button, el, link, refresh, replace } from "../dom.js";
import * as format from "../format.js";
import { retryAll } from "../jobs.js";
import * as live from "../live.js";
import * as parts from "../parts.js";

const SHOWN = [
  ["PENDING", "Waiting", "wait"],
  ["PROCESSING", "Running", "run"],
  ["PROCESSED", "Done", "good"],
  ["ERROR_PROCESSING", "Failed", "bad"],
];
const SAMPLE = 300;

export default function render(page, { onLeave }) {
  const tiles = el("div", { class: "tiles" });
  const queue = el("div");
  const attention = parts.place(readAttention, showAttention);
  const errors = parts.place(() => api.get("jobs/errors"), showErrors);
  const waiting = parts.place(readWaiting, showWaiting);
  const costs = parts.place(readCosts, showCosts);
  const budgets = parts.place(() => api.get("budgets"), showBudgets);
  const workers = parts.place(readWorkers, showWorkers);
  replace(
    page,
    parts.heading("Overview"),
    tiles,
    el(
      "div",
      { class: "cards" },
      parts.card("Needs attention", attention.box, { wide: true }),
      parts.card("Queue", queue, { wide: true }),
      parts.card("Why jobs wait", waiting.box),
      parts.card("Errors by cause", errors.box),
      parts.card("Cost today by model", costs.box, {
        note: "since midnight, UTC",
      }),
      parts.card("Workers", workers.box, {
        actions: link("All workers", "workers"),
      }),
      parts.card("Budgets", budgets.box),
    ),
  );

  let numbers = live.history.at(-1);
  const draw = () => {
    refresh(tiles, showTiles(numbers));
    refresh(queue, showQueue(numbers));
  };
  const first = async () => {
    const summary = await parts.attempt(() => api.get("jobs/summary"));
    if (summary) numbers = { counts: summary, ...live.history.at(-1) };
    draw();
  };
  draw();
  first();
  const again = {
    slow: live.gently(() => {
      for (const each of [errors, waiting, attention]) each.again();
    }, 3000),
    money: live.gently(() => {
      for (const each of [costs, budgets]) each.again();
    }, 5000),
    workers: live.gently(workers.again, 1500),
    attention: live.gently(attention.again, 1000),
  };
  onLeave(
    live.on("queue", () => {
      numbers = live.history.at(-1);
      draw();
      again.slow();
      again.money();
    }),
  );
  onLeave(live.on("worker", again.workers));
  onLeave(live.on("model", again.attention));
  onLeave(live.on("reset", first));
}

function showTiles(numbers) {
  const counts = numbers?.counts || {};
  const tile = (label, value, tone, query) =>
    el(
      query ? "a" : "div",
      { class: "tile", href: query && `#/jobs?status=${query}` },
      el("span", {}, tone && el("i", { class: `fill-${tone}` }), label),
      el("b", {}, value),
    );
  const rate = numbers?.perSecond;
  return [
    SHOWN.map(([status, label, tone]) =>
      tile(label, format.brief(counts[status]), tone, status),
    ),
    tile(
      "Jobs per second",
      rate === null || rate === undefined
        ? "–"
        : rate.toFixed(rate < 10 ? 1 : 0),
    ),
    tile("Time left", timeLeft(numbers)),
  ];
}

function timeLeft(numbers) {
  const counts = numbers?.counts || {};
  if (!counts.PENDING && !counts.PROCESSING) return "None";
  const left = numbers.secondsLeft;
  return left === null || left === undefined ? "–" : format.seconds(left);
}

function showQueue(numbers) {
  const counts = numbers?.counts || {};
  const points = live.history
    .filter((each) => each.perSecond !== null)
    .map((each) => [each.at, each.perSecond]);
  const statuses = Object.keys(format.STATUS).filter((each) => counts[each]);
  return [
    charts.parts(
      "Jobs by status",
      statuses.map((each) => {
        const [label, tone] = format.STATUS[each];
        return [label, counts[each], tone];
      }),
    ),
    el(
      "p",
      { class: "inline dim" },
      statuses.map((each) => [
        el(
          "span",
          {},
          `${format.STATUS[each][0]} `,
          el("b", {}, format.count(counts[each])),
        ),
      ]),
    ),
    points.length > 2 &&
      el(
        "figure",
        { style: { margin: "0.5rem 0 0" } },
        el("figcaption", { class: "dim" }, "Jobs that ended, per second"),
        charts.line("Jobs that ended, per second, over time", points, {
          wide: true,
          xText: (x) => format.clock(x),
          yText: (y) => (y > 0 && y < 10 ? y.toFixed(1) : format.brief(y)),
        }),
      ),
  ];
}

function showErrors(found) {
  if (!found.length) return parts.empty("No job has failed.");
  const rows = found.map(({ errorType, count }) => ({
    label: link(errorType, "jobs", [], {
      status: "ERROR_PROCESSING",
      errorType,
    }),
    value: count,
    shown: format.count(count),
    actions: button(
      "Retry",
      () => retryAll({ errorType, status: "ERROR_PROCESSING" }),
      {
        class: "small",
        "data-key": `retry ${errorType}`,
        "aria-label": `Retry the jobs with ${errorType}`,
      },
    ),
  }));
  return charts.bars(rows, "bad");
}

async function readWaiting() {
  return api.page("jobs", {
    status: "PENDING",
    limit: SAMPLE,
    fields: "waitingFor,model,clientId",
  });
}

function showWaiting({ items, next }) {
  if (!items.length) return parts.empty("No job waits.");
  const groups = new Map();
  for (const { waitingFor, model, clientId } of items) {
    const kind = waitingFor?.kind || "ITS_TURN";
    const group = groups.get(kind) || {
      count: 0,
      models: new Set(),
      clients: new Set(),
    };
    group.count += 1;
    group.models.add(model);
    group.clients.add(clientId);
    groups.set(kind, group);
  }
  const rows = [...groups]
    .sort(([, a], [, b]) => b.count - a.count)
    .map(([kind, group]) => {
      const [what, remedy] = format.WAITING[kind] || [
        format.sentence(kind),
        "",
      ];
      const who = [...group.models].slice(0, 3).join(", ");
      const clients = [...group.clients].slice(0, 2).map(api.clientName);
      return {
        label: [
          el("b", {}, what),
          el(
            "small",
            { class: "dim" },
            ` ${who}${api.isAdmin() ? `, of ${clients.join(", ")}` : ""}. ${remedy}`,
          ),
        ],
        value: group.count,
        shown: link(format.count(group.count), "jobs", [], {
          status: "PENDING",
          model: only(group.models),
          clientId: api.isAdmin() ? only(group.clients) : undefined,
        }),
      };
    });
  return [
    charts.bars(rows, "wait"),
    next && el("small", { class: "dim" }, `Of the first ${SAMPLE} that wait.`),
  ];
}

const only = (names) => (names.size === 1 ? [...names][0] : undefined);

const readCosts = () =>
  api.get("usage", { from: format.today(), groupBy: "model" });

function showCosts({ total, groups }) {
  if (!groups.length) return parts.empty("No call was made today.");
  const cost = (each) =>
    Object.values(each.costByCurrency || {}).reduce((a, b) => a + b, 0);
  const rows = groups
    .sort((a, b) => cost(b) - cost(a))
    .map((group) => ({
      label: [
        el("b", {}, group.model),
        el(
          "small",
          { class: "dim" },
          ` ${format.plural(group.requests, "call")}, ${format.brief(group.totalTokens)} tokens`,
        ),
      ],
      value: cost(group),
      shown: format.costs(group.costByCurrency),
    }));
  return [
    el(
      "p",
      { class: "inline" },
      el("b", {}, format.costs(total.costByCurrency)),
      el("span", { class: "dim" }, "in all"),
      total.unpricedRequests > 0 &&
        el(
          "span",
          { class: "dim" },
          `and ${format.plural(total.unpricedRequests, "call")} without a price`,
        ),
    ),
    charts.bars(rows),
  ];
}

function showBudgets(budgets) {
  if (!budgets.length) return parts.empty("No budget is set.");
  return el(
    "ul",
    { class: "bars" },
    budgets.map((budget) => {
      const part = budget.amount ? budget.spent / budget.amount : 1;
      const tone = part >= 1 ? "bad" : part > 0.8 ? "warn" : "good";
      return el(
        "li",
        {},
        el(
          "span",
          {},
          el("b", {}, budget.name),
          el(
            "small",
            { class: "dim" },
            ` ${budget.scope}, each ${budget.period}`,
          ),
        ),
        el(
          "span",
          { class: "bar-value" },
          `${format.money(budget.spent, budget.currency)} of ${format.money(budget.amount, budget.currency)}`,
        ),
        charts.meter(
          `Budget of ${budget.name}`,
          budget.spent,
          budget.amount,
          tone,
        ),
      );
    }),
  );
}

const readWorkers = () => api.all("workers");

function showWorkers(workers) {
  if (!workers.length) return parts.empty("There are no workers.");
  const running = workers.filter((each) => each.status === "running");
  const pools = new Map();
  let threads = 0;
  for (const worker of running) {
    for (const { pool } of worker.threadInfo?.threads || []) {
      pools.set(pool, (pools.get(pool) || 0) + 1);
      threads += 1;
    }
  }
  return [
    parts.facts([
      [
        "Running",
        `${format.count(running.length)} of ${format.count(workers.length)}`,
      ],
      ["Threads", format.count(threads)],
    ]),
    pools.size > 0 &&
      parts.table(
        "Where threads run",
        [
          ["Process", ([pool]) => el("code", {}, pool)],
          ["Threads", ([, number]) => number, { class: "num" }],
        ],
        [...pools],
      ),
  ];
}
