// One prompt: its text, its versions, and a place to try it out.

import * as api from "./api.js";
import { diff } from "./diff.js";
import {
  address,
  button,
  dialog,
  el,
  field,
  link,
  replace,
  select,
} from "./dom.js";
import * as format from "./format.js";
import * as parts from "./parts.js";

export default function render(page, { parts: [promptId], go }) {
  const read = async () => {
    const prompt = await api.get(`prompts/${encodeURIComponent(promptId)}`);
    const [same, models, routes] = await Promise.all([
      api.all("prompts", { name: prompt.name, type: prompt.type }),
      api.all("models"),
      api.all("routes"),
    ]);
    const versions = same
      .filter((each) => each.clientId === prompt.clientId)
      .sort((a, b) =>
        a._metadata.createdAt < b._metadata.createdAt ? 1 : -1,
      );
    return { prompt, versions, models: [...models, ...routes] };
  };
  const place = parts.place(read, (found) => show(found, place, go), {
    className: "stack",
  });
  replace(page, place.box);
}

function show({ prompt, versions, models }, place, go) {
  return [
    parts.heading(prompt.name, {
      lead: [
        `Version ${prompt.version} `,
        parts.badge(prompt.status),
        ` ${prompt.type}, of ${api.clientName(prompt.clientId)}`,
      ],
      actions: actions(prompt, place, go),
    }),
    prompt.source && source(prompt.source),
    el(
      "div",
      { class: "cards" },
      parts.card("Text", parts.text(prompt.prompt, "Text of the prompt")),
      parts.card("Versions", versionTable(versions, prompt)),
    ),
    versions.length > 1 &&
      parts.card("What differs", differences(versions, prompt), {
        wide: true,
      }),
    parts.card("Try it out", tryOut(prompt, versions, models), { wide: true }),
  ];
}

const mayChange = (prompt) => api.isAdmin() || !prompt.isPublic;

function actions(prompt, place, go) {
  const become = (status, label, attributes = {}) =>
    parts.working(
      label,
      async () => {
        await parts.attempt(
          () => api.patch(`prompts/${prompt.promptId}`, { status }),
          `Version ${prompt.version} is ${format.STATUS[status][0].toLowerCase()}`,
        );
        place.again();
      },
      { "data-key": status, ...attributes },
    );
  return [
    mayChange(prompt) && [
      prompt.status !== "PUBLISHED" &&
        become("PUBLISHED", "Publish", { class: "primary" }),
      prompt.status === "PUBLISHED" && become("DRAFT", "Make it a draft"),
      prompt.status !== "ARCHIVE" && become("ARCHIVE", "Archive"),
      button("New version", () => newVersion(prompt, go), {
        "data-key": "new",
      }),
    ],
    link("All prompts", "prompts"),
  ];
}

function source({ runId, jobId, promptId, iteration, candidate }) {
  return el(
    "p",
    { class: "dim inline" },
    "Suggested",
    runId && link("by a run", "runs", [runId]),
    jobId && link("by a job", "jobs", [jobId]),
    iteration !== undefined &&
      iteration !== null &&
      `in iteration ${iteration}`,
    candidate !== undefined &&
      candidate !== null &&
      `as candidate ${candidate}`,
    ", to replace",
    link("this prompt", "prompts", [promptId]),
  );
}

function versionTable(versions, prompt) {
  return parts.table(
    "Versions",
    [
      [
        "Version",
        (each) =>
          each.promptId === prompt.promptId
            ? `${each.version} (shown)`
            : link(String(each.version), "prompts", [each.promptId]),
      ],
      ["Status", (each) => parts.badge(each.status)],
      ["Made", (each) => parts.time(each._metadata.createdAt)],
    ],
    versions,
  );
}

