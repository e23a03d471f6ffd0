// A question's card: what was asked, its paths side by side, and what every student answered.
import { block, count, h, plural, shown, styleName } from "./dom.js";
import { pathCard } from "./path.js";
import { CHANGES, named, verdictName } from "./source.js";

export function decoded(card, fields) {
  const paths = card.paths.map((values) => {
    const path = named(fields.path, values);
    path.verdicts = path.verdicts.map((one) =>
      typeof one === "string" ? { check: one, outcome: "keep", reason: "" } : named(fields.verdict, one)
    );
    path.readings = path.readings.map((one) => named(fields.reading, one));
    return path;
  });
  return { question: card.question, paths, answers: card.answers.map((one) => named(fields.answer, one)) };
}

// act: { open(id), step(by), close() }; row: the question's row in the list, where it is known
export function questionCard(card, meta, row, act) {
  const { question, paths, answers } = card;
  const rounds = [...new Set(paths.map((path) => path.round))].sort((a, b) => a - b);
  const link = h("a.quiet", { href: `#q=${encodeURIComponent(question.id)}`, title: "The address of this question" }, "Link");
  return h("article.question", { "data-question": question.id, "aria-label": `Question ${question.id}` }, [
    h("header", {}, [
      h("div.move", {}, [
        h("button", { type: "button", onclick: () => act.step(-1), title: "Previous (k)", "aria-label": "Previous" }, "\u2191"),
        h("button", { type: "button", onclick: () => act.step(1), title: "Next (j)", "aria-label": "Next" }, "\u2193"),
        h("p.where", {}, [h("strong", {}, shown(question.id)), ` ${question.split} \u00b7 `, shown(question.family)]),
        link,
        h("button", { type: "button", onclick: () => act.close(), title: "Close (Esc)", "aria-label": "Close" }, "\u00d7"),
      ]),
      h("div.asked", {}, block(question.question)),
      h("p.gold", {}, ["Right answer: ", h("strong", { dir: "auto" }, question.gold === null ? "none is known" : shown(question.gold))]),
      h("ul.story", {}, story(card, meta, row).map((sentence) => h("li", {}, sentence))),
    ]),
    rounds.map((round) => {
      const these = paths.filter((path) => path.round === round);
      const own = these.some((path) => meta.students.includes(path.teacher));
      const title = round === 0 ? "Paths" : `Round ${round}: ${own ? "own and peer paths" : "asked again"}`;
      return h("section.paths", {}, [
        h("h3", {}, title),
        h("div.side", {}, these.map((path) => pathCard(path, paths, meta))),
      ]);
    }),
    answers.length ? h("section.answers", {}, [h("h3", {}, "Answers before and after training"), students(answers, meta)]) : null,
  ]);
}

// The card in sentences: where the paths went, who read them, what it changed.
function story({ question, paths, answers }, meta, row) {
  const found = [];
  if (paths.length) {
    const groups = new Map();
    for (const path of paths) {
      const name = verdictName(path.outcome, path.closedBy);
      groups.set(name, (groups.get(name) || 0) + 1);
    }
    const fates = [...groups].sort((a, b) => (b[0] === "kept") - (a[0] === "kept") || b[1] - a[1]).map(([name, n]) => `${count(n)} ${name}`).join(", ");
    found.push(`${plural(paths.length, "path")}: ${fates}.`);
    const readers = meta.students.map((student) => {
      const read = paths.filter((path) => path.readings.some((one) => one.student === student && one.read));
      return read.length ? `${student} read ${count(read.length)}` : `${student} read none`;
    });
    found.push(`${readers.join(", ")}.`);
  } else if (question.split !== "train") {
    found.push(`A ${question.split} question: it has no paths, the students are only asked it.`);
  } else {
    found.push("No path was written for it.");
  }
  if (answers.length && row && row.change) {
    const changes = meta.students.map((student, place) => {
      const code = row.change[place];
      const words = { g: "wrong before, right after", l: "right before, wrong after", r: "right before and after" };
      const rest = { w: "wrong before and after", R: "right (untrained: not measured)", W: "wrong (untrained: not measured)" };
      return `${student} ${words[code] || rest[code] || CHANGES["-"]}`;
    });
    found.push(`${changes.join("; ")}.`);
  }
  return found;
}

function students(answers, meta) {
  return meta.students.map((student, place) => {
    const own = answers.filter((one) => one.student === student);
    if (!own.length) return null;
    const measured = own.some((one) => !one.trained);
    const best = meta.chosen.find((one) => one.student === student);
    const styles = [...new Set(own.map((one) => one.style))];
    styles.sort((a, b) => (b === best.style) - (a === best.style) || (b === best.before) - (a === best.before));
    return h(`div.answer-table.s${place % 6}`, {}, [
      h("h4", {}, student, measured ? "" : h("span.note", {}, " untrained: not measured")),
      styles.map((style) => {
        const these = own.filter((one) => one.style === style);
        const before = these.filter((one) => !one.trained);
        const after = these.filter((one) => one.trained);
        const chosen = style === best.style ? "its best style" : style === best.before && measured ? "its best style untrained" : "";
        return h("details", { open: style === best.style }, [
          h("summary", {}, [
            h("span.style", {}, styleName(style)),
            measured ? [said(before[0]), h("span.arrow", {}, " \u2192 ")] : null,
            said(after[0]),
            chosen ? h("span.note", {}, ` ${chosen}`) : null,
          ]),
          h("div.pair", {}, [measured ? column("Before", before) : null, column("After", after)]),
        ]);
      }),
    ]);
  });
}

function said(answer) {
  if (!answer) return h("span.note", {}, "not asked");
  const kind = answer.correct ? "right" : answer.correct === null ? "unsure" : "wrong";
  const sign = { right: "\u2713", wrong: "\u2717", unsure: "?" }[kind];
  const text = answer.answer === null ? "no answer read" : answer.answer.slice(0, 40);
  return h(`span.said.${kind}`, { dir: "auto" }, `${sign} `, shown(text));
}

function column(title, answers) {
  return h("div", {}, [
    h("h5", {}, title),
    answers.length
      ? answers.map((one) => [
          block(one.text),
          h("p.note", {}, [said(one), one.reason ? [" ", shown(one.reason)] : "", ` \u00b7 ${plural(one.tokens, "token")}`, one.sample ? `, sample ${one.sample}` : ""]),
        ])
      : h("p.note", {}, "not asked"),
  ]);
}
