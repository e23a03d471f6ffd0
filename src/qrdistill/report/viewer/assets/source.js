// Where questions come from: the page itself, or `qrdistill view`. Both answer alike:
//   list(wanted) -> { total, rows }, card({ q } or { p }) -> card or null, state() -> the run's stages, or null
import { styleName } from "./dom.js";

export const ROW = ["place", "id", "split", "family", "question", "gold", "paths", "kept", "reads", "tokens", "cost", "change"];
export const PORTION = 200;
export const FILTERS = ["search", "split", "family", "style", "teacher", "verdict", "reader", "words", "change"];

export function named(fields, values) {
  return Object.fromEntries(fields.map((field, place) => [field, values[place] ?? null]));
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// All words are in the text; "quotes" keep words together.
function holds(text, wanted) {
  const words = [...wanted.toLowerCase().matchAll(/"([^"]+)"|\S+/g)].map((found) => found[1] || found[0]);
  const lower = text.toLowerCase();
  return words.every((word) => lower.includes(word));
}

export async function inPage(data, packed) {
  const cards = await unpacked(packed);
  const rows = data.rows.map((row) => named(ROW, row));
  const path = named(data.fields.path, data.fields.path.map((_, place) => place));
  const reading = named(data.fields.reading, data.fields.reading.map((_, place) => place));
  const ofPath = new Map();
  for (const [id, card] of Object.entries(cards)) for (const one of card.paths) ofPath.set(one[path.id], id);

  function matches(row, wanted) {
    if (wanted.search && !holds(`${row.id} ${row.question} ${row.gold ?? ""}`, wanted.search)) return false;
    if (wanted.split && row.split !== wanted.split) return false;
    if (wanted.family && row.family !== wanted.family) return false;
    if (wanted.change) {
      const cut = wanted.change.lastIndexOf(":");
      const code = row.change[data.students.indexOf(wanted.change.slice(0, cut))];
      if (!code || !wanted.change.slice(cut + 1).includes(code)) return false;
    }
    if (!wanted.style && !wanted.teacher && !wanted.verdict && !wanted.reader && !wanted.words) return true;
    const [outcome, ...check] = (wanted.verdict || "").split(":");
    return cards[row.id].paths.some(
      (one) =>
        (!wanted.style || one[path.style] === wanted.style) &&
        (!wanted.teacher || one[path.teacher] === wanted.teacher) &&
        (!wanted.verdict || (one[path.outcome] === outcome && (!check.length || one[path.closedBy] === check.join(":")))) &&
        (!wanted.words || holds(`${one[path.text] ?? ""} ${one[path.thought] ?? ""}`, wanted.words)) &&
        (!wanted.reader || one[path.readings].some((each) => each[reading.student] === wanted.reader && each[reading.read]))
    );
  }

  return {
    live: false,
    async list(wanted) {
      const found = rows.filter((row) => matches(row, wanted));
      const sort = wanted.sort || "place";
      const column = sort.replace(/^-/, "");
      const sign = sort.startsWith("-") ? -1 : 1;
      const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      if (sort !== "place") found.sort((a, b) => sign * order(a[column], b[column]) || a.place - b.place);
      const offset = Number(wanted.offset || 0);
      return { total: found.length, rows: found.slice(offset, offset + PORTION) };
    },
    async card({ q, p }) {
      return cards[q || ofPath.get(p)] || null;
    },
  };
}

export function fromServer(base) {
  async function ask(what, wanted = {}) {
    const given = Object.entries(wanted).filter(([, value]) => value);
    const reply = await fetch(`${base}api/${what}?${new URLSearchParams(given)}`);
    if (reply.status === 404) return null;
    if (!reply.ok) throw new Error((await reply.text()) || `the server answered ${reply.status}`);
    return reply.json();
  }
  return {
    live: true,
    async list(wanted) {
      const found = await ask("list", wanted);
      return { total: found.total, ready: found.ready, rows: found.rows.map((row) => named(ROW, row)) };
    },
    card: (wanted) => ask("question", wanted),
    overview: () => ask("overview"),
    state: () => ask("state"),
  };
}

export const CHANGES = { g: "gained", l: "lost", r: "right", w: "wrong", R: "right", W: "wrong", "-": "not asked" };

export function verdictName(outcome, check) {
  if (outcome === "keep") return "kept";
  if (!outcome) return "not filtered yet";
  return `${outcome === "drop" ? "dropped" : "undecided"}${check ? ` by ${styleName(check)}` : ""}`;
}
