// Pieces that several pages show.

import * as api from "./api.js";
import { add, button, el, newId, refresh, say } from "./dom.js";
import * as format from "./format.js";

export function badge(status) {
  const [text, tone] = format.STATUS[status] || [
    format.sentence(status),
    "off",
  ];
  return el("span", { class: `badge ${tone}` }, text);
}

export const time = (value) =>
  value
    ? el(
        "time",
        { datetime: value, title: format.moment(value) },
        format.ago(value),
      )
    : "–";

export function heading(title, { lead, actions = [] } = {}) {
  document.title = `${title} · Metasync`;
  return el(
    "div",
    { class: "heading" },
    el(
      "div",
      {},
      el("h1", { tabindex: "-1" }, title),
      lead && el("p", { class: "dim" }, lead),
    ),
    el("div", { class: "actions" }, actions),
  );
}

export function card(title, content, { actions, wide, id, note } = {}) {
  const label = newId("card");
  return el(
    "section",
    { class: wide ? "card wide" : "card", "aria-labelledby": label, id },
    el(
      "div",
      { class: "card-head" },
      el("h2", { id: label }, title),
      note && el("span", { class: "dim" }, note),
      el("div", { class: "actions" }, actions),
    ),
    content,
  );
}

export const empty = (text, ...more) =>
  el("p", { class: "empty" }, text, more);

export function facts(entries) {
  return el(
    "dl",
    { class: "facts" },
    entries
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

// columns: [[title, row => content, {class}]]; a caption for who cannot see.
export function table(caption, columns, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "hidden" }, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          columns.map(([title, , options = {}]) =>
            el(
              "th",
              { scope: "col", class: options.class },
              title || el("span", { class: "hidden" }, "Actions"),
            ),
          ),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            columns.map(([, cell, options = {}], place) =>
              place === 0
                ? el("th", { scope: "row", class: options.class }, cell(row))
                : el("td", { class: options.class }, cell(row)),
            ),
          ),
        ),
      ),
    ),
  );
}

// A browser shows no longer texts without a stutter.
const LONGEST = 200_000;

function cut(content) {
  if (typeof content !== "string" || content.length <= LONGEST) {
    return content;
  }
  const more = format.count(content.length - LONGEST);
  return `${content.slice(0, LONGEST)}\n… ${more} characters more`;
}

export function text(content, label) {
  return el(
    "pre",
    { class: "text", tabindex: "0", role: "group", "aria-label": label },
    cut(content),
  );
}

export function fold(title, content, { open = false } = {}) {
  return el("details", { open }, el("summary", {}, title), content);
}

export async function copy(content) {
  try {
    await navigator.clipboard.writeText(content);
    say("Copied");
  } catch {
    say("The browser does not let this page copy; select the text", "error");
  }
}

export const copyable = (content) =>
  el(
    "span",
    { class: "copyable" },
    el("code", {}, content),
    button("Copy", () => copy(content), {
      class: "small",
      "aria-label": `Copy ${content}`,
    }),
  );

// Runs something that may fail, and says why it did.
export async function attempt(run, done) {
  try {
    const result = await run();
    if (done) say(typeof done === "function" ? done(result) : done, "good");
    return result;
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 401) {
      say(error.message, "error");
    }
    return undefined;
  }
}

// A button that cannot be pressed twice while it works.
export function working(label, run, attributes = {}) {
  const made = button(
    label,
    async () => {
      made.disabled = true;
      try {
        await run();
      } finally {
        made.disabled = false;
      }
    },
    attributes,
  );
  return made;
}

// A place whose content is read, shown, and shown anew when it is told to.
export function place(read, show, { className } = {}) {
  const box = el("div", { class: className, "aria-busy": "true" });
  let number = 0;
  const again = async () => {
    const mine = (number += 1);
    try {
      const found = await read();
      // An older answer must not overwrite a newer one.
      if (mine !== number) return;
      refresh(box, show(found));
      if (mine === 1 && document.activeElement === document.body) {
        box.querySelector("h1")?.focus({ preventScroll: true });
      }
    } catch (error) {
      if (mine !== number || error.status === 401) return;
      const others = [...document.querySelectorAll("main h1")];
      const isAlone = others.every((each) => box.contains(each));
      refresh(
        box,
        isAlone && heading(error.status === 404 ? "Not found" : "Not shown"),
        el(
          "p",
          { class: "message error", role: "alert" },
          error.message,
          " ",
          button("Try again", again, { "data-key": "again" }),
        ),
      );
    } finally {
      box.removeAttribute("aria-busy");
    }
  };
  add(box, el("p", { class: "dim" }, "Loading …"));
  again();
  return { box, again };
}

export const client = (id) =>
  id ? el("span", { title: id }, api.clientName(id)) : "everybody";
