// A list of any length: only the rows that can be seen are in the page.

import { el, replace } from "./dom.js";

const ROW = 44;
const SPARE = 8;

// `cells(row)` gives a row's cells; `columns` are their titles. Rows can be
// walked through with the arrow keys, and opened with Enter.
export class VirtualList {
  constructor(label, columns, cells, { onOpen, onEnd, keyOf }) {
    this.rows = [];
    this.cells = cells;
    this.onOpen = onOpen;
    this.onEnd = onEnd;
    this.keyOf = keyOf;
    this.at = 0;
    this.shown = new Map();
    this.body = el("div", { class: "rows", role: "rowgroup" });
    this.head = el(
      "div",
      { class: "row head", role: "row", "aria-rowindex": "1" },
      columns.map(([title, name]) =>
        el(
          "span",
          { role: "columnheader", class: name },
          name === "pick" ? el("span", { class: "hidden" }, title) : title,
        ),
      ),
    );
    this.box = el(
      "div",
      {
        class: "list",
        role: "grid",
        "aria-label": label,
        "aria-colcount": columns.length,
        onscroll: () => this.draw(),
        onkeydown: (event) => this.key(event),
      },
      el("div", { role: "rowgroup" }, this.head),
      this.body,
    );
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  // Shows these rows; those that are as before stay as they are.
  set(rows) {
    this.rows = rows;
    this.at = Math.min(this.at, Math.max(rows.length - 1, 0));
    this.box.setAttribute("aria-rowcount", rows.length + 1);
    this.draw();
  }

  draw() {
    const from = Math.max(Math.floor(this.box.scrollTop / ROW) - SPARE, 0);
    const seen = Math.ceil(this.box.clientHeight / ROW) + 2 * SPARE;
    const to = Math.min(from + seen, this.rows.length);
    this.body.style.setProperty("height", `${this.rows.length * ROW}px`);
    const wanted = new Map();
    for (let i = from; i < to; i += 1) wanted.set(i, this.rows[i]);
    for (const [i, { node, row }] of this.shown) {
      if (wanted.get(i) !== row) {
        // Whoever is in it stays in the list.
        if (node.contains(document.activeElement)) this.refocus = i;
        node.remove();
        this.shown.delete(i);
      }
    }
    for (const [i, row] of wanted) {
      if (!this.shown.has(i)) this.show(i, row);
    }
    if (this.refocus !== undefined) {
      this.shown.get(this.refocus)?.node.focus({ preventScroll: true });
      this.refocus = undefined;
    }
    if (to >= this.rows.length - SPARE) this.onEnd?.();
  }

  show(i, row) {
    const node = el(
      "div",
      {
        class: "row",
        role: "row",
        "aria-rowindex": i + 2,
        tabindex: i === this.at ? "0" : "-1",
        style: { transform: `translateY(${i * ROW}px)` },
        onfocus: () => this.choose(i, false),
        onclick: (event) => {
          if (!event.target.closest("a, button, input")) this.onOpen(row);
        },
      },
      this.cells(row),
    );
    this.shown.set(i, { node, row });
    this.body.append(node);
  }

  choose(i, focus = true) {
    this.shown.get(this.at)?.node.setAttribute("tabindex", "-1");
    this.at = i;
    const top = i * ROW;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    if (top + 2 * ROW > scrollTop + clientHeight) {
      this.box.scrollTop = top + 2 * ROW - clientHeight;
    }
    this.draw();
    const node = this.shown.get(i)?.node;
    node?.setAttribute("tabindex", "0");
    if (focus) node?.focus({ preventScroll: true });
  }

  key(event) {
    const last = this.rows.length - 1;
    const page = Math.floor(this.box.clientHeight / ROW) - 1;
    const steps = {
      ArrowDown: this.at + 1,
      ArrowUp: this.at - 1,
      PageDown: this.at + page,
      PageUp: this.at - page,
      Home: 0,
      End: last,
    };
    if (event.key in steps) {
      event.preventDefault();
      this.choose(Math.min(Math.max(steps[event.key], 0), last));
    } else if (event.key === "Enter" && event.target.matches(".row")) {
      this.onOpen(this.rows[this.at]);
    }
  }

  clear() {
    this.shown.clear();
    replace(this.body);
  }
}
