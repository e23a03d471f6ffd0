// One path: its text with the first wrong step marked, its verdicts, and who read it when.
import { block, count, dollars, figure, h, plural, shown, styleName, svg } from "./dom.js";
import { verdictName } from "./source.js";

const THOUGHT = /^\s*(?:<think(?:ing)?>)?([\s\S]*?)<\/think(?:ing)?>\s*/;

export function pathCard(path, all, meta) {
  const quotes = path.verdicts.filter((one) => one.quote);
  const marks = quotes.map((one) => ({ text: one.quote, title: `first wrong step, says ${one.judge || one.check}` }));
  let { text, thought } = path;
  const inside = thought ? null : text.match(THOUGHT);
  if (inside && text.includes("</think")) [thought, text] = [inside[1].trim(), text.slice(inside[0].length)];
  const lost = quotes.filter((one) => !text.includes(one.quote) && !(thought || "").includes(one.quote));
  const kind = path.outcome || "open";
  const facts = [
    path.answer === null ? "no answer could be read" : ["answer ", h("strong", { dir: "auto" }, shown(path.answer.slice(0, 80)))],
    plural(path.tokens, "token"),
    path.promptTokens ? `${count(path.promptTokens)} in the prompt` : null,
    path.cost ? dollars(path.cost) : null,
    { keep: "the thought trains too", only: "only the thought trains" }[path.thinking],
    path.finish === "stop" ? null : path.finish === "length" ? "cut by the token limit" : path.finish,
    path.planted && path.planted !== "sound" ? `planted: ${path.planted}` : null,
  ].filter(Boolean);
  const marked = marks.some((one) => (thought || "").includes(one.text));
  return h(`article.path.${kind}`, { "data-path": path.id, tabindex: "-1" }, [
    h("header", {}, [
      h(`span.verdict.${kind}`, {}, verdictName(path.outcome, path.closedBy)),
      h("strong", {}, styleName(path.style)),
      h("span.note", {}, path.teacher),
      h("a.quiet", { href: `#p=${encodeURIComponent(path.id)}`, title: path.id, "aria-label": `Link to ${path.id}` }, "#"),
    ]),
    lineage(path, all, meta),
    h("p.facts", {}, facts.map((one, place) => [place ? " \u00b7 " : "", one])),
    thought
      ? h("details.thought", { open: marked }, h("summary", {}, `Thought, ${plural(thought.length, "character")}`), block(thought, marks))
      : null,
    block(text, marks),
    lost.map((one) => h("p.quote", {}, "First wrong step, as quoted: ", h("q", { dir: "auto" }, shown(one.quote)))),
    verdicts(path),
    readings(path, meta),
  ]);
}

// An own or peer path: which student wrote it, after having read what of this question.
function lineage(path, all, meta) {
  if (!path.round || !meta.students.includes(path.teacher)) return null;
  const read = all.filter((one) =>
    one.readings.some((each) => each.student === path.teacher && each.read && each.round < path.round)
  );
  const links = read.map((one) => [" ", h("a", { href: `#p=${encodeURIComponent(one.id)}` }, one.round ? `${one.teacher}: ${styleName(one.style)}` : styleName(one.style))]);
  return h("p.lineage", {}, [
    `Written by ${path.teacher} as round ${path.round - 1} had left it; of this question it had read`,
    links.length ? [":", links.slice(0, 6), links.length > 6 ? ` and ${links.length - 6} more` : ""] : " nothing",
    ".",
  ]);
}

function verdicts(path) {
  const plain = path.verdicts.filter((one) => one.outcome === "keep" && !one.reason && !one.judge);
  const told = path.verdicts.filter((one) => !plain.includes(one));
  if (!path.verdicts.length) return null;
  return h("ul.verdicts", {}, [
    plain.length ? h("li.note", {}, `\u2713 passed ${plain.map((one) => styleName(one.check)).join(", ")}`) : null,
    told.map((one) => {
      const sign = { keep: "\u2713", drop: "\u2717", undecided: "?" }[one.outcome];
      const by = [one.judge, one.vote ? `vote ${one.vote + 1}` : null].filter(Boolean).join(", ");
      const sure = one.confidence === null || one.confidence === undefined ? "" : `, ${Math.round(100 * one.confidence)}\u202f% sure`;
      return h(`li.${one.outcome}`, {}, [
        h("strong", {}, `${sign} ${styleName(one.check)}`),
        by || sure ? h("span.note", {}, ` (${by}${sure})`) : "",
        one.reason ? [": ", h("span", { dir: "auto" }, shown(one.reason))] : "",
      ]);
    }),
  ]);
}

