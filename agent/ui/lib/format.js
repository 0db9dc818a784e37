// Numbers as people read them.

const SIZES = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

export const DASH = "–";

const known = (value) => value !== undefined && value !== null && !Number.isNaN(value);

/** Three digits, and a letter for the thousands. */
export function count(value) {
  if (!known(value)) return DASH;
  const size = Math.abs(value);
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= limit) return `${short(value / (unit === "k" ? 1e3 : limit))}${unit}`;
  }
  return short(value);
}

function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export function percent(share) {
  if (!known(share)) return DASH;
  const value = share * 100;
  return `${value === 0 || value >= 10 ? value.toFixed(0) : value.toFixed(1)}%`;
}

/** A time in milliseconds. */
export function millis(value) {
  if (!known(value)) return DASH;
  if (value === 0) return "0";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${value.toFixed(0)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
  return age(value);
}

export const micros = (value) => millis(known(value) ? value / 1000 : value);

/** How long ago, in its largest unit or two. */
export function age(value) {
  if (!known(value)) return DASH;
  const seconds = Math.max(0, Math.floor(value / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export function clock(time, seconds = true) {
  const date = new Date(time);
  const parts = [date.getHours(), date.getMinutes(), ...(seconds ? [date.getSeconds()] : [])];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** `2026-11-30 04:05:06`, in this browser's time zone. */
export function dateTime(time) {
  if (!known(time)) return DASH;
  const date = new Date(time);
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0"));
  return `${day.join("-")} ${clock(time)}`;
}

/** Bytes of `80GiB`. */
export function sizeOf(text) {
  const [, number, unit] = /^([\d.]+)\s*([A-Za-z]+)?$/.exec(text ?? "") ?? [];
  return number === undefined ? undefined : Number(number) * (SIZES[unit ?? "B"] ?? NaN);
}

/** Bytes, in binary units. */
export function bytes(value) {
  if (!known(value)) return DASH;
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    if (value >= SIZES[unit]) return `${short(Math.round((value / SIZES[unit]) * 10) / 10)} ${unit}`;
  }
  return `${value} B`;
}

export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
