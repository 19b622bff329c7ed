// What differs between two texts, word by word.

import { el } from "./dom.js";

// Above it, lines are compared in place of words.
const MOST_CELLS = 4_000_000;

const words = (text) => text.match(/\s+|[^\s]+/g) || [];
const lines = (text) => text.match(/[^\n]*\n|[^\n]+/g) || [];

// The longest common subsequence, by the table of its lengths.
function compare(before, after) {
  const width = after.length + 1;
  const table = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      table[i * width + j] =
        before[i] === after[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const steps = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      steps.push(["same", before[i]]);
      i += 1;
      j += 1;
    } else if (
      i < before.length &&
      (j >= after.length ||
        table[(i + 1) * width + j] >= table[i * width + j + 1])
    ) {
      steps.push(["del", before[i]]);
      i += 1;
    } else {
      steps.push(["ins", after[j]]);
      j += 1;
    }
  }
  return steps;
}

function split(before, after) {
  let pieces = [words(before), words(after)];
  if (pieces[0].length * pieces[1].length > MOST_CELLS) {
    pieces = [lines(before), lines(after)];
  }
  if (pieces[0].length * pieces[1].length > MOST_CELLS) {
    pieces = [[before], [after]];
  }
  return pieces;
}

// An element that shows both: what was taken out, and what was put in.
export function diff(before, after, label) {
  const steps = compare(...split(before, after));
  const shown = [];
  for (const [kind, piece] of steps) {
    const last = shown.at(-1);
    if (last && last[0] === kind) last[1] += piece;
    else shown.push([kind, piece]);
  }
  return el(
    "pre",
    { class: "text diff", tabindex: "0", role: "group", "aria-label": label },
    shown.map(([kind, piece]) =>
      kind === "same" ? piece : el(kind, {}, piece),
    ),
  );
}
