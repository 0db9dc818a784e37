// Charts, drawn as SVG. A chart is as wide as its place: it is measured after it was drawn, and drawn again if that has changed.

import { h, s } from "./dom.js";
import { DASH, clock } from "./format.js";
import { bound } from "./series.js";
import { changed } from "./store.js";

const LEFT = 46;
const RIGHT = 8;
const TOP = 6;
const BOTTOM = 18;

const widths = new Map();
const pointed = new Map();

const resized = new ResizeObserver((entries) => {
  let news = false;
  for (const { target, contentRect } of entries) {
    const width = Math.round(contentRect.width);
    if (width > 0 && widths.get(target.dataset.chart) !== width) {
      widths.set(target.dataset.chart, width);
      news = true;
    }
  }
  if (news) changed();
});
const observed = new WeakSet();

/** To be called when the page has been drawn. */
export function measure(root) {
  for (const place of root.querySelectorAll("[data-chart]")) {
    if (!observed.has(place)) {
      observed.add(place);
      resized.observe(place);
    }
  }
}

/** A round number that is not below `value`. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

function frame(id, height, label, draw) {
  const width = widths.get(id) ?? 480;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    pointed.set(id, (event.clientX - box.left - LEFT) / Math.max(1, width - LEFT - RIGHT));
    changed();
  };
  const leave = () => {
    pointed.delete(id);
    changed();
  };
  const on = { pointermove: point, pointerdown: point, pointerleave: leave };
  return h("div", { class: "plot", "data-chart": id },
    s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, on }, draw(width)));
}

function timeAxis(bars, x, height) {
  const wanted = bars.length > 1 && x(bars.length - 1) > 380 ? [0, 15, 30, 45, 59] : [0, 30, 59];
  const long = bars.at(-1).at - bars[0].at > 20 * 60_000;
  return wanted.map((index) => {
    const anchor = index === 0 ? "start" : index === bars.length - 1 ? "end" : "middle";
    return s("text", { x: x(index), y: height - 4, "text-anchor": anchor, class: "tick" }, clock(bars[index].at, !long));
  });
}

/**
 * Lines over time: `lines` of `{label, tone, values}`. A gap is where nothing is known. Where the pointer is, the legend tells
 * that moment, else the latest.
 */
export function lineChart({ id, title, bars, lines, format, height = 132 }) {
  const top = ceiling(Math.max(0, ...lines.flatMap(({ values }) => values.filter((value) => value !== undefined))));
  const at = pointed.has(id) ? Math.round(pointed.get(id) * (bars.length - 1)) : undefined;
  const index = at >= 0 && at < bars.length ? at : undefined;
  const latest = (values) => values.findLast((value) => value !== undefined);
  const told = (values) => (index === undefined ? latest(values) : values[index]);
  const draw = (width) => {
    const x = (place) => LEFT + (place / (bars.length - 1)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
    const grid = [0, 0.5, 1].map((share) => [
      s("line", { x1: LEFT, x2: width - RIGHT, y1: y(share * top), y2: y(share * top), class: "grid" }),
      s("text", { x: LEFT - 6, y: y(share * top) + 3.5, "text-anchor": "end", class: "tick" }, format(share * top)),
    ]);
    const cursor = index === undefined ? [] : s("line", { x1: x(index), x2: x(index), y1: TOP, y2: height - BOTTOM, class: "cursor" });
    return [grid, timeAxis(bars, x, height), cursor, lines.map((line) => path(line, x, y))];
  };
  const legend = lines.map(({ label, tone, values }) =>
    h("span", { class: "key" }, h("i", { class: `swatch ${tone}` }), label, " ", h("b", {}, format(told(values)))));
  const when = index === undefined ? "" : clock(bars[index].at);
  return h("figure", { class: "chart", "data-key": id },
    h("figcaption", {}, h("span", { class: "title" }, title), h("span", { class: "legend" }, when && h("span", { class: "dim" }, when), legend)),
    frame(id, height, `${title}: ${lines.map(({ label, values }) => `${label} ${format(latest(values))}`).join(", ")}`, draw));
}

function path({ tone, values }, x, y) {
  const runs = [];
  values.forEach((value, index) => {
    if (value === undefined) return;
    const place = `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
    if (index > 0 && values[index - 1] !== undefined) runs.at(-1).push(place);
    else runs.push([place]);
  });
  return runs.map((run) =>
    run.length === 1
      ? s("circle", { cx: run[0].split(",")[0], cy: run[0].split(",")[1], r: 1.8, class: `dot ${tone}` })
      : s("polyline", { points: run.join(" "), class: `line ${tone}` }));
}

/** How often which times were seen: the stronger, the more. */
export function heatMap({ id, title, bars, format, height = 190 }) {
  const used = bars.flatMap((bar) => (bar.ttft ?? []).map((number, bucket) => (number > 0 ? bucket : -1))).filter((bucket) => bucket >= 0);
  const low = Math.max(0, Math.min(...used, 8) - 1);
  const high = Math.max(low + 7, Math.max(...used, 0) + 1);
  const most = Math.max(1, ...bars.flatMap((bar) => bar.ttft ?? []));
  const index = pointed.has(id) ? Math.floor(pointed.get(id) * bars.length) : undefined;
  const draw = (width) => {
    const across = (width - LEFT - RIGHT) / bars.length;
    const up = (height - TOP - BOTTOM) / (high - low + 1);
    const x = (place) => LEFT + place * across;
    const y = (bucket) => height - BOTTOM - (bucket - low + 1) * up;
    const cells = bars.flatMap((bar, place) =>
      (bar.ttft ?? []).flatMap((number, bucket) => {
        if (number === 0) return [];
        const shade = (0.18 + 0.82 * Math.sqrt(number / most)).toFixed(2);
        return s("rect", { x: x(place).toFixed(1), y: y(bucket).toFixed(1), width: Math.max(1, across - 0.6).toFixed(1), height: Math.max(1, up - 0.6).toFixed(1), class: "cell", "fill-opacity": shade });
      }));
    const marks = [];
    for (let bucket = low; bucket <= high; bucket += Math.max(1, Math.ceil((high - low + 1) / 7))) {
      marks.push(s("text", { x: LEFT - 6, y: y(bucket) + 3.5, "text-anchor": "end", class: "tick" }, format(bound(bucket))));
    }
    const floor = s("line", { x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM, class: "grid" });
    return [floor, marks, cells, timeAxis(bars, (place) => x(place + (place === bars.length - 1 ? 1 : 0)), height)];
  };
  const bar = index >= 0 && index < bars.length ? bars[index] : undefined;
  const total = (histogram) => (histogram ?? []).reduce((sum, number) => sum + number, 0);
  const told = bar ? `${clock(bar.at)}: ${bar.known ? `${total(bar.ttft)} streams` : DASH}` : `${bars.reduce((sum, one) => sum + total(one.ttft), 0)} streams`;
  return h("figure", { class: "chart", "data-key": id },
    h("figcaption", {}, h("span", { class: "title" }, title), h("span", { class: "legend dim" }, told)),
    frame(id, height, title, draw));
}
