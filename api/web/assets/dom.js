// Makes elements. Whatever is shown is set as text, never as HTML: there is
// no function here that takes HTML, and the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

// Adds children: nodes, texts, numbers, lists of them; null is left out.
export function add(parent, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
  return parent;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) {
    element.addEventListener(name.slice(2), value);
  } else if (name === "style") {
    for (const [key, each] of Object.entries(value)) {
      element.style.setProperty(key, each);
    }
  } else if (name in PROPERTIES) {
    element[name] = value;
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

const PROPERTIES = { value: 1, checked: 1, disabled: 1, selected: 1 };

// el("a", {class: "x", onclick: f}, "text", node, ...)
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key !== "value") set(element, key, value);
  }
  add(element, ...children);
  // A select has its value only when it has its options.
  set(element, "value", attributes.value);
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    set(element, key, value);
  }
  return add(element, ...children);
}

export function replace(parent, ...children) {
  parent.replaceChildren();
  return add(parent, ...children);
}

// Replaces the content, and leaves the focus where it was, if it can.
export function refresh(parent, ...children) {
  const key = parent.contains(document.activeElement)
    ? document.activeElement.dataset.key
    : undefined;
  replace(parent, ...children);
  if (key === undefined) return;
  const again = [...parent.querySelectorAll("[data-key]")].find(
    (each) => each.dataset.key === key,
  );
  again?.focus();
}

export const button = (label, onclick, attributes = {}) =>
  el("button", { type: "button", onclick, ...attributes }, label);

// An address inside the console: parts are encoded, whatever is in them.
export function address(page, parts = [], query = {}) {
  const path = [page, ...parts].map(encodeURIComponent).join("/");
  const given = Object.entries(query).filter(
    ([, value]) => value !== undefined && value !== null && value !== "",
  );
  const search = new URLSearchParams(given).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

export const link = (text, page, parts, query) =>
  el("a", { href: address(page, parts, query) }, text);

let unique = 0;
export const newId = (prefix) => `${prefix}-${(unique += 1)}`;

// A field with its label.
export function field(label, input, hint) {
  const id = newId("field");
  input.id = id;
  return el(
    "div",
    { class: "field" },
    el("label", { for: id }, label),
    input,
    hint && el("small", { class: "dim" }, hint),
  );
}

export function select(options, value, onchange, attributes = {}) {
  return el(
    "select",
    { onchange, ...attributes, value },
    options.map(([each, text]) => el("option", { value: each }, text)),
  );
}

export function dialog(title, content, buttons) {
  const id = newId("title");
  const box = el(
    "dialog",
    { "aria-labelledby": id, onclose: () => box.remove() },
    el("h2", { id }, title),
    el("div", { class: "content" }, content),
    el(
      "div",
      { class: "actions" },
      buttons(() => box.close()),
    ),
  );
  document.body.append(box);
  box.showModal();
  return box;
}

// Asks before something is changed; resolves to whether it is wanted.
export function confirm(title, content, action, { danger = false } = {}) {
  return new Promise((resolve) => {
    let wanted = false;
    const box = dialog(title, content, (close) => [
      button("Cancel", close),
      button(
        action,
        () => {
          wanted = true;
          close();
        },
        { class: danger ? "danger" : "primary", autofocus: true },
      ),
    ]);
    box.addEventListener("close", () => resolve(wanted));
  });
}

// Says something for some seconds; screen readers read it out.
export function say(text, kind = "info") {
  const place = document.getElementById("messages");
  if (!place) return;
  const note = el("p", { class: `message ${kind}` }, text);
  place.append(note);
  setTimeout(() => note.remove(), kind === "error" ? 12000 : 6000);
}