function differences(versions, prompt) {
  const shown = el("div");
  const byId = new Map(versions.map((each) => [each.promptId, each]));
  const others = versions.filter((each) => each.promptId !== prompt.promptId);
  const draw = (id) =>
    replace(
      shown,
      diff(
        byId.get(id).prompt,
        prompt.prompt,
        "What differs between the versions",
      ),
    );
  const options = others.map((each) => [
    each.promptId,
    `Version ${each.version}`,
  ]);
  // From the one before; of the oldest, from the one after.
  const older = others.find(
    (each) => each._metadata.createdAt < prompt._metadata.createdAt,
  );
  const first = (older || others.at(-1)).promptId;
  draw(first);
  return [
    el(
      "div",
      { class: "filters" },
      field(
        `To version ${prompt.version}, from`,
        select(options, first, (event) => draw(event.target.value)),
      ),
    ),
    shown,
  ];
}

function newVersion(prompt, go) {
  const text = el("textarea", { value: prompt.prompt, rows: 12 });
  const box = dialog("New version", field("Text", text), (close) => [
    button("Cancel", close),
    parts.working(
      "Save as a draft",
      async () => {
        const made = await parts.attempt(() =>
          api.post(
            "prompts",
            {
              name: prompt.name,
              type: prompt.type,
              status: "DRAFT",
              prompt: text.value,
              isPublic: prompt.isPublic,
            },
            { client: prompt.clientId },
          ),
        );
        if (!made) return;
        box.close();
        go(address("prompts", [made.promptId]));
      },
      { class: "primary" },
    ),
  ]);
}

// Two columns, each with a model and a version, answered at the same time.
function tryOut(prompt, versions, models) {
  const input = el("textarea", {
    placeholder: "What the model is asked",
    rows: 4,
  });
  const client = clientChoice(prompt);
  if (!models.length) return parts.empty("There are no models.");
  const names = models.map((each) => [each.name, each.name]);
  const texts = versions.map((each) => [
    each.promptId,
    `Version ${each.version}`,
  ]);
  const sides = [0, 1].map((place) =>
    side(place, names, texts, prompt, Math.min(place, names.length - 1)),
  );
  const run = parts.working(
    "Ask both",
    async () => {
      if (!input.value.trim()) return input.focus();
      await Promise.all(
        sides.map((each) => each.ask(input.value, client.value())),
      );
    },
    { class: "primary" },
  );
  return el(
    "div",
    { class: "stack" },
    field("Input", input),
    client.box,
    el(
      "div",
      { class: "inline" },
      run,
      el(
        "small",
        { class: "dim" },
        "These are real calls, and cost what such calls cost.",
      ),
    ),
    el(
      "div",
      { class: "two" },
      sides.map((each) => each.box),
    ),
  );
}

function clientChoice(prompt) {
  if (!api.isAdmin() || prompt.clientId) {
    return { box: null, value: () => prompt.clientId };
  }
  const choice = select(
    api.clientNames(),
    api.clientNames()[0]?.[0],
    () => {},
  );
  return {
    box: el("div", { class: "filters" }, field("On behalf of", choice)),
    value: () => choice.value,
  };
}

function side(place, names, texts, prompt, first) {
  const letter = "AB"[place];
  const model = select(names, names[first][0], () => {});
  const version = select(texts, prompt.promptId, () => {});
  const output = el("pre", {
    class: "text",
    tabindex: "0",
    role: "group",
    "aria-label": `Answer ${letter}`,
    "aria-live": "polite",
  });
  const facts = el("p", { class: "dim" });
  const ask = async (userPrompt, client) => {
    replace(output);
    replace(facts, "Asking …");
    const began = performance.now();
    const id = await parts.attempt(() =>
      api.stream(
        "stream",
        {
          userPrompt,
          additionalPrompts: [version.value],
          model: model.value,
          temperature: 0,
        },
        client,
        (piece) => output.append(piece),
      ),
    );
    const took = format.seconds((performance.now() - began) / 1000);
    replace(facts, id ? [took, await used(id)] : "There was no answer.");
  };
  return {
    ask,
    box: el(
      "div",
      { class: "stack" },
      el(
        "div",
        { class: "filters" },
        field(`Model ${letter}`, model),
        field(`Version ${letter}`, version),
      ),
      output,
      facts,
    ),
  };
}

async function used(id) {
  const record = await api.get(`stream/${id}`).catch(() => null);
  const metrics = record?.processingMetrics;
  if (!metrics) return "";
  return `, ${format.count(metrics.totalTokens)} tokens, ${format.money(metrics.totalCost, metrics.currency)}`;
}
