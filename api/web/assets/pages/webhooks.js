// Webhooks, and what became of each delivery.

import * as api from "../api.js";
import { address, el, field, link, replace, select } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";

export default function render(page, context) {
  if (context.parts.length) return deliveries(page, context);
  const place = parts.place(
    () => api.all("webhooks"),
    (found) => show(found, place),
  );
  replace(
    page,
    parts.heading("Webhooks", { lead: "Who is told when jobs and runs end." }),
    place.box,
  );
  return undefined;
}

function show(webhooks, place) {
  if (!webhooks.length) {
    return parts.empty("There are no webhooks. Make one with POST /webhooks.");
  }
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Webhooks",
      [
        [
          "Address",
          (each) => [
            link(each.url, "webhooks", [each.webhookId]),
            each.description && el("div", { class: "dim" }, each.description),
          ],
        ],
        [
          "Status",
          (each) =>
            el(
              "span",
              { class: each.enabled ? "badge good" : "badge off" },
              each.enabled
                ? "Enabled"
                : `Disabled${each.disabledBecause ? `: ${each.disabledBecause}` : ""}`,
            ),
        ],
        ["Events", (each) => each.events.join(", ")],
        ["Client", (each) => parts.client(each.clientId)],
        [
          "",
          (each) => el("span", { class: "actions" }, buttons(each, place)),
          { class: "num" },
        ],
      ],
      webhooks,
    ),
  );
}

function buttons(webhook, place) {
  const path = `webhooks/${webhook.webhookId}`;
  return [
    webhook.enabled &&
      parts.working(
        "Send a test",
        () =>
          parts.attempt(() => api.act(`${path}/test`), "A test event is sent"),
        {
          class: "small",
          "data-key": `test ${webhook.webhookId}`,
          "aria-label": `Send a test to ${webhook.url}`,
        },
      ),
    parts.working(
      webhook.enabled ? "Disable" : "Enable",
      async () => {
        await parts.attempt(() =>
          api.patch(path, { enabled: !webhook.enabled }),
        );
        place.again();
      },
      {
        class: "small",
        "data-key": `enable ${webhook.webhookId}`,
        "aria-label": `${webhook.enabled ? "Disable" : "Enable"} ${webhook.url}`,
      },
    ),
  ];
}

function deliveries(page, { parts: [webhookId], query, go }) {
  const status = query.get("status") || "";
  const path = `webhooks/${encodeURIComponent(webhookId)}`;
  const read = async () => {
    const [webhook, found] = await Promise.all([
      api.get(path),
      api.page(`${path}/deliveries`, { status, limit: 200 }),
    ]);
    return { webhook, found };
  };
  const place = parts.place(
    read,
    ({ webhook, found }) => [
      parts.heading("Deliveries", {
        lead: webhook.url,
        actions: [link("All webhooks", "webhooks")],
      }),
      el(
        "div",
        { class: "filters" },
        field(
          "Status",
          select(
            [
              ["", "All"],
              ["PENDING", "Waiting"],
              ["DELIVERED", "Delivered"],
              ["FAILED", "Failed"],
            ],
            status,
            (event) =>
              go(
                address("webhooks", [webhookId], {
                  status: event.target.value,
                }),
              ),
            { "data-key": "status", "data-filter": true },
          ),
        ),
      ),
      deliveryTable(found, path, place),
    ],
    { className: "stack" },
  );
  replace(page, place.box);
}

function deliveryTable({ items, next }, path, place) {
  if (!items.length) return parts.empty("There are no deliveries.");
  const replay = (each) =>
    parts.working(
      "Deliver again",
      async () => {
        await parts.attempt(
          () => api.act(`${path}/deliveries/${each.deliveryId}/replay`),
          "It is delivered again",
        );
        place.again();
      },
      {
        class: "small",
        "data-key": each.deliveryId,
        "aria-label": `Deliver ${each.eventId} again`,
      },
    );
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Deliveries",
      [
        [
          "Event",
          (each) => [
            each.type,
            el("div", {}, el("code", { class: "dim" }, each.eventId)),
          ],
        ],
        ["Status", (each) => parts.badge(each.status)],
        ["Attempts", (each) => format.count(each.attempts), { class: "num" }],
        ["Last answer", lastAnswer],
        [
          "Next attempt",
          (each) =>
            each.nextAttemptAt ? parts.time(each.nextAttemptAt) : "–",
        ],
        [
          "Sent",
          (each) =>
            parts.fold(
              "Show",
              parts.text(
                format.pretty(each.payload),
                `Payload of ${each.eventId}`,
              ),
            ),
        ],
        ["", replay, { class: "num" }],
      ],
      items,
    ),
    next && el("p", { class: "dim" }, "The newest 200."),
  );
}

function lastAnswer({ lastAttempt }) {
  if (!lastAttempt) return "–";
  const { status, error, seconds, answer } = lastAttempt;
  return [
    status ?? "No answer",
    error && el("span", { class: "bad-text" }, ` ${error}`),
    el("small", { class: "dim" }, ` ${format.seconds(seconds)}`),
    answer && el("div", {}, el("code", {}, answer.slice(0, 200))),
  ];
}
