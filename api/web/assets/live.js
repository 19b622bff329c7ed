// What happens while it happens: one connection for all that is shown.

import { ROOT, session } from "./api.js";

const ALWAYS = ["queue", "run", "model", "worker"];
const KEPT = 600;

let source = null;
let more = new Set();
const listeners = new Map();
const seen = new Set();
let state = "off";
let onState = () => {};
let onSignedOut = () => {};

// The latest numbers of the queue, for charts: [{at, counts, perSecond}].
export const history = [];

export const whenStateChanges = (listener) => {
  onState = listener;
};

export const whenSignedOut = (listener) => {
  onSignedOut = listener;
};

function become(next) {
  state = next;
  onState(state);
}

export const isLive = () => state === "live";

function take(event) {
  if (seen.has(event.id)) return;
  seen.add(event.id);
  if (seen.size > 5000) seen.delete(seen.values().next().value);
  if (event.topic === "queue") {
    history.push({ at: Date.parse(event.at), ...event.data });
    if (history.length > KEPT) history.shift();
  }
  for (const listener of listeners.get(event.topic) || []) listener(event);
}

function tell(name) {
  for (const each of listeners.get(name) || []) each();
}

export function open() {
  close();
  const url = new URL("events", ROOT);
  url.searchParams.set("topics", [...ALWAYS, ...more].join(","));
  const start = new Date(Date.now() - 10 * 60000).toISOString();
  url.searchParams.set("from", start);
  source = new EventSource(url);
  become("connecting");
  source.onopen = () => become("live");
  source.onmessage = (message) => take(JSON.parse(message.data));
  source.addEventListener("reset", () => tell("reset"));
  source.addEventListener("end", (message) => {
    const { reason } = JSON.parse(message.data);
    if (reason !== "SIGNED_OUT") return;
    session.role = null;
    close();
    onSignedOut();
  });
  source.onerror = () => {
    become("broken");
    // The browser tries again by itself, unless it was refused.
    if (source && source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(() => !source && session.role && open(), 5000);
    }
  };
}

export function close() {
  source?.close();
  source = null;
  become("off");
}

// Calls a listener for each event of a topic; returns what ends it. Events
// of single jobs are many: they are only asked for while somebody listens.
export function on(topic, listener) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(listener);
  const isNew = topic === "job" && !more.has(topic);
  if (isNew) {
    more.add(topic);
    open();
  }
  return () => {
    listeners.get(topic).delete(listener);
    if (topic === "job" && !listeners.get(topic).size) {
      more.delete(topic);
      if (session.role) open();
    }
  };
}

// Runs it now, or when the page is looked at again.
function whenSeen(run) {
  if (!document.hidden) run();
  else document.addEventListener("visibilitychange", run, { once: true });
}

// Lets a function run soon, and not more often than every `pause` ms.
export function gently(run, pause = 700) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer !== null) return;
    const wait = Math.max(0, last + pause - Date.now());
    timer = setTimeout(() => {
      whenSeen(() => {
        timer = null;
        last = Date.now();
        run();
      });
    }, wait);
  };
}
