// The data, elements, numbers as people read them, and what the parts of the page share.

const data = JSON.parse(document.getElementById("data").textContent);

const SVG = "http://www.w3.org/2000/svg";

// An element: attributes by name, `on…` for listeners; text and elements as children, never markup.
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// -- numbers --------------------------------------------------------------------------------------------------------

const LARGE = ["", "K", "M", "G", "T", "P", "E"];
const SMALL = ["", "m", "µ", "n", "p"];

// Three significant digits and a prefix: 5.72 M, 26.3 MiB, 1.25 ms. A closed form, which is text, stays as it is.
function human(value, unit = "") {
  if (typeof value !== "number") return String(value);
  const base = unit === "B" ? 1024 : 1000;
  let scaled = value;
  let power = 0;
  while (Math.abs(scaled) >= base - 0.5 && power < LARGE.length - 1) {
    scaled /= base;
    power += 1;
  }
  let prefix = LARGE[power] + (unit === "B" && power ? "i" : "");
  if (value !== 0 && Math.abs(value) < 1 && unit !== "") {
    power = 0;
    while (Math.abs(scaled) < 0.9995 && power < SMALL.length - 1) {
      scaled *= 1000;
      power += 1;
    }
    prefix = SMALL[power];
  }
  const whole = Number.isInteger(value) && prefix === "";
  const size = Math.abs(scaled);
  const digits = whole ? 0 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
  return `${scaled.toFixed(digits)}\u202f${prefix}${unit}`.replace(/\u202f$/, "");
}

function exact(value, unit = "") {
  if (!Number.isInteger(value)) return human(value, unit); // a time or an energy: no digits to count
  const text = value.toLocaleString("en").replaceAll(",", "\u202f");
  return unit ? `${text}\u202f${unit}` : text;
}

function share(part, whole) {
  if (typeof part !== "number" || typeof whole !== "number" || !whole || !part) return "";
  const percent = (100 * part) / whole;
  return percent >= 99.95 ? "100\u202f%" : percent >= 0.05 ? `${percent.toFixed(1)}\u202f%` : "<0.1\u202f%";
}

const plural = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;

// -- what the parts share --------------------------------------------------------------------------------------------

const partMetrics = data.metrics.filter((metric) => metric.addsUp);
const state = { metric: partMetrics[0] || null, selected: null, hovered: null };
const listeners = { metric: [], selected: [] };

function set(what, value) {
  if (state[what] === value) return;
  state[what] = value;
  for (const listener of listeners[what]) listener(value);
}

const COLOURS = 8;
const colour = (k) => `var(--series-${k % COLOURS})`;
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2", "1 3", "6 2 1 2"];

// A control of a few choices, as radio buttons that look like one.
function choice(legend, options, chosen, change) {
  const name = `choice-${(choice.count = (choice.count || 0) + 1)}`;
  return el(
    "fieldset", { class: "choice" },
    el("legend", {}, legend),
    options.map(([value, label, hint]) =>
      el(
        "label", { title: hint || null },
        el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => change(value) }),
        el("span", {}, label),
      ),
    ),
  );
}

// -- the tip beside the pointer ----------------------------------------------------------------------------------------

const tip = document.getElementById("tip");

function showTip(x, y, ...content) {
  tip.replaceChildren(...content.filter(Boolean));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = x + 14 + box.width > width ? Math.max(4, x - 14 - box.width) : x + 14;
  const top = y + 18 + box.height > window.innerHeight ? Math.max(4, y - 12 - box.height) : y + 18;
  tip.style.left = `${left}px`;
  tip.style.top = `${top}px`;
}
const hideTip = () => {
  tip.hidden = true;
};
