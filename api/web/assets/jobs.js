// Changes of jobs, one by one and all of a filter.

import * as api from "./api.js";
import { confirm, el, say } from "./dom.js";
import * as format from "./format.js";
import { attempt } from "./parts.js";

const described = (filter) =>
  Object.entries(filter)
    .filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => `${format.sentence(name)}: ${value}`)
    .join(", ") || "all";

// Counts first, asks, and only then changes all that match.
async function changeAll(path, filter, words, danger) {
  const dry = await attempt(() => api.post(path, { filter, dryRun: true }));
  if (!dry) return false;
  if (!dry.matched) {
    say("No job matches any more");
    return false;
  }
  const jobs = format.plural(dry.matched, "job");
  const wanted = await confirm(
    `${words.verb} ${jobs}?`,
    [
      el("p", {}, `These are the jobs with ${described(filter)}.`),
      el("p", { class: "dim" }, words.effect),
    ],
    `${words.verb} ${jobs}`,
    { danger },
  );
  if (!wanted) return false;
  let changed = 0;
  for (;;) {
    const result = await attempt(() => api.post(path, { filter }));
    if (!result) return false;
    changed += result.changed;
    if (!result.changed || result.changed >= result.matched) break;
  }
  say(`${format.plural(changed, "job")} ${words.done}`, "good");
  return true;
}

export const retryAll = (filter) =>
  changeAll("jobs/retry", filter, {
    verb: "Retry",
    done: "wait again",
    effect: "They are queued again and cost again what they use.",
  });

export const cancelAll = (filter) =>
  changeAll(
    "jobs/cancel",
    filter,
    {
      verb: "Cancel",
      done: "canceled",
      effect: "What waits is never started; running calls are stopped.",
    },
    true,
  );

export const retryOne = (job) =>
  attempt(
    () => api.patch(`jobs/${job.jobId}`, { status: "PENDING" }),
    "The job waits again",
  );

export const cancelOne = (job) =>
  attempt(() => api.act(`jobs/${job.jobId}/cancel`), "The job is canceled");

export const canRetry = (job) =>
  job.status === "ERROR_PROCESSING" ||
  (job.status === "CANCELED" && api.isAdmin());
export const canCancel = (job) =>
  job.status === "PENDING" || job.status === "PROCESSING";

// Several, chosen by hand; says how many went well.
export async function each(jobs, change, done) {
  let changed = 0;
  let problem = null;
  for (const job of jobs) {
    try {
      await change(job);
      changed += 1;
    } catch (error) {
      problem = error;
    }
  }
  if (problem) say(problem.message, "error");
  say(`${format.plural(changed, "job")} ${done}`, problem ? "info" : "good");
}
