// From the steps of all nodes to what a chart draws.

import { state } from "./store.js";

const BARS = 60;
const BUCKETS = 32;
const FIRST_MS = 5;
const COUNTERS = ["succeeded", "refused", "failed", "cancelled", "input", "output"];
const GAUGES = ["inflight", "held"];

/** Upper bound of a bucket of times, in milliseconds: doubles with every second one. */
export const bound = (bucket) => FIRST_MS * 2 ** (bucket / 2);

/** The traffic of `endpoint`, or of all, in sixty spans that end now. What no node has told of is `undefined`, which is not 0. */
export function traffic(endpoint, minutes = state.minutes) {
  const span = (minutes * 60_000) / BARS;
  const step = state.stepMs;
  const width = Math.max(step, Math.floor(span / step) * step);
  // The newest step may not have come from all nodes yet.
  const end = Math.floor((Date.now() - step) / width) * width;
  const bars = Array.from({ length: BARS }, (_, index) => ({ at: end - (BARS - 1 - index) * width, known: false }));
  for (const [node, points] of state.history) {
    for (const point of points) {
      // A point tells of the time before it.
      const bar = bars[BARS - 1 - Math.ceil((end - point.at) / width)];
      if (bar) add(bar, node, point, endpoint);
    }
  }
  return { width, bars };
}

function add(bar, node, point, endpoint) {
  if (!bar.known) {
    Object.assign(bar, { known: true, ttft: new Array(BUCKETS).fill(0), gauges: new Map() });
    for (const name of [...COUNTERS, ...GAUGES]) bar[name] = 0;
  }
  const all = Object.values(point.endpoints ?? {}).concat(point.others ?? []);
  const wanted = endpoint ? [point.endpoints?.[endpoint]].filter(Boolean) : all;
  for (const one of wanted) {
    for (const name of COUNTERS) bar[name] += one[name] ?? 0;
    (one.ttft ?? []).forEach((number, bucket) => (bar.ttft[bucket] += number));
  }
  // Of what runs or waits, the last step of each node counts.
  const now = { inflight: 0, held: 0 };
  for (const one of wanted) for (const name of GAUGES) now[name] += one[name] ?? 0;
  bar.gauges.set(node, now);
  for (const name of GAUGES) bar[name] = [...bar.gauges.values()].reduce((sum, one) => sum + one[name], 0);
}

/** What the share `wanted` of the times in a histogram stay below, in milliseconds. */
export function quantile(histogram, wanted) {
  const total = (histogram ?? []).reduce((sum, number) => sum + number, 0);
  if (total === 0) return undefined;
  let below = 0;
  for (const [bucket, number] of histogram.entries()) {
    if (number > 0 && below + number >= wanted * total) {
      const low = bucket === 0 ? 0 : bound(bucket - 1);
      return low + (bound(bucket) - low) * ((wanted * total - below) / number);
    }
    below += number;
  }
  return undefined;
}

export const requests = (bar) => bar.succeeded + bar.refused + bar.failed + bar.cancelled;

/** One number for each bar; `undefined` where nothing is known. */
export const values = ({ bars }, value) => bars.map((bar) => (bar.known ? value(bar) : undefined));

/** The same, by the second. */
export const rates = ({ bars, width }, value) =>
  bars.map((bar) => (bar.known ? (value(bar) / width) * 1000 : undefined));

/** All steps of the last minute as one: rates by the second, times in milliseconds. */
export function lastMinute(endpoint) {
  const { bars, width } = traffic(endpoint, 5);
  const recent = bars.filter((bar) => bar.known).slice(-Math.round(60_000 / width));
  const seconds = (recent.length * width) / 1000;
  const sum = (value) => recent.reduce((total, bar) => total + value(bar), 0);
  const ttft = recent.reduce((total, bar) => total.map((number, bucket) => number + bar.ttft[bucket]), new Array(BUCKETS).fill(0));
  const rate = (value) => (seconds > 0 ? sum(value) / seconds : undefined);
  const all = sum(requests);
  return {
    requests: rate(requests),
    output: rate((bar) => bar.output),
    input: rate((bar) => bar.input),
    failed: all > 0 ? sum((bar) => bar.failed) / all : undefined,
    refused: all > 0 ? sum((bar) => bar.refused) / all : undefined,
    p50: quantile(ttft, 0.5),
    p95: quantile(ttft, 0.95),
    inflight: recent.at(-1)?.inflight,
    held: recent.at(-1)?.held,
  };
}
