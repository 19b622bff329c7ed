// Workers: what is wanted, and which threads run where.

import * as api from "../api.js";
import { button, dialog, el, field, replace, select } from "../dom.js";
import * as format from "../format.js";
import * as live from "../live.js";
import * as parts from "../parts.js";

export default function render(page, { onLeave }) {
  const place = parts.place(
    () => api.all("workers"),
    (found) => show(found, place),
  );
  replace(
    page,
    parts.heading("Workers", {
      lead: "Each takes the jobs of one client, with one or more threads.",
      actions: [button("New worker", () => make(place), { class: "primary" })],
    }),
    place.box,
  );
  onLeave(live.on("worker", live.gently(place.again, 800)));
  onLeave(live.on("reset", place.again));
}

function show(workers, place) {
  if (!workers.length)
    return parts.empty("There are no workers: no job runs.");
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Workers",
      [
        [
          "Worker",
          (each) => [
            each.name,
            each.group && el("small", { class: "dim" }, ` ${each.group}`),
          ],
        ],
        ["Status", status],
        ["Client", (each) => parts.client(each.clientId)],
        ["Takes", takes],
        [
          "At once",
          (each) =>
            format.count(
              each.config.maxConcurrency ?? each.config.maxItemsPerBatch,
            ),
          { class: "num" },
        ],
        ["Replicas", (each) => replicas(each, place)],
        ["Threads", threads],
        [
          "",
          (each) => el("span", { class: "actions" }, buttons(each, place)),
          { class: "num" },
        ],
      ],
      workers,
    ),
  );
}

function status(worker) {
  const problem =
    worker.threadInfo?.error || worker.threadInfo?.stoppedBecause;
  return [
    parts.badge(worker.status),
    problem && el("small", { class: "bad-text" }, ` ${problem}`),
  ];
}

function takes({ config }) {
  const filters = [
    config.modelFilter && `model ${config.modelFilter}`,
    config.operationFilter && `operation ${config.operationFilter}`,
    config.clientReferenceFilters &&
      JSON.stringify(config.clientReferenceFilters),
  ].filter(Boolean);
  return filters.length ? `Only ${filters.join(", ")}` : "All jobs";
}

function threads(worker) {
  const found = worker.threadInfo?.threads || [];
  if (!found.length) return "None";
  const pools = new Map();
  for (const { pool } of found) pools.set(pool, (pools.get(pool) || 0) + 1);
  return [...pools].map(([pool, number]) =>
    el("div", {}, `${number} in `, el("code", {}, pool)),
  );
}

function replicas(worker, place) {
  const now = worker.config.replicas;
  const change = (step) =>
    parts.working(
      step > 0 ? "+" : "−",
      async () => {
        await parts.attempt(() =>
          api.patch(`workers/${worker.workerId}`, {
            config: { replicas: now + step },
          }),
        );
        place.again();
      },
      {
        class: "small",
        "data-key": `${worker.workerId} ${step}`,
        "aria-label": `${step > 0 ? "More" : "Fewer"} replicas of ${worker.name}`,
      },
    );
  return el(
    "span",
    { class: "stepper" },
    now > 1 && change(-1),
    el("output", { "aria-label": `Replicas of ${worker.name}` }, now),
    now < 100 && change(1),
  );
}

function buttons(worker, place) {
  const run = worker.status === "running";
  return [
    parts.working(
      run ? "Stop" : "Start",
      async () => {
        await parts.attempt(() =>
          api.act(`workers/${worker.workerId}/${run ? "stop" : "start"}`),
        );
        place.again();
      },
      {
        class: run ? "small" : "small primary",
        "data-key": `run ${worker.workerId}`,
        "aria-label": `${run ? "Stop" : "Start"} ${worker.name}`,
      },
    ),
  ];
}

function make(place) {
  const name = el("input", { required: true });
  const model = el("input");
  const operation = el("input");
  const once = el("input", { type: "number", min: 1, max: 1000, value: 50 });
  const clients = api.clientNames();
  const client = api.isAdmin()
    ? select(clients, clients[0]?.[0], () => {})
    : null;
  const box = dialog(
    "New worker",
    el(
      "div",
      { class: "form" },
      field("Name", name),
      client && field("Client", client),
      field("Jobs at once", once),
      field("Only this model", model, "Empty: all models"),
      field("Only this operation", operation, "Empty: all operations"),
    ),
    (close) => [
      button("Cancel", close),
      parts.working(
        "Make and start it",
        async () => {
          const options = { client: client?.value };
          const config = { maxItemsPerBatch: Number(once.value) };
          if (model.value) config.modelFilter = model.value;
          if (operation.value) config.operationFilter = operation.value;
          const made = await parts.attempt(() =>
            api.post("workers", { workerId: name.value, config }, options),
          );
          if (!made) return;
          await parts.attempt(() => api.act(`workers/${made.workerId}/start`));
          box.close();
          place.again();
        },
        { class: "primary" },
      ),
    ],
  );
}
