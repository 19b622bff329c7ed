// Small charts of SVG. Numbers stand beside them as text, so that nobody
// has to read them from a picture.

import { el, svg } from "./dom.js";

// One bar of several parts: [[label, value, tone]].
export function parts(label, values) {
  const total = values.reduce((sum, [, value]) => sum + value, 0);
  let x = 0;
  const bars = values.map(([name, value, tone]) => {
    const width = total ? (value / total) * 100 : 0;
    const bar = svg(
      "rect",
      {
        x,
        y: 0,
        width: Math.max(width, 0),
        height: 10,
        class: `fill-${tone}`,
      },
      svg("title", {}, `${name}: ${value}`),
    );
    x += width;
    return bar;
  });
  return svg(
    "svg",
    {
      class: "parts",
      viewBox: "0 0 100 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label}: ${values.map(([n, v]) => `${n} ${v}`).join(", ")}`,
    },
    svg("rect", { x: 0, y: 0, width: 100, height: 10, class: "fill-none" }),
    bars,
  );
}

// Horizontal bars with their texts: [{label, value, shown, actions}].
export function bars(rows, tone = "accent") {
  const most = Math.max(...rows.map((each) => each.value), 0) || 1;
  return el(
    "ul",
    { class: "bars" },
    rows.map((row) =>
      el(
        "li",
        {},
        el("span", { class: "bar-label" }, row.label),
        el("span", { class: "bar-value" }, row.shown),
        svg(
          "svg",
          {
            class: "bar",
            viewBox: "0 0 100 6",
            preserveAspectRatio: "none",
            "aria-hidden": "true",
          },
          svg("rect", { width: 100, height: 6, class: "fill-none" }),
          svg("rect", {
            width: Math.max((row.value / most) * 100, 0.5),
            height: 6,
            class: `fill-${row.tone || tone}`,
          }),
        ),
        row.actions && el("span", { class: "bar-actions" }, row.actions),
      ),
    ),
  );
}

export function meter(label, value, most, tone = "accent") {
  const part = most > 0 ? Math.min(value / most, 1) : value > 0 ? 1 : 0;
  const width = part * 100;
  return svg(
    "svg",
    {
      class: "bar",
      viewBox: "0 0 100 6",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label}: ${Math.round(width)} percent`,
    },
    svg("rect", { width: 100, height: 6, class: "fill-none" }),
    svg("rect", { width, height: 6, class: `fill-${tone}` }),
  );
}

const HEIGHT = 150;
// Its letters are then as large as those around it.
const widthOf = (wide) => (innerWidth <= 760 ? 340 : wide ? 920 : 480);
const PAD = { left: 44, right: 8, top: 10, bottom: 22 };

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  const step = [1, 2, 5, 10].find((each) => each * power >= value);
  return step * power;
}

// A line over time or count: points [[x, y]], already in order.
export function line(label, points, { xText, yText, wide, dots } = {}) {
  const full = widthOf(wide);
  const inner = {
    width: full - PAD.left - PAD.right,
    height: HEIGHT - PAD.top - PAD.bottom,
  };
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const first = Math.min(...xs);
  const span = Math.max(...xs) - first || 1;
  const top = nice(Math.max(...ys, 0)) || 1;
  const at = ([x, y]) => [
    PAD.left + ((x - first) / span) * inner.width,
    PAD.top + (1 - y / top) * inner.height,
  ];
  const placed = points.map(at);
  const path = placed
    .map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`)
    .join("");
  const floor = PAD.top + inner.height;
  const end = placed.at(-1);
  return svg(
    "svg",
    {
      class: "line",
      viewBox: `0 0 ${full} ${HEIGHT}`,
      role: "img",
      "aria-label": label,
    },
    [0, 0.5, 1].map((part) => [
      svg("line", {
        x1: PAD.left,
        x2: full - PAD.right,
        y1: PAD.top + (1 - part) * inner.height,
        y2: PAD.top + (1 - part) * inner.height,
        class: "grid",
      }),
      svg(
        "text",
        {
          x: PAD.left - 6,
          y: PAD.top + (1 - part) * inner.height + 4,
          "text-anchor": "end",
        },
        yText(top * part),
      ),
    ]),
    svg("text", { x: PAD.left, y: HEIGHT - 5 }, xText(first)),
    svg(
      "text",
      { x: full - PAD.right, y: HEIGHT - 5, "text-anchor": "end" },
      xText(first + span),
    ),
    svg("path", {
      d: `${path}L${end[0].toFixed(1)} ${floor}L${placed[0][0].toFixed(1)} ${floor}Z`,
      class: "area",
    }),
    svg("path", { d: path, class: "stroke" }),
    (dots ? placed : [end]).map(([x, y]) =>
      svg("circle", { cx: x, cy: y, r: 3.5, class: "dot" }),
    ),
  );
}
