// What needs somebody: models, workers and budgets that are not well.

import * as api from "./api.js";
import { el, link } from "./dom.js";
import * as format from "./format.js";
import * as parts from "./parts.js";

export async function readAttention() {
  const [models, workers, budgets] = await Promise.all([
    api.all("models"),
    api.all("workers"),
    api.get("budgets"),
  ]);
  return { models, workers, budgets };
}

export function showAttention({ models, workers, budgets }) {
  const notices = [
    ...models.filter((each) => each.suspended).map(suspended),
    ...workers
      .filter(isBroken)
      .map((worker) =>
        notice(
          `Worker ${worker.name} does not run`,
          worker.threadInfo?.error || worker.threadInfo?.stoppedBecause,
          [link("Workers", "workers")],
        ),
      ),
    ...budgets
      .filter((each) => each.remaining <= 0)
      .map((budget) =>
        notice(
          `The budget of ${budget.name} is spent`,
          `${format.money(budget.spent, budget.currency)} of ${format.money(budget.amount, budget.currency)}; calls ${budget.onExhausted === "wait" ? "wait" : "fail"}${budget.resetsAt ? ` until ${format.moment(budget.resetsAt)}` : ""}.`,
        ),
      ),
  ];
  return notices.length
    ? el("ul", { class: "notices" }, notices)
    : el(
        "p",
        { class: "good-text" },
        "Nothing: models, workers and budgets are well.",
      );
}

const isBroken = (worker) =>
  worker.status === "error" ||
  Boolean(worker.threadInfo?.error || worker.threadInfo?.stoppedBecause);

function notice(title, text, actions = []) {
  return el(
    "li",
    { class: "notice bad" },
    el("h3", {}, title),
    el("p", {}, text),
    actions.length > 0 && el("div", { class: "actions" }, actions),
  );
}

function suspended(model) {
  const { reason, message, since, retryAt } = model.suspended;
  return notice(
    `${model.name} is suspended: ${format.sentence(reason)}`,
    [
      message,
      ` (since ${format.moment(since)}, ${format.ago(since)}; next trial ${format.moment(retryAt)})`,
    ],
    [
      api.isAdmin() &&
        parts.working("Resume now", () =>
          parts.attempt(
            () => api.act(`models/${model.model_id}/resume`),
            `${model.name} is used again`,
          ),
        ),
      link("Its jobs", "jobs", [], { model: model.name, status: "PENDING" }),
    ],
  );
}
