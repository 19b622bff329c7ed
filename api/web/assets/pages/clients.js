// Clients: their keys, budgets and what they have used.

import * as api from "../api.js";
import * as charts from "../charts.js";
import { button, confirm, dialog, el, field, link, replace } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";

export default function render(page) {
  const place = parts.place(read, (found) => show(found, place));
  replace(
    page,
    parts.heading("Clients", {
      lead: "Who may submit work.",
      actions: [button("New client", () => make(place), { class: "primary" })],
    }),
    place.box,
  );
}

async function read() {
  const [clients, budgets, usage] = await Promise.all([
    api.all("clients"),
    api.get("budgets"),
    api.get("usage", { from: format.today(), groupBy: "client" }),
  ]);
  await api.learnClients();
  return {
    clients,
    budgets: new Map(
      budgets
        .filter((each) => each.scope === "client")
        .map((each) => [each.ownerId, each]),
    ),
    usage: new Map(usage.groups.map((each) => [each.clientId, each])),
  };
}

function show({ clients, budgets, usage }, place) {
  if (!clients.length) return parts.empty("There are no clients.");
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Clients",
      [
        [
          "Client",
          (each) => [
            each.name,
            el("div", {}, el("code", { class: "dim" }, each.clientId)),
          ],
        ],
        [
          "Status",
          (each) =>
            el(
              "span",
              { class: each.enabled ? "badge good" : "badge off" },
              each.enabled ? "Enabled" : "Disabled",
            ),
        ],
        [
          "Key replaced",
          (each) =>
            each.keyRotatedAt
              ? parts.time(each.keyRotatedAt)
              : el("span", { class: "dim" }, "Never"),
        ],
        ["Budget", (each) => budget(budgets.get(each.clientId))],
        ["Today", (each) => today(usage.get(each.clientId))],
        [
          "",
          (each) => el("span", { class: "actions" }, buttons(each, place)),
          { class: "num" },
        ],
      ],
      clients,
    ),
  );
}

function budget(found) {
  if (!found) return el("span", { class: "dim" }, "None");
  const part = found.amount ? found.spent / found.amount : 1;
  const tone = part >= 1 ? "bad" : part > 0.8 ? "warn" : "good";
  return [
    `${format.money(found.spent, found.currency)} of ${format.money(found.amount, found.currency)} each ${found.period}`,
    charts.meter("Budget", found.spent, found.amount, tone),
  ];
}

function today(used) {
  if (!used) return el("span", { class: "dim" }, "Nothing");
  return `${format.costs(used.costByCurrency)}, ${format.plural(used.requests, "call")}`;
}

function buttons(client, place) {
  const change = async (run, done) => {
    await parts.attempt(run, done);
    place.again();
  };
  return [
    link("Jobs", "jobs", [], { clientId: client.clientId }),
    parts.working(
      client.enabled ? "Disable" : "Enable",
      () =>
        change(
          () =>
            api.patch(`clients/${client.clientId}`, {
              enabled: !client.enabled,
            }),
          `${client.name} is ${client.enabled ? "disabled" : "enabled"}`,
        ),
      {
        class: "small",
        "data-key": `enable ${client.clientId}`,
        "aria-label": `${client.enabled ? "Disable" : "Enable"} ${client.name}`,
      },
    ),
    parts.working("Replace key", () => rotate(client, place), {
      class: "small",
      "data-key": `key ${client.clientId}`,
      "aria-label": `Replace the key of ${client.name}`,
    }),
  ];
}

async function rotate(client, place) {
  const wanted = await confirm(
    `Replace the key of ${client.name}?`,
    el(
      "p",
      {},
      "The old key is refused at once, and sessions that were opened with it end.",
    ),
    "Replace the key",
    { danger: true },
  );
  if (!wanted) return;
  const made = await parts.attempt(() =>
    api.act(`clients/${client.clientId}/rotate-key`),
  );
  if (made) showKey(`The new key of ${client.name}`, made);
  place.again();
}

function showKey(title, made) {
  dialog(
    title,
    [
      el("p", {}, "Store it now: it is not shown again."),
      parts.facts([
        ["Client id", parts.copyable(made.clientId)],
        ["Key", parts.copyable(made.api_key)],
        ["Token", parts.copyable(made.token)],
      ]),
    ],
    (close) => [button("I have stored it", close, { class: "primary" })],
  );
}

function make(place) {
  const name = el("input", { required: true });
  const amount = el("input", { type: "number", min: 0, step: "any" });
  const box = dialog(
    "New client",
    el(
      "div",
      { class: "form" },
      field("Name", name),
      field("Budget a month, in USD", amount, "Empty: no budget"),
    ),
    (close) => [
      button("Cancel", close),
      parts.working(
        "Make it",
        async () => {
          const body = { name: name.value };
          if (amount.value) {
            body.budget = {
              amount: Number(amount.value),
              currency: "USD",
              period: "month",
            };
          }
          const made = await parts.attempt(() => api.post("clients", body));
          if (!made) return;
          box.close();
          showKey(`The key of ${made.name}`, made);
          place.again();
        },
        { class: "primary" },
      ),
    ],
  );
}
