// Prompts: versions, what differs between them, trying one out.

import * as api from "../api.js";
import { el, field, link, replace } from "../dom.js";
import * as format from "../format.js";
import * as parts from "../parts.js";
import renderPrompt from "../prompt.js";

export default function render(page, context) {
  if (context.parts.length) return renderPrompt(page, context);
  const found = el("div", { class: "stack" });
  let all = [];
  const wanted = el("input", {
    type: "search",
    "data-filter": true,
    oninput: () => draw(),
  });
  const draw = () =>
    replace(found, show(all, wanted.value.trim().toLowerCase()));
  const place = parts.place(
    () => api.all("prompts"),
    (prompts) => {
      all = prompts;
      draw();
      return found;
    },
  );
  replace(
    page,
    parts.heading("Prompts", {
      lead: "Each name has versions; jobs use one of them.",
    }),
    el("div", { class: "filters" }, field("Name or text", wanted)),
    place.box,
  );
}

function show(prompts, wanted) {
  const groups = new Map();
  for (const prompt of prompts) {
    const text =
      `${prompt.name} ${prompt.type} ${prompt.prompt}`.toLowerCase();
    if (!text.includes(wanted)) continue;
    const key = JSON.stringify([prompt.name, prompt.type, prompt.clientId]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(prompt);
  }
  if (!groups.size) return parts.empty("No prompt matches.");
  return el(
    "div",
    { class: "card" },
    parts.table(
      "Prompts",
      [
        [
          "Name",
          ([first]) =>
            link(first.name, "prompts", [newest(first.all).promptId]),
        ],
        ["Type", ([first]) => first.type],
        [
          "Versions",
          ([first]) => format.count(first.all.length),
          { class: "num" },
        ],
        [
          "Newest",
          ([first]) => [
            `${newest(first.all).version} `,
            parts.badge(newest(first.all).status),
          ],
        ],
        ["Owner", ([first]) => parts.client(first.clientId)],
        [
          "Changed",
          ([first]) => parts.time(newest(first.all)._metadata.updatedAt),
        ],
      ],
      [...groups.values()].map((all) => [{ ...all[0], all }]),
    ),
  );
}

const newest = (prompts) =>
  prompts.reduce((a, b) =>
    a._metadata.createdAt > b._metadata.createdAt ? a : b,
  );
