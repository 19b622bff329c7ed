// One run: what it has found, how, and what it changed.

import * as api from "./api.js";
import * as charts from "./charts.js";
import { diff } from "./diff.js";
import { el, field, link, replace, select } from "./dom.js";
import * as format from "./format.js";
import * as live from "./live.js";
import * as parts from "./parts.js";

export default function render(page, { parts: [runId], onLeave }) {
  const path = `runs/${encodeURIComponent(runId)}`;
  const texts = new Map();
  const read = async () => {
    const run = await api.get(path);
    const candidates = run.datasetId
      ? await api.all(`${path}/candidates`)
      : [];
    await learn(texts, [
      ...run.initialWorkingPromptIds,
      ...(run.bestPromptIds || []),
      ...iterations(run).map((each) => each.suggestedPromptId),
    ]);
    return { run, candidates };
  };
  const place = parts.place(read, (found) => show(found, texts, place), {
    className: "stack",
  });
  replace(page, place.box);
  const again = live.gently(place.again, 1500);
  onLeave(
    live.on("run", (event) => {
      if (event.data.runId === runId) again();
    }),
  );
}

const iterations = (run) => run.modelRuns.flatMap((each) => each.iterations);

// Prompts never change their texts here: each is read once.
async function learn(texts, ids) {
  const missing = [...new Set(ids)].filter((id) => id && !texts.has(id));
  const found = await Promise.all(
    missing.map((id) =>
      api.get(`prompts/${encodeURIComponent(id)}`).catch(() => null),
    ),
  );
  missing.forEach((id, i) => texts.set(id, found[i]));
}

const textOf = (texts, ids) =>
  (ids || []).map((id) => texts.get(id)?.prompt ?? "").join("\n\n");

function show({ run, candidates }, texts, place) {
  return [
    parts.heading(run.datasetId ? `Run, ${run.strategy}` : "Run", {
      lead: [parts.badge(run.status), " ", el("code", {}, run.runId)],
      actions: actions(run, place),
    }),
    run.failureReason &&
      el(
        "div",
        { class: "notice bad" },
        el("h2", {}, "It failed"),
        el("p", {}, run.failureReason),
      ),
    (run.warnings || []).map((each) =>
      el("div", { class: "notice" }, el("p", {}, each)),
    ),
    run.datasetId ? winner(run, texts) : null,
    el(
      "div",
      { class: "cards" },
      parts.card("Progress", progress(run)),
      parts.card("About", about(run)),
    ),
    run.datasetId
      ? parts.card("Candidates", candidateTable(run, candidates, texts))
      : parts.card("Iterations", iterationTable(run, texts)),
  ];
}

function actions(run, place) {
  const act = (label, method, path, attributes) =>
    parts.working(
      label,
      async () => {
        await parts.attempt(() => method(`runs/${run.runId}/${path}`));
        place.again();
      },
      { "data-key": path, ...attributes },
    );
  const change = (path) => api.patch(path);
  return [
    run.datasetId &&
      el(
        "a",
        {
          class: "button",
          href: new URL(`runs/${run.runId}/report`, api.ROOT).href,
          target: "_blank",
          rel: "noopener",
        },
        "Report",
      ),
    run.status === "RUNNING" && act("Pause", change, "pause"),
    (run.status === "PAUSED" || run.status === "FAILED") &&
      act("Resume", change, "resume", { class: "primary" }),
    ["RUNNING", "PAUSED", "PENDING"].includes(run.status) &&
      act("Cancel", change, "cancel", { class: "danger" }),
    run.datasetId &&
      run.status === "COMPLETED" &&
      !run.published &&
      act("Publish the best", api.act, "publish", { class: "primary" }),
    link("All runs", "runs"),
  ];
}

function winner(run, texts) {
  const ids = run.bestPromptIds;
  if (!ids?.length) {
    return parts.card(
      "The prompt that won",
      parts.empty("Nothing is measured yet."),
    );
  }
  const before = textOf(texts, run.initialWorkingPromptIds);
  const after = textOf(texts, ids);
  const same = before === after;
  return parts.card(
    "The prompt that won",
    el(
      "div",
      { class: "stack" },
      el("p", {}, verdict(run)),
      el(
        "p",
        { class: "inline" },
        ids.map((id) => {
          const found = texts.get(id);
          return (
            found && [
              link(`${found.name}, version ${found.version}`, "prompts", [id]),
              parts.badge(found.status),
            ]
          );
        }),
      ),
      same
        ? parts.text(after, "The prompt that won")
        : diff(before, after, "The initial prompt and the one that won"),
      !same &&
        parts.fold(
          "Only the prompt that won",
          parts.text(after, "The prompt that won"),
        ),
    ),
    {
      note: same
        ? "the initial prompt"
        : "what changed from the initial prompt",
    },
  );
}

function measured(score) {
  if (!score) return "–";
  const [low, high] = score.interval;
  return `${format.percent(score.score)} (${format.percent(low)} to ${format.percent(high)}, ${format.plural(score.count, "item")})`;
}

function verdict(run) {
  const words = {
    improved: ["Better than the initial prompt", "good-text"],
    "no difference": ["No difference that could be shown", "dim"],
    worse: ["Worse than the initial prompt", "bad-text"],
  };
  const [text, tone] = words[run.verdict] || ["Not tested yet", "dim"];
  const test = run.test;
  return [
    el("b", { class: tone }, text),
    test &&
      ` on ${format.plural(test.count, "test item")}: ${format.points(test.difference)} (p = ${test.pValue.toPrecision(2)})`,
  ];
}

