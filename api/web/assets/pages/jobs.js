// All jobs: filters, a list of any length, changes of some or of all.

import * as api from "../api.js";
import {
  address,
  button,
  el,
  field,
  refresh,
  replace,
  select,
} from "../dom.js";
import * as format from "../format.js";
import * as jobs from "../jobs.js";
import { VirtualList } from "../list.js";
import * as live from "../live.js";
import * as parts from "../parts.js";
import renderJob from "../job.js";

const FIELDS =
  "jobId,status,operation,model,clientId,attempts,errorType,waitingFor,processingMetrics,_metadata";
const PAGE = 1000;
const STATUSES = [
  "PENDING",
  "PROCESSING",
  "PROCESSED",
  "ERROR_PROCESSING",
  "CONSUMED",
  "ERROR_CONSUMING",
  "CANCELED",
];
// Names of the query, of the bulk requests' filter, and on the page.
const FILTERS = [
  ["operation", "Operation"],
  ["model", "Model"],
  ["errorType", "Error"],
  ["batchKey", "Batch"],
  ["id", "Client's own id"],
];
const COLUMNS = [
  ["Choose", "pick"],
  ["Status", "status"],
  ["Operation", "operation"],
  ["Model", "model"],
  ["What happens", "what"],
  ["Cost", "price num"],
  ["Submitted", "when num"],
];

export default function render(page, context) {
  if (context.parts.length) return renderJob(page, context);
  return new Jobs(page, context).start();
}

class Jobs {
  constructor(page, { query, onLeave, go }) {
    this.page = page;
    this.filter = Object.fromEntries(query);
    this.onLeave = onLeave;
    this.go = go;
    this.rows = [];
    this.chosen = new Map();
    this.number = 0;
    this.list = new VirtualList("Jobs", COLUMNS, (row) => this.cells(row), {
      onOpen: (job) => go(address("jobs", [job.jobId])),
      onEnd: () => this.more(),
    });
    this.chips = el("div", {
      class: "chips",
      role: "group",
      "aria-label": "Status",
    });
    this.selection = el("div", { class: "selection" });
  }

  start() {
    replace(
      this.page,
      parts.heading("Jobs"),
      this.chips,
      this.filters(),
      this.selection,
      this.list.box,
    );
    this.read();
    const again = live.gently(() => this.read(true), 1500);
    this.onLeave(live.on("queue", again));
    this.onLeave(live.on("job", again));
    this.onLeave(live.on("reset", again));
  }

  filters() {
    const change = (name) => (event) => {
      const value = event.target.value.trim();
      this.open({ ...this.filter, [name]: value });
    };
    const inputs = FILTERS.map(([name, label], place) =>
      field(
        label,
        el("input", {
          value: this.filter[name] || "",
          onchange: change(name),
          "data-filter": place === 0,
        }),
      ),
    );
    const clients = api.isAdmin()
      ? field(
          "Client",
          select(
            [["", "All clients"], ...api.clientNames()],
            this.filter.clientId || "",
            change("clientId"),
          ),
        )
      : null;
    const since = field(
      "Submitted",
      select(
        [
          ["", "At any time"],
          [format.today(), "Today"],
          [daysAgo(7), "In the last 7 days"],
        ],
        this.filter.from || "",
        change("from"),
      ),
    );
    return el(
      "form",
      {
        class: "filters",
        "aria-label": "Filter",
        onsubmit: (event) => event.preventDefault(),
      },
      inputs,
      clients,
      since,
      Object.keys(this.filter).length > 0 &&
        button("Clear", () => this.open({})),
    );
  }

  open(filter) {
    this.go(address("jobs", [], filter));
  }

  query() {
    return { ...this.filter, fields: FIELDS, sort: "-createdAt", limit: PAGE };
  }

  async read(again = false) {
    const mine = (this.number += 1);
    const { status, ...others } = this.filter;
    // What is seen is read anew; what was loaded beyond it stays.
    const [found, summary] = await parts
      .attempt(() =>
        Promise.all([
          api.page("jobs", this.query()),
          api.get("jobs/summary", others),
        ]),
      )
      .then((each) => each || [null, null]);
    if (!found || mine !== this.number) return;
    this.summary = summary;
    this.rows = again ? merged(found.items, this.rows) : found.items;
    if (!again || !this.next) this.next = found.next;
    this.show();
  }

  async more() {
    if (!this.next || this.loading) return;
    this.loading = true;
    const found = await parts.attempt(() =>
      api.page("jobs", { ...this.query(), cursor: this.next }),
    );
    this.loading = false;
    if (!found) {
      this.next = null;
      return;
    }
    this.next = found.next;
    const known = new Set(this.rows.map((each) => each.jobId));
    this.rows = [
      ...this.rows,
      ...found.items.filter((each) => !known.has(each.jobId)),
    ];
    this.show();
  }

