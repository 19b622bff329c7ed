// One job's whole story.

import * as api from "./api.js";
import { el, link, replace } from "./dom.js";
import * as format from "./format.js";
import * as jobs from "./jobs.js";
import * as live from "./live.js";
import * as parts from "./parts.js";

export default function render(page, { parts: [jobId], onLeave, go }) {
  const path = `jobs/${encodeURIComponent(jobId)}`;
  const read = async () => {
    const job = await api.get(path);
    return { job, prompts: await promptsOf(job) };
  };
  const place = parts.place(read, (found) => show(found, place, go), {
    className: "stack",
  });
  replace(page, place.box);
  const again = live.gently(place.again, 1000);
  onLeave(
    live.on("job", (event) => {
      if (event.data.jobId === jobId) again();
    }),
  );
  onLeave(live.on("queue", again));
}

function promptsOf(job) {
  return Promise.all(
    (job.workingPrompts || []).map((id) =>
      api
        .get(`prompts/${encodeURIComponent(id)}`)
        .catch(() => ({ promptId: id, missing: true })),
    ),
  );
}

function show({ job, prompts }, place, go) {
  return [
    parts.heading(`Job ${job.operation}`, {
      lead: [parts.badge(job.status), " ", el("code", {}, job.jobId)],
      actions: actions(job, place, go),
    }),
    now(job),
    el(
      "div",
      { class: "cards" },
      parts.card("What has happened", story(job)),
      parts.card("About", about(job)),
      parts.card("Cost", cost(job)),
    ),
    parts.card("Prompt", prompt(job, prompts)),
    parts.card("Answer", answer(job)),
    parts.card(
      "Everything",
      parts.fold("As JSON", parts.text(format.pretty(job), "The job as JSON")),
    ),
  ];
}

function actions(job, place, go) {
  return [
    jobs.canRetry(job) &&
      parts.working(
        "Retry",
        async () => {
          await jobs.retryOne(job);
          place.again();
        },
        { class: "primary", "data-key": "retry" },
      ),
    jobs.canCancel(job) &&
      parts.working(
        "Cancel",
        async () => {
          await jobs.cancelOne(job);
          place.again();
        },
        { class: "danger", "data-key": "cancel" },
      ),
    link("All jobs", "jobs"),
  ];
}

// Why it waits, or why it failed: what people come here for.
function now(job) {
  if (job.status === "PENDING") {
    const waiting = job.waitingFor || { kind: "ITS_TURN" };
    const [what, remedy] = format.WAITING[waiting.kind] || [waiting.kind, ""];
    return notice(
      "",
      `It waits: ${what.charAt(0).toLowerCase()}${what.slice(1)}`,
      [
        remedy,
        waiting.until &&
          ` Until ${format.moment(waiting.until)} (${format.ago(waiting.until)}).`,
        waiting.detail && ` The provider says: ${waiting.detail}`,
      ],
    );
  }
  if (job.errorData) {
    const { errorType, message } = job.errorData;
    return notice("bad", `It failed: ${errorType}`, [message]);
  }
  if (job.stepError) {
    const { step, errorType, error } = job.stepError;
    return notice("", `Its ${step} step failed: ${errorType}`, [error]);
  }
  return null;
}

const notice = (tone, title, text) =>
  el(
    "div",
    { class: `notice ${tone}` },
    el("h2", {}, title),
    el("p", {}, text),
  );

