// Elements without markup: text is only ever set as text.

// h("button.quiet", { onclick, title: "…" }, "text", element, …)
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, one] of Object.entries(value)) element.style.setProperty(property, one);
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  return append(element, children);
}

// Letters that change the direction of what follows, or that nobody sees: they are shown by their number.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

// A text from outside as nodes; `marks`: [{ text, title }], each marked where it first stands.
export function shown(text, marks = []) {
  const spots = [];
  for (const mark of marks) {
    const at = mark.text ? text.indexOf(mark.text) : -1;
    if (at >= 0) spots.push({ at, end: at + mark.text.length, title: mark.title });
  }
  spots.sort((a, b) => a.at - b.at);
  const parts = [];
  let at = 0;
  for (const spot of spots) {
    if (spot.at < at) continue;
    parts.push(...visible(text.slice(at, spot.at)));
    parts.push(h("mark", { title: spot.title }, visible(text.slice(spot.at, spot.end))));
    at = spot.end;
  }
  return [...parts, ...visible(text.slice(at))];
}

function byNumber(letter) {
  return `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

// The same as one string, for where no element can stand: the labels of charts.
export function plain(text) {
  return text.replace(HIDDEN, byNumber);
}

function visible(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(HIDDEN)) {
    parts.push(text.slice(at, found.index));
    parts.push(h("span.hidden-letter", { title: "a letter that is not seen" }, byNumber(found[0])));
    at = found.index + 1;
  }
  parts.push(text.slice(at));
  return parts;
}

const LONG = 25000; // more than a page holds of one text

// A block of text from outside; of a long one the beginning, the rest on demand.
export function block(text, marks) {
  const element = h("pre", { dir: "auto" });
  if (text.length <= LONG) return append(element, shown(text, marks));
  append(element, shown(text.slice(0, LONG), marks));
  const more = h("button.quiet", { type: "button" }, `Show all ${count(text.length)} characters`);
  more.addEventListener("click", () => {
    replace(element, shown(text, marks));
  });
  return h("div", {}, element, more);
}

export function count(value) {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

export function plural(number, word, words) {
  return `${count(number)} ${number === 1 ? word : words || `${word}s`}`;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)}\u202f%`;
}

export function dollars(value) {
  if (!value) return "$0";
  return value >= 0.01 ? `$${value.toFixed(2)}` : `$${Number(value.toPrecision(2))}`;
}

export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1).replace("-", "\u2212");
  return String(Number(value.toPrecision(3)));
}

export function styleName(name) {
  return String(name).replaceAll("_", " ");
}
