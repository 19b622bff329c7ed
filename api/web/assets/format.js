// Numbers, times and money in words that people read at a glance.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", {
  notation: "compact",
  maximumFractionDigits: 1,
});

export const count = (value) => whole.format(value ?? 0);
export const brief = (value) =>
  (value ?? 0) < 10000 ? count(value) : short.format(value);
export const percent = (value, digits = 1) =>
  value === null || value === undefined
    ? "–"
    : `${(value * 100).toFixed(digits)} %`;

export const points = (value) =>
  `${value > 0 ? "+" : ""}${(value * 100).toFixed(1)} points`;

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// To make a format takes longer than to use it a hundred times.
const formats = new Map();
function moneyFormat(currency, small) {
  const key = `${currency} ${small}`;
  if (!formats.has(key)) {
    const digits = small
      ? { maximumSignificantDigits: 2 }
      : { maximumFractionDigits: 2 };
    formats.set(
      key,
      new Intl.NumberFormat("en", { style: "currency", currency, ...digits }),
    );
  }
  return formats.get(key);
}

export function money(amount, currency = "USD") {
  if (amount === null || amount === undefined) return "–";
  const small = amount !== 0 && Math.abs(amount) < 0.1;
  try {
    return moneyFormat(currency, small).format(amount);
  } catch {
    // Not every currency that people write is one.
    return `${amount.toPrecision(3)} ${currency}`;
  }
}

export function costs(byCurrency) {
  const found = Object.entries(byCurrency || {});
  if (!found.length) return "–";
  return found.map(([code, amount]) => money(amount, code)).join(" + ");
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

function roughly(passed) {
  if (passed < 60) return `${Math.floor(passed)} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 172800) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} days`;
}

export function ago(time) {
  if (!time) return "–";
  const passed = (Date.now() - new Date(time)) / 1000;
  if (passed < 0) return `in ${roughly(-passed)}`;
  return passed < 2 ? "just now" : `${roughly(passed)} ago`;
}

const hours = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const days = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

export const clock = (time) => (time ? hours.format(new Date(time)) : "–");

export function moment(time) {
  if (!time) return "–";
  const made = new Date(time);
  const today = made.toDateString() === new Date().toDateString();
  return today ? clock(time) : `${days.format(made)}, ${clock(time)}`;
}

export const today = () => new Date().toISOString().slice(0, 10);

export const pretty = (value) =>
  typeof value === "string" ? value : JSON.stringify(value, null, 2);

const words = (text) =>
  String(text).toLowerCase().replaceAll("_", " ").replaceAll(".", " ");
export const sentence = (text) => {
  const made = words(text ?? "");
  return made.charAt(0).toUpperCase() + made.slice(1);
};

// What a status is called, and its tone.
export const STATUS = {
  PENDING: ["Waiting", "wait"],
  PROCESSING: ["Running", "run"],
  PROCESSED: ["Done", "good"],
  CONSUMED: ["Consumed", "good"],
  ERROR_PROCESSING: ["Failed", "bad"],
  ERROR_CONSUMING: ["Not consumed", "warn"],
  CANCELED: ["Canceled", "off"],
  CANCELLED: ["Cancelled", "off"],
  RUNNING: ["Running", "run"],
  PAUSED: ["Paused", "warn"],
  COMPLETED: ["Completed", "good"],
  FAILED: ["Failed", "bad"],
  DELIVERED: ["Delivered", "good"],
  PUBLISHED: ["Published", "good"],
  DRAFT: ["Draft", "warn"],
  ARCHIVE: ["Archived", "off"],
  running: ["Running", "run"],
  stopped: ["Stopped", "off"],
  error: ["Error", "bad"],
  streaming: ["Streaming", "run"],
  completed: ["Completed", "good"],
};

// Why a job waits, in a sentence, and what can be done about it.
export const WAITING = {
  NOT_DUE: ["It may not start yet", "It starts at the time it was given."],
  LIMIT: [
    "A limit of requests is used up",
    "It starts as soon as the limit allows. Raise the limits of the model or the client to go faster.",
  ],
  BUDGET: [
    "The budget is spent",
    "It starts with the next period, or when the budget is raised.",
  ],
  SUSPENDED: [
    "Its model's account is stopped",
    "Fix the account at the provider, then resume the model.",
  ],
  NO_WORKER: [
    "Its client has no workers",
    "Make a worker for this client and start it.",
  ],
  WORKER_STOPPED: [
    "The workers that would take it are stopped",
    "Start one of them.",
  ],
  FILTER_MISMATCH: [
    "It matches no worker's filters",
    "Change a worker's filters, or make a worker without any.",
  ],
  MODEL_UNAVAILABLE: [
    "Its model does not answer",
    "The circuit breaker is open, or the provider asked for a pause. The next trial comes by itself.",
  ],
  NO_THREAD: [
    "Its workers wait for a thread",
    "Other workers have all threads. Raise NUM_LLM_WORKERS, or start another worker process.",
  ],
  ITS_TURN: ["Other jobs run first", "It starts when it is its turn."],
};