function story(job) {
  const item = (tone, title, when, ...more) => ({
    at: when ? Date.parse(when) : Infinity,
    node: el(
      "li",
      { class: tone },
      el(
        "p",
        {},
        el("b", {}, title),
        " ",
        when && el("span", { class: "dim" }, parts.time(when)),
      ),
      more.map((each) => each && el("p", { class: "dim" }, each)),
    ),
  });
  const tries = (job.attemptHistory || []).map((each) =>
    item(
      each.kind === "REQUEUED" ? "" : "bad",
      `Attempt ${each.attempt}: ${format.sentence(each.kind)}${each.times > 1 ? `, ${each.times} times` : ""}`,
      each.at,
      each.reason,
      each.model && `Model ${each.model}`,
      `${each.process}`,
    ),
  );
  const tone = job.errorData ? "bad" : "good";
  const all = [
    item("", "Submitted", job._metadata.createdAt),
    tries,
    job.startedAt &&
      item(
        "run",
        "Started",
        job.startedAt,
        job.workerId && `Worker ${job.workerId}`,
      ),
    job.finishedAt &&
      item(tone, format.STATUS[job.status]?.[0] || job.status, job.finishedAt),
    job.status === "PENDING" && item("", "Waits", null),
  ];
  const told = all
    .flat()
    .filter(Boolean)
    .sort((a, b) => a.at - b.at);
  return el(
    "ol",
    { class: "story" },
    told.map((each) => each.node),
  );
}

function about(job) {
  return parts.facts([
    ["Model", job.model],
    ["Answered by", job.answeredBy],
    ["Client", parts.client(job.clientId)],
    ["Client's own id", job.id],
    ["Attempts", job.attempts],
    ["Failed calls", job.failures || null],
    ["Priority", `${job.priority} (lower runs first), ${job.serviceClass}`],
    ["Temperature", job.temperature],
    [
      "Batch",
      job.batchKey &&
        link(job.batchKey, "jobs", [], { batchKey: job.batchKey }),
    ],
    ["Not before", job.notBefore && format.moment(job.notBefore)],
    ["Expires", job.expiresAt && format.moment(job.expiresAt)],
    [
      "Reference",
      job.clientReference &&
        parts.text(format.pretty(job.clientReference), "Client reference"),
    ],
    [
      "Suggested prompt",
      job.suggestedPromptId &&
        link("Show it", "prompts", [job.suggestedPromptId]),
    ],
  ]);
}

function cost(job) {
  const metrics = job.processingMetrics;
  if (!metrics) return parts.empty("Nothing was spent yet.");
  return parts.facts([
    ["Total", el("b", {}, format.money(metrics.totalCost, metrics.currency))],
    [
      "Input",
      `${format.count(metrics.inputTokens)} tokens, ${format.money(metrics.inputCost, metrics.currency)}`,
    ],
    [
      "Output",
      `${format.count(metrics.outputTokens)} tokens, ${format.money(metrics.outputCost, metrics.currency)}`,
    ],
    [
      "From the cache",
      metrics.cachedTokens
        ? `${format.count(metrics.cachedTokens)} tokens`
        : null,
    ],
    ["Calls took", format.seconds(metrics.duration)],
  ]);
}

function prompt(job, prompts) {
  const sent = job.messages ?? job.requestData ?? job.embeddings;
  return el(
    "div",
    { class: "stack" },
    prompts.map((each) =>
      el(
        "div",
        {},
        el(
          "p",
          {},
          each.missing
            ? `Prompt ${each.promptId}: not there any more`
            : [
                link(`${each.name}, version ${each.version}`, "prompts", [
                  each.promptId,
                ]),
                " ",
                parts.badge(each.status),
              ],
        ),
        !each.missing && parts.text(each.prompt, `Prompt ${each.name}`),
      ),
    ),
    sent !== null &&
      sent !== undefined &&
      el(
        "div",
        {},
        el("p", { class: "dim" }, job.messages ? "Messages" : "Input"),
        parts.text(format.pretty(sent), "Input"),
      ),
  );
}

function answer(job) {
  const shown = [];
  const piece = (title, value) => {
    if (value === null || value === undefined) return;
    shown.push(
      el(
        "div",
        {},
        el("p", { class: "dim" }, title),
        parts.text(format.pretty(value), title),
      ),
    );
  };
  piece("Result", job.responseData);
  piece(
    "The whole answer, which could not be used",
    job.errorData?.failedResponseData,
  );
  for (const each of job.unusableAnswers || []) {
    piece("An answer that could not be used", each);
  }
  piece("Evaluation", job.evalResult);
  return shown.length
    ? el("div", { class: "stack" }, shown)
    : parts.empty("There is no answer yet.");
}