  show() {
    const here = this.filter.status || "";
    const total = this.summary?.total ?? 0;
    const chip = (status, label, count) =>
      button(
        `${label} ${format.brief(count)}`,
        () => this.open({ ...this.filter, status }),
        {
          "aria-pressed": String(here === status),
          "data-key": `status ${status}`,
        },
      );
    refresh(
      this.chips,
      chip("", "All", total),
      STATUSES.filter((each) => this.summary?.[each] || here === each).map(
        (each) => chip(each, format.STATUS[each][0], this.summary?.[each]),
      ),
    );
    this.list.set(this.rows);
    this.showSelection();
  }

  // The filter as the bulk requests take it.
  bulk() {
    const { from, ...others } = this.filter;
    return from ? { ...others, from } : others;
  }

  showSelection() {
    const here = this.filter.status;
    const counts = this.summary || {};
    const chosen = [...this.chosen.values()];
    const failed =
      here && here !== "ERROR_PROCESSING" ? 0 : counts.ERROR_PROCESSING;
    const open =
      (!here || here === "PENDING" ? counts.PENDING : 0) +
      (!here || here === "PROCESSING" ? counts.PROCESSING : 0);
    const narrowed = Object.values(this.filter).some(Boolean);
    refresh(
      this.selection,
      el("span", { role: "status" }, this.told(chosen.length)),
      el(
        "span",
        { class: "actions" },
        chosen.some(jobs.canRetry) &&
          parts.working("Retry chosen", () => this.changeChosen("retry"), {
            "data-key": "retry chosen",
          }),
        chosen.some(jobs.canCancel) &&
          parts.working("Cancel chosen", () => this.changeChosen("cancel"), {
            "data-key": "cancel chosen",
          }),
        failed > 0 &&
          button(
            `Retry these ${format.count(failed)}`,
            () => this.changeAll(jobs.retryAll, "ERROR_PROCESSING"),
            { class: "primary", "data-key": "retry all" },
          ),
        open > 0 &&
          narrowed &&
          button(
            `Cancel these ${format.count(open)}`,
            () => this.changeAll(jobs.cancelAll, here),
            { class: "danger", "data-key": "cancel all" },
          ),
      ),
    );
  }

  told(chosen) {
    if (chosen) return `${format.plural(chosen, "job")} chosen`;
    const here = this.filter.status;
    const total = (here ? this.summary?.[here] : this.summary?.total) ?? 0;
    return total
      ? `${format.plural(total, "job")}, newest first`
      : "No job matches.";
  }

  async changeAll(change, status) {
    if (await change({ ...this.bulk(), status })) this.read();
  }

  async changeChosen(action) {
    const all = [...this.chosen.values()];
    if (action === "retry") {
      await jobs.each(
        all.filter(jobs.canRetry),
        (job) => api.patch(`jobs/${job.jobId}`, { status: "PENDING" }),
        "wait again",
      );
    } else {
      await jobs.each(
        all.filter(jobs.canCancel),
        (job) => api.act(`jobs/${job.jobId}/cancel`),
        "canceled",
      );
    }
    this.chosen.clear();
    this.read();
  }

  cells(job) {
    const cell = (name, ...content) =>
      el("span", { role: "gridcell", class: name }, content);
    const metrics = job.processingMetrics;
    return [
      cell(
        "pick",
        el("input", {
          type: "checkbox",
          checked: this.chosen.has(job.jobId),
          "aria-label": `Choose job ${job.jobId}`,
          onchange: (event) => {
            if (event.target.checked) this.chosen.set(job.jobId, job);
            else this.chosen.delete(job.jobId);
            this.showSelection();
          },
        }),
      ),
      cell("status", parts.badge(job.status)),
      cell(
        "operation",
        el(
          "a",
          { href: address("jobs", [job.jobId]), tabindex: "-1" },
          job.operation,
        ),
      ),
      cell("model dim", job.model),
      cell("what dim", what(job)),
      cell(
        "price num",
        metrics?.totalCost === undefined || metrics?.totalCost === null
          ? ""
          : format.money(metrics.totalCost, metrics.currency),
      ),
      cell("when num dim", parts.time(job._metadata.createdAt)),
    ];
  }
}

function what(job) {
  if (job.status === "PENDING") {
    return (format.WAITING[job.waitingFor?.kind] || ["Waits"])[0];
  }
  if (job.errorType) return job.errorType;
  const metrics = job.processingMetrics;
  const tried = job.attempts > 1 ? `${job.attempts} attempts` : null;
  const took = metrics?.duration ? format.seconds(metrics.duration) : null;
  return [took, tried].filter(Boolean).join(", ");
}

function daysAgo(days) {
  return new Date(Date.now() - days * 86400000).toISOString().slice(0, 10);
}

// The newest rows take the place of the old ones; rows that are equal stay
// the same objects, so that the list leaves them alone.
function merged(newest, old) {
  const before = new Map(old.map((each) => [each.jobId, each]));
  const same = (a, b) => b && JSON.stringify(a) === JSON.stringify(b);
  const top = newest.map((each) => {
    const known = before.get(each.jobId);
    before.delete(each.jobId);
    return same(each, known) ? known : each;
  });
  if (newest.length < PAGE) return top;
  const last = newest.at(-1).jobId;
  const place = old.findIndex((each) => each.jobId === last);
  return [
    ...top,
    ...old.slice(place + 1).filter((each) => before.has(each.jobId)),
  ];
}
