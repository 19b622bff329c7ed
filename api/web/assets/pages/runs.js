// Runs: progress, candidates, and which prompt won.

import * as api from "../api.js";
import { el, link, replace } from "../dom.js";
import * as format from "../format.js";
import * as live from "../live.js";
import * as parts from "../parts.js";
import renderRun from "../run.js";

export default function render(page, context) {
  if (context.parts.length) return renderRun(page, context);
  const place = parts.place(
    async () => (await api.all("runs")).reverse(),
    (runs) => show(runs),
  );
  replace(
    page,
    parts.heading("Runs", { lead: "Loops that look for better prompts." }),
    place.box,
  );
  context.onLeave(live.on("run", live.gently(place.again, 1500)));
  context.onLeave(live.on("reset", place.again));
}

function show(runs) {
  if (!runs.length) {
    return parts.empty(
      "There are no runs. Start one with POST /runs or `metasync optimize`.",
    );
  }
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Runs",
      [
        ["Run", (run) => link(nameOf(run), "runs", [run.runId])],
        ["Status", (run) => parts.badge(run.status)],
        ["Models", (run) => run.workingModels.join(", ")],
        ["Score", score],
        ["Jobs", (run) => format.count(jobsOf(run)), { class: "num" }],
        ["Cost", costOf, { class: "num" }],
        ["Started", (run) => parts.time(run._metadata.createdAt)],
        ...(api.isAdmin()
          ? [["Client", (run) => parts.client(run.clientId)]]
          : []),
      ],
      runs,
    ),
  );
}

export const nameOf = (run) =>
  run.datasetId
    ? `${format.sentence(run.strategy)}, ${run.runId.slice(-6)}`
    : `Loop ${run.runId.slice(-6)}`;

const jobsOf = (run) =>
  run.jobsUsed ??
  run.modelRuns.reduce((sum, each) => sum + each.iterations.length, 0);

function costOf(run) {
  if (run.usage) return format.costs(run.usage.costByCurrency);
  const { totalCost, currency } = run.processingMetrics || {};
  return format.money(totalCost, currency);
}

function score(run) {
  const before = run.baseline?.validation?.score;
  const after = run.best?.validation?.score;
  if (after === undefined || after === null) return "–";
  return [
    `${format.percent(before)} → `,
    el(
      "b",
      { class: after > before ? "good-text" : "" },
      format.percent(after),
    ),
  ];
}