function readings(path, meta) {
  if (path.outcome !== "keep") return null;
  if (!path.readings.length) return h("p.readers", {}, "Kept, but no step has drawn it.");
  const many = path.readings[0].readings;
  const lines = meta.students.map((student, place) => {
    const own = path.readings.filter((one) => one.student === student && one.read);
    if (!own.length) return null;
    const first = own.find((one) => one.loss !== null);
    const ends = own.map((one) => one.next ?? one.loss).filter((one) => one !== null);
    const last = ends.at(-1);
    const steps = own.slice(0, 4).map((one) => moment(one, meta)).join(", ");
    const loss = !first
      ? ""
      : own.length === 1 && own[0].next === null
        ? `, loss ${figure(first.loss)} then; not measured again`
        : `, loss ${figure(first.loss)} \u2192 ${figure(last)}`;
    return h(`li.s${place % 6}`, {}, [
      h("strong", {}, student),
      ` read it ${own.length > 1 ? `${own.length} times, at` : "at"} step ${steps}${own.length > 4 ? ", \u2026" : ""}${loss}`,
    ]);
  });
  const rows = path.readings.map((one) =>
    h("tr", {}, [
      h("td.number", {}, moment(one, meta)),
      h("td", {}, one.student),
      h("td.number", {}, figure(one.probability)),
      h("td", {}, one.read ? "read" : ""),
      h("td.number", {}, figure(one.loss)),
      h("td.number", {}, one.read ? figure(one.next) : ""),
    ])
  );
  const heads = ["Step", "Student", "Probability", "", "Loss then", "Loss next"];
  return h("div.readers", {}, [
    h("ul", {}, lines.some(Boolean) ? lines : h("li", {}, "Drawn, but no student read it.")),
    spark(path, meta),
    h("details", {}, [
      h("summary", {}, `Routing, step by step${many > 60 ? ` (60 of ${count(many)} draws)` : ""}`),
      h("p.note", {}, "Probability: the router\u2019s, before it drew. Loss: nats per character of the path, measured at that step and at the next one that measured it."),
      h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))), h("tbody", {}, rows))),
    ]),
  ]);
}

function moment(reading, meta) {
  return meta.rounds ? `${reading.step} of round ${reading.round}` : String(reading.step);
}

// The router's probabilities over the steps, a line per student; filled dots: it read the path then.
function spark(path, meta) {
  const steps = meta.steps || [];
  const before = (round) => steps.slice(0, round).reduce((sum, n) => sum + n, 0);
  const end = Math.max(1, before(steps.length) - 1);
  const width = 240;
  const height = 44;
  const x = (one) => 6 + ((width - 12) * (before(one.round) + one.step)) / end;
  const y = (one) => 5 + (height - 10) * (1 - one.probability);
  const lines = meta.students.map((student, place) => {
    const own = path.readings.filter((one) => one.student === student);
    const line = own.map((one) => `${x(one).toFixed(1)},${y(one).toFixed(1)}`).join(" ");
    return svg("g", { class: `s${place % 6}` }, [
      svg("polyline", { points: line }),
      own.map((one) =>
        svg("circle", { cx: x(one).toFixed(1), cy: y(one).toFixed(1), r: 3, class: one.read ? "read" : "" }, [
          svg("title", {}, `step ${moment(one, meta)}: ${student} ${figure(one.probability)}${one.read ? ", read" : ""}`),
        ])
      ),
    ]);
  });
  return h("figure.spark", {}, [
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "The router\u2019s probabilities over the steps" }, [
      svg("line", { x1: 0, x2: width, y1: height - 5, y2: height - 5, class: "axis" }),
      svg("line", { x1: 0, x2: width, y1: 5, y2: 5, class: "axis" }),
      lines,
    ]),
    h("figcaption", {}, "probability, 0 to 1, over training"),
  ]);
}
