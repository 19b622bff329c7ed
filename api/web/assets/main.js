// The frame around the pages: sign-in, navigation, keys, colours.

import * as api from "./api.js";
import { button, dialog, el, replace } from "./dom.js";
import * as live from "./live.js";

const PAGES = [
  ["overview", "Overview", "o"],
  ["jobs", "Jobs", "j"],
  ["runs", "Runs", "r"],
  ["prompts", "Prompts", "p"],
  ["models", "Models", "m"],
  ["workers", "Workers", "w"],
  ["clients", "Clients", "c", "admin"],
  ["webhooks", "Webhooks", "h"],
];
const app = document.getElementById("app");
const main = el("main", { id: "main" });
let leave = () => {};

function allowed() {
  return PAGES.filter(([, , , role]) => !role || api.session.role === role);
}

function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...parts] = path.split("/").map(decode);
  return { page, parts, query: new URLSearchParams(search) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function show() {
  leave();
  leave = () => {};
  const { page, parts, query } = route();
  const known = allowed().some(([name]) => name === page);
  const name = known ? page : "overview";
  for (const each of document.querySelectorAll("nav a")) {
    const here = each.dataset.page === name;
    if (here) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.body.classList.remove("menu-open");
  const mine = location.hash;
  const { default: render } = await import(`./pages/${name}.js`);
  if (mine !== location.hash) return;
  const ended = [];
  leave = () => ended.forEach((each) => each());
  const content = el("div", { class: `page page-${name}` });
  replace(main, content);
  scrollTo(0, 0);
  render(content, {
    parts: known ? parts : [],
    query: known ? query : new URLSearchParams(),
    onLeave: (run) => ended.push(run),
    go: (address) => {
      location.hash = address;
    },
    again: show,
  });
  main.dataset.shown = mine;
  // Who listens hears where it is; who looks sees no ring.
  content.querySelector("h1")?.focus({ preventScroll: true });
}

function theme() {
  const now = document.documentElement.dataset.theme;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const next =
    (now || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
}

function liveState() {
  const texts = {
    live: "Live",
    connecting: "Connecting …",
    broken: "Not live: trying again …",
    off: "Not live",
  };
  const box = el("span", { class: "live off", role: "status" }, texts.off);
  live.whenStateChanges((state) => {
    box.className = `live ${state}`;
    replace(box, texts[state]);
  });
  return box;
}

function frame() {
  const who = api.isAdmin() ? "Administrator" : "Client";
  replace(
    app,
    el(
      "a",
      { class: "skip", href: "#main", onclick: skip },
      "Skip to content",
    ),
    el(
      "header",
      { class: "bar-top" },
      button("Menu", () => document.body.classList.toggle("menu-open"), {
        class: "menu-button",
      }),
      el("a", { class: "brand", href: "#/overview" }, mark(), "Metasync"),
      liveState(),
      el("span", { class: "who dim" }, who),
      button("Theme", theme, { class: "plain", title: "Dark or light" }),
      button("Keys", help, { class: "plain keys-button", title: "Keys (?)" }),
      button("Sign out", signOut, { class: "plain" }),
    ),
    el(
      "nav",
      { "aria-label": "Pages" },
      el(
        "ul",
        {},
        allowed().map(([name, title]) =>
          el(
            "li",
            {},
            el("a", { href: `#/${name}`, "data-page": name }, title),
          ),
        ),
      ),
    ),
    main,
    el("div", { id: "messages", role: "status", "aria-live": "polite" }),
  );
}

function mark() {
  return el("img", { src: "assets/icon.svg", alt: "", width: 24, height: 24 });
}

function skip(event) {
  event.preventDefault();
  main.querySelector("h1")?.focus();
}

async function signOut() {
  live.close();
  leave();
  await api.signOut().catch(() => {});
  signInPage();
}

function signInPage(message) {
  live.close();
  leave();
  leave = () => {};
  document.title = "Sign in · Metasync";
  const key = el("input", {
    id: "key",
    type: "password",
    autocomplete: "current-password",
    required: true,
    "aria-describedby": "key-hint sign-in-error",
  });
  const error = el(
    "p",
    { class: "message error", id: "sign-in-error", role: "alert" },
    message,
  );
  error.hidden = !message;
  const submit = async (event) => {
    event.preventDefault();
    try {
      await api.signIn(key.value);
      await start();
    } catch (problem) {
      error.hidden = false;
      replace(error, problem.message);
      key.select();
    }
  };
  replace(
    app,
    el(
      "main",
      { class: "sign-in", id: "main" },
      el("h1", {}, mark(), "Metasync"),
      el("p", { class: "dim" }, "See what runs, waits, fails and costs."),
      el(
        "form",
        { onsubmit: submit },
        // Managers of passwords want to know whose key it is.
        el("input", {
          class: "hidden",
          type: "text",
          autocomplete: "username",
          value: "metasync",
          tabindex: "-1",
          "aria-hidden": "true",
        }),
        el("label", { for: "key" }, "Key"),
        key,
        el(
          "small",
          { id: "key-hint", class: "dim" },
          "The admin key (ADMIN_API_KEY), or a client's token: its id, a colon and its key.",
        ),
        error,
        el("button", { class: "primary", type: "submit" }, "Sign in"),
      ),
    ),
  );
  key.focus();
}

const SHORTCUTS = [
  ["g, then a letter", "Go to a page"],
  ["/", "Go to the filter"],
  ["↑ ↓ Page Home End", "Walk through a list"],
  ["Enter", "Open what is chosen"],
  ["t", "Dark or light"],
  ["?", "These keys"],
  ["Esc", "Close"],
];

function help() {
  const pages = allowed().map(([, title, key]) => [`g ${key}`, title]);
  dialog(
    "Keys",
    el(
      "dl",
      { class: "facts" },
      [...SHORTCUTS, ...pages].map(([keys, what]) => [
        el("dt", {}, el("kbd", {}, keys)),
        el("dd", {}, what),
      ]),
    ),
    (close) => [button("Close", close, { class: "primary" })],
  );
}

let before = "";
function pressed(event) {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!api.session.role) return;
  const isSecond = before === "g";
  before = event.key;
  const target = isSecond && allowed().find(([, , key]) => key === event.key);
  if (target) {
    before = "";
    location.hash = `#/${target[0]}`;
  } else if (event.key === "?") help();
  else if (event.key === "t") theme();
  else if (event.key === "/") {
    event.preventDefault();
    main.querySelector("[data-filter]")?.focus();
  }
}

async function start() {
  frame();
  live.open();
  await api.learnClients().catch(() => {});
  await show();
}

const chosen = localStorage.getItem("theme");
if (chosen) document.documentElement.dataset.theme = chosen;
addEventListener("hashchange", () => api.session.role && show());
addEventListener("keydown", pressed);
const ended = () => signInPage("The session has ended; sign in again.");
api.whenSignedOut(ended);
live.whenSignedOut(ended);
if (await api.currentSession()) await start();
else signInPage();
