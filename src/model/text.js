// Numbers for display, in the style of src/units.rs.

/** Three significant digits; whole numbers with separators from a thousand on. */
export function significant(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 999.5) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

const scaled = (units) => (value) => {
  const [name, factor] = units.find(([, least]) => Math.abs(value) >= least) ?? units.at(-1);
  return `${significant(value / factor)} ${name}`;
};

const bytes = (end) => [
  [`TB${end}`, 1e12],
  [`GB${end}`, 1e9],
  [`MB${end}`, 1e6],
  [`kB${end}`, 1e3],
  [`B${end}`, 1],
];
export const showBytes = scaled(bytes(""));
export const showBytesPerSecond = scaled(bytes("/s"));
export const showSeconds = (value) =>
  value === 0
    ? "0 ms"
    : scaled([
        ["h", 3600],
        ["min", 60],
        ["s", 1],
        ["ms", 1e-3],
        ["µs", 1e-6],
      ])(value);
export const showPerSecond = (value) => `${significant(value)}/s`;

/** With a capital letter at its start. */
export const capital = (text) => text[0].toUpperCase() + text.slice(1);

const RATE_UNITS = [
  ["s", 1, 0.01],
  ["h", 3600, 1 / 3600],
  ["d", 86_400, 0],
];
/** Messages per second, or per hour or day if there are few; in the unit that suits `like`. */
export function showRate(rate, like = rate) {
  // A rate that was given per hour is not exactly a multiple.
  const [name, seconds] = RATE_UNITS.find(([, , least]) => like >= least * (1 - 1e-9));
  return `${significant(rate * seconds)}/${name}`;
}

/** A rate for a field to edit, with more digits than are shown elsewhere. */
export function writeRate(rate) {
  const [name, seconds] = RATE_UNITS.find(([, , least]) => rate >= least * (1 - 1e-9));
  return `${Number((rate * seconds).toPrecision(6))}/${name}`;
}

const SPANS = { ms: 1e-3, s: 1, min: 60, h: 3600, d: 86_400 };
const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?`;
const RATE = new RegExp(String.raw`^\s*(${NUMBER})\s*(?:/\s*([\d.]*)\s*(ms|s|min|h|d)\s*)?$`);
/**
 * A rate such as 0.5 (per second), 2/h or 1/20s, per second; null if it is none. A test holds it to
 * parse_rate in src/units.rs.
 */
export function parseRate(text) {
  const [, amount, count, unit] = RATE.exec(text) ?? [];
  if (amount === undefined) return null;
  const span = (count ? Number(count) : 1) * SPANS[unit ?? "s"];
  const rate = Number(amount) / span;
  return span > 0 && Number.isFinite(rate) ? rate : null;
}

/** An amount of money: cents below a thousand. */
export function showMoney(value, currency) {
  const digits = Math.abs(value) < 1000 ? 2 : 0;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return `${value.toLocaleString("en-US", options)} ${currency}`;
}