function progress(run) {
  if (!run.datasetId) {
    const done = iterations(run).length;
    const all = run.maxIterations * run.workingModels.length;
    return [
      el(
        "p",
        {},
        `${format.count(done)} of ${format.plural(all, "iteration")}`,
      ),
      charts.meter("Iterations", done, all),
    ];
  }
  const points = (run.progress || []).map((each) => [each.jobs, each.score]);
  return [
    parts.facts([
      ["Initial prompt", measured(run.baseline?.validation)],
      ["Best prompt", measured(run.best?.validation)],
      ["Best on test", run.best?.test && measured(run.best.test)],
    ]),
    points.length > 1 &&
      charts.line("Best validation score over jobs", points, {
        xText: (x) => format.plural(Math.round(x), "job"),
        yText: (y) => format.percent(y, 0),
        dots: true,
      }),
  ];
}

function about(run) {
  const spent = run.usage
    ? format.costs(run.usage.costByCurrency)
    : format.money(
        run.processingMetrics?.totalCost,
        run.processingMetrics?.currency,
      );
  return parts.facts([
    ["Client", parts.client(run.clientId)],
    ["Working models", run.workingModels.join(", ")],
    ["Meta model", run.metaModel],
    ["Metric", run.metric?.type],
    ["Ended because", run.finishReason && format.sentence(run.finishReason)],
    ["Jobs", run.jobsUsed === undefined ? null : format.count(run.jobsUsed)],
    [
      "Tokens",
      run.tokensUsed === undefined ? null : format.count(run.tokensUsed),
    ],
    ["Cost", spent],
    [
      "Most cost",
      run.maxCost && format.money(run.maxCost.amount, run.maxCost.currency),
    ],
    ["Started", format.moment(run._metadata.createdAt)],
  ]);
}

function candidateTable(run, candidates, texts) {
  if (!candidates.length) return parts.empty("No prompt was tried yet.");
  const box = el("div", { class: "stack" });
  const best = run.best?.candidate;
  const rows = [...candidates].sort(
    (a, b) => (b.validationScore ?? -1) - (a.validationScore ?? -1),
  );
  replace(
    box,
    parts.table(
      "Candidates",
      [
        [
          "Candidate",
          (each) => [
            `${each.number}`,
            each.number === best && [
              " ",
              el("span", { class: "badge good" }, "won"),
            ],
          ],
        ],
        ["Model", (each) => each.model],
        [
          "Made by",
          (each) =>
            `${each.change}${each.parents.length ? `, from ${each.parents.join(", ")}` : ""}`,
        ],
        [
          "Validation",
          (each) => format.percent(each.validationScore),
          { class: "num" },
        ],
        ["Answers", (each) => format.count(each.jobs), { class: "num" }],
        ["Became a parent", (each) => (each.accepted ? "Yes" : "No")],
      ],
      rows,
    ),
    comparison(
      rows
        .filter((each) => each.promptIds.length)
        .map((each) => [
          each.promptIds.join(","),
          `Candidate ${each.number} (${format.percent(each.validationScore)})`,
        ]),
      run.initialWorkingPromptIds.join(","),
      texts,
    ),
  );
  return box;
}

function iterationTable(run, texts) {
  const rows = run.modelRuns.flatMap((each) =>
    each.iterations.map((iteration) => ({ ...iteration, model: each.model })),
  );
  if (!rows.length) return parts.empty("No iteration was made yet.");
  const ids = [
    ...new Set([
      ...run.initialWorkingPromptIds,
      ...rows.map((each) => each.suggestedPromptId).filter(Boolean),
    ]),
  ];
  return el(
    "div",
    { class: "stack" },
    parts.table(
      "Iterations",
      [
        ["Iteration", (each) => `${each.model}, ${each.iteration}`],
        [
          "Job",
          (each) => link(parts.badge(each.status), "jobs", [each.jobId]),
        ],
        [
          "Evaluation",
          (each) =>
            el(
              "code",
              {},
              JSON.stringify(each.evaluation ?? each.evalError ?? null),
            ),
        ],
        [
          "Suggested",
          (each) =>
            each.suggestedPromptId &&
            link("Prompt", "prompts", [each.suggestedPromptId]),
        ],
      ],
      rows,
    ),
    ids.length > 1 &&
      comparison(
        ids.map((id) => [
          id,
          `${texts.get(id)?.name ?? "Prompt"} ${texts.get(id)?.version ?? ""}`,
        ]),
        ids[0],
        texts,
      ),
  );
}

// Two prompts of the run, chosen, and what differs between them.
function comparison(options, first, texts) {
  if (!options.length) return null;
  const shown = el("div");
  const known = options.some(([value]) => value === first)
    ? options
    : [[first, "Initial prompt"], ...options];
  const chosen = { from: first, to: options[0][0] };
  const draw = async () => {
    const from = chosen.from.split(",");
    const to = chosen.to.split(",");
    await learn(texts, [...from, ...to]);
    replace(
      shown,
      diff(textOf(texts, from), textOf(texts, to), "What differs"),
    );
  };
  const choose = (side) => (event) => {
    chosen[side] = event.target.value;
    draw();
  };
  draw();
  return el(
    "div",
    { class: "stack" },
    el("h3", {}, "Compare prompts"),
    el(
      "div",
      { class: "filters" },
      field(
        "From",
        select(known, chosen.from, choose("from"), { "data-key": "from" }),
      ),
      field(
        "To",
        select(known, chosen.to, choose("to"), { "data-key": "to" }),
      ),
    ),
    shown,
  );
}
