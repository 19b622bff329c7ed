// Models and routes: whether they answer, what they cost, a test call.

import * as api from "../api.js";
import { button, dialog, el, field, replace, select } from "../dom.js";
import * as format from "../format.js";
import * as live from "../live.js";
import * as parts from "../parts.js";

export default function render(page, { onLeave }) {
  const models = parts.place(
    readModels,
    (found) => showModels(found, models),
    {
      className: "cards",
    },
  );
  const routes = parts.place(() => api.all("routes"), showRoutes);
  replace(
    page,
    parts.heading("Models and routes", {
      lead: "A route is one name for several models.",
    }),
    models.box,
    el(
      "div",
      { style: { "margin-top": "1rem" } },
      parts.card("Routes", routes.box),
    ),
  );
  const again = live.gently(models.again, 2000);
  onLeave(live.on("model", again));
  onLeave(live.on("queue", again));
}

async function readModels() {
  const found = await api.all("models");
  if (!api.isAdmin()) return found.map((model) => ({ model }));
  const health = await Promise.all(
    found.map((each) =>
      api.get(`models/${each.model_id}/health`).catch(() => null),
    ),
  );
  return found.map((model, i) => ({ model, health: health[i] }));
}

function showModels(found, place) {
  if (!found.length) {
    return parts.empty(
      "There are no models. Make one with `metasync model add`.",
    );
  }
  return found.map(({ model, health }) =>
    parts.card(model.name, card(model, health), {
      note: model.sdk,
      actions: [
        state(model, health),
        model.suspended &&
          api.isAdmin() &&
          parts.working(
            "Resume",
            async () => {
              await parts.attempt(
                () => api.act(`models/${model.model_id}/resume`),
                `${model.name} is used again`,
              );
              place.again();
            },
            {
              class: "small",
              "data-key": `resume ${model.model_id}`,
              "aria-label": `Resume ${model.name}`,
            },
          ),
        button("Test", () => test(model), {
          class: "small",
          "data-key": `test ${model.model_id}`,
          "aria-label": `Test ${model.name}`,
        }),
      ],
    }),
  );
}

function state(model, health) {
  if (model.suspended) return el("span", { class: "badge bad" }, "Suspended");
  if (!health) return null;
  if (!health.available)
    return el("span", { class: "badge bad" }, "Not available");
  return el("span", { class: "badge good" }, "Available");
}

const BREAKER = {
  closed: "Closed: calls pass",
  open: "Open: no calls",
  half_open: "Half open: one call is tried",
};

function card(model, health) {
  const stopped = model.suspended;
  const processes = health?.processes || [];
  const breakers = [
    ...new Set(processes.map((each) => each.circuitBreaker.state)),
  ];
  const limits = processes
    .map((each) => each.concurrencyLimit)
    .filter(Boolean);
  const paused = Math.max(0, ...processes.map((each) => each.pausedSeconds));
  const failed = Object.entries(health?.failed || {});
  return [
    stopped &&
      el(
        "div",
        { class: "notice bad" },
        el("h3", {}, format.sentence(stopped.reason)),
        el("p", {}, stopped.message),
        el(
          "p",
          {},
          `Since ${format.moment(stopped.since)} (${format.ago(stopped.since)}); next trial ${format.moment(stopped.retryAt)}.`,
        ),
      ),
    parts.facts([
      ["Price", price(model.cost)],
      ["Limits", limitsOf(model.limits)],
      [
        "Calls",
        health &&
          `${format.count(health.succeeded)} answered, ${format.count(health.running)} running`,
      ],
      [
        "Failed calls",
        health &&
          (failed.length
            ? failed
                .map(([kind, n]) => `${kind} ${format.count(n)}`)
                .join(", ")
            : "None"),
      ],
      [
        "Circuit breaker",
        health &&
          (breakers.length
            ? breakers.map((each) => BREAKER[each] || each).join("; ")
            : "Not used yet"),
      ],
      [
        "At once",
        limits.length ? `At most ${limits.reduce((a, b) => a + b, 0)}` : null,
      ],
      [
        "Paused",
        paused > 0 ? `For ${format.seconds(paused)}, after rate limits` : null,
      ],
      [
        "Budget",
        model.budget &&
          `${format.money(model.budget.amount, model.budget.currency)} each ${model.budget.period}`,
      ],
      [
        "Answer",
        model.maxToken || model.maxCompletionToken
          ? `At most ${format.count(model.maxToken ?? model.maxCompletionToken)} tokens`
          : null,
      ],
      ["Endpoint", model.endpoint || "The provider's own"],
    ]),
  ];
}

function price(cost) {
  if (!cost) return "The published one, if it is known";
  const per = `${format.brief(cost.tokens)} tokens`;
  return `${format.money(cost.input, cost.currency)} in, ${format.money(cost.output, cost.currency)} out, per ${per}`;
}

function limitsOf(limits) {
  const found = [
    [limits?.requestsPerMinute, "calls a minute"],
    [limits?.tokensPerMinute, "tokens a minute"],
    [limits?.maxConcurrency, "calls at once"],
  ].filter(([value]) => value);
  return found.length
    ? found.map(([value, unit]) => `${format.count(value)} ${unit}`).join(", ")
    : "None";
}

function test(model) {
  const input = el("textarea", {
    value: "Answer with one word: are you there?",
    rows: 2,
  });
  const output = el("pre", {
    class: "text",
    tabindex: "0",
    role: "group",
    "aria-label": "Answer",
    "aria-live": "polite",
  });
  const facts = el(
    "p",
    { class: "dim" },
    "This is a real call, and costs what it costs.",
  );
  const clients = api.clientNames();
  const client = api.isAdmin()
    ? select(clients, clients[0]?.[0], () => {})
    : null;
  const ask = async () => {
    replace(output);
    const began = performance.now();
    const id = await parts.attempt(() =>
      api.stream(
        "stream",
        {
          userPrompt: input.value,
          model: model.name,
          temperature: model.minTemperature,
        },
        client?.value,
        (piece) => output.append(piece),
      ),
    );
    const took = format.seconds((performance.now() - began) / 1000);
    replace(facts, id ? `Answered in ${took}.` : `No answer after ${took}.`);
  };
  dialog(
    `Test ${model.name}`,
    [
      client && field("On behalf of", client),
      field("Input", input),
      output,
      facts,
    ],
    (close) => [
      button("Close", close),
      parts.working("Call", ask, { class: "primary" }),
    ],
  );
}

function showRoutes(routes) {
  if (!routes.length) return parts.empty("There are no routes.");
  return parts.table(
    "Routes",
    [
      ["Name", (route) => route.name],
      [
        "Strategy",
        (route) => format.sentence(route.strategy.replace(/([A-Z])/g, " $1")),
      ],
      [
        "Models",
        (route) =>
          route.targets
            .map(
              (each) =>
                `${each.model}${route.strategy === "weighted" ? ` (${each.weight})` : ""}`,
            )
            .join(" → "),
      ],
      [
        "Next one after",
        (route) =>
          route.fallbackOn.length ? route.fallbackOn.join(", ") : "nothing",
      ],
    ],
    routes,
  );
}
