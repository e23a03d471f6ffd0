// The questions: filters, the four-way tables, and the list itself.
import { append, count, dollars, h, percent, replace, shown, styleName } from "./dom.js";
import { CHANGES, FILTERS, verdictName } from "./source.js";

const COLUMNS = [
  ["place", "Question", ""],
  ["family", "Family", "wide"],
  ["split", "Split", "wide"],
  ["kept", "Kept", "number"],
  ["reads", "Read", "number wide"],
  ["cost", "Cost", "number wide"],
];

// meta: the run's overview; act: { set(changes), open(id), more() }
export function makeList(root, meta, act) {
  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: "Search questions, answers, ids",
    title: 'All words must be there; "quotes" keep words together',
    "aria-label": "Search questions, answers and ids",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => act.set({ search: search.value.trim() }, { typing: true }),
  });
  const words = h("input", {
    type: "search",
    id: "words",
    placeholder: "Words in a path",
    title: 'In the text or the thought of one path that fits the other filters too; "quotes" keep words together',
    "aria-label": "Search the texts of paths",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => act.set({ words: words.value.trim() }, { typing: true }),
  });
  const selects = Object.fromEntries(
    [
      ["split", "All splits"],
      ["family", "All families"],
      ["style", "Any style"],
      ["teacher", "Any writer"],
      ["verdict", "Any verdict"],
      ["reader", "Read by anyone"],
    ].map(([key, all]) => [
      key,
      h("select", { id: `filter-${key}`, "aria-label": all, onchange: (event) => act.set({ [key]: event.target.value }) }, [
        h("option", { value: "" }, all),
      ]),
    ])
  );
  const clear = h("button.quiet", { type: "button", onclick: () => act.clear() }, "Clear filters");
  const number = h("p.found", { id: "found", role: "status" });
  const note = h("p.note.sample", {});
  const four = h("div.four", { id: "four" });
  const body = h("tbody", {});
  const head = h("thead", {});
  const more = h("button.quiet.more", { type: "button", onclick: () => act.more() }, "Show more");
  const scroller = h("div.rows", { tabindex: "-1" }, h("table", { id: "questions-table" }, head, body), more);
  append(root, [
    h("div.tools", { role: "search" }, search, h("div.selects", {}, words, Object.values(selects), clear)),
    four,
    h("div.foundline", {}, number, note),
    scroller,
  ]);
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !more.hidden && act.more()).observe(more);

  function fill(overview) {
    meta = overview;
    const facets = meta.facets;
    for (const key of ["split", "family", "style", "teacher"])
      options(selects[key], facets[key].map(([value, n]) => [value, `${styleName(value)} (${count(n)})`]));
    options(selects.reader, facets.reader.map(([value, n]) => [value, `Read by ${value} (${count(n)})`]));
    const verdicts = facets.verdict.filter(([outcome]) => outcome);
    const total = {};
    for (const [outcome, check, n] of verdicts) if (check) total[outcome] = (total[outcome] || 0) + n;
    options(selects.verdict, [
      ...Object.entries(total).map(([outcome, n]) => [outcome, `${verdictName(outcome)} (${count(n)})`]),
      ...verdicts.map(([outcome, check, n]) => [
        check ? `${outcome}:${check}` : outcome,
        `${verdictName(outcome, check)} (${count(n)})`,
      ]),
    ]);
    for (const [key, select] of Object.entries(selects)) select.hidden = select.options.length < (key === "teacher" ? 3 : 2);
    const sample = meta.sample;
    note.textContent =
      sample && sample.shown < sample.all
        ? `This page holds a sample: ${count(sample.shown)} of ${count(sample.all)} questions. ` +
          `Charts and counts are over all; \u201cqrdistill view\u201d shows every one.`
        : "";
  }

  function options(select, pairs) {
    const [all] = select.options;
    const value = select.value;
    replace(select, all, pairs.map(([one, label]) => h("option", { value: one }, label)));
    select.value = pairs.some(([one]) => one === value) ? value : "";
  }

  function show(state) {
    for (const [key, box] of Object.entries({ search, words })) if (document.activeElement !== box) box.value = state[key] || "";
    words.classList.toggle("set", Boolean(state.words));
    for (const [key, select] of Object.entries(selects)) {
      select.value = state[key] || "";
      select.classList.toggle("set", Boolean(state[key]));
    }
    clear.hidden = !FILTERS.some((key) => state[key]);
    replace(four, fourWay(meta, state, act));
    const costly = meta.costs;
    replace(
      head,
      h("tr", {}, [
        ...COLUMNS.filter(([key]) => key !== "cost" || costly).map(([key, label, kind]) => heading(key, label, kind, state)),
        meta.students.map((name, place) => (place ? h("th", { scope: "col" }, name) : heading("change", name, "", state))),
      ])
    );
  }

  function heading(key, label, kind, state) {
    const sort = state.sort || "place";
    const direction = sort === key ? "ascending" : sort === `-${key}` ? "descending" : null;
    const next = direction === "ascending" ? `-${key}` : direction === "descending" ? "" : key;
    const arrow = direction ? h("span", { "aria-hidden": "true" }, direction === "ascending" ? " \u2191" : " \u2193") : "";
    const button = h("button.heading", { type: "button", onclick: () => act.set({ sort: next }) }, label, arrow);
    return h("th", { scope: "col", "aria-sort": direction, class: kind || null }, button);
  }

  function rows(found, state, offset) {
    const costly = meta.costs;
    const made = found.rows.map((row) => rowOf(row, meta, costly));
    if (offset) append(body, made);
    else {
      replace(body, made);
      scroller.scrollTop = 0;
    }
    const loaded = offset + found.rows.length;
    more.hidden = loaded >= found.total;
    number.textContent = found.total
      ? `${count(found.total)} ${found.total === 1 ? "question" : "questions"}`
      : "No question fits these filters.";
    mark(state.q);
  }

  function mark(id) {
    for (const row of body.querySelectorAll("tr[aria-selected]")) row.removeAttribute("aria-selected");
    const row = [...body.children].find((one) => one.dataset.id === id);
    if (!row) return;
    row.setAttribute("aria-selected", "true");
    const box = scroller.getBoundingClientRect();
    const place = row.getBoundingClientRect();
    if (scroller.clientHeight < scroller.scrollHeight && (place.top < box.top + 40 || place.bottom > box.bottom))
      scroller.scrollTop += place.top - box.top - box.height / 3;
  }

  return { fill, show, rows, mark, search, empty: (text) => replace(body, h("tr", {}, h("td", { colspan: 9 }, text))) };
}

function rowOf(row, meta, costly) {
  const link = h("a", { href: `#q=${encodeURIComponent(row.id)}`, "data-open": row.id }, [
    h("span.id", {}, shown(row.id)),
    " ",
    h("span.words", { dir: "auto" }, shown(row.question)),
  ]);
  const share = row.paths ? row.kept / row.paths : 0;
  const kept = row.paths
    ? h("span.kept", { title: `${row.kept} of ${row.paths} paths kept` }, [
        `${row.kept}/${row.paths}`,
        h("span.gauge", { style: { "--share": share }, "aria-hidden": "true" }),
      ])
    : "";
  return h("tr", { "data-id": row.id }, [
    h("td", {}, link),
    h("td.wide", {}, shown(row.family)),
    h("td.wide", {}, row.split),
    h("td.number", {}, kept),
    h("td.number.wide", {}, row.paths ? row.reads : ""),
    costly ? h("td.number.wide", {}, row.cost ? dollars(row.cost) : "") : null,
    meta.students.map((_, place) =>
      h("td.change", {}, row.change ? changePill(row.change[place]) : "")
    ),
  ]);
}

export function changePill(code) {
  const kind = { g: "gained", l: "lost", r: "right", w: "wrong", R: "right", W: "wrong" }[code] || "none";
  const title = { g: "wrong before, right after", l: "right before, wrong after", r: "right before and after" };
  const said = { w: "wrong before and after", R: "right; untrained: not measured", W: "wrong; untrained: not measured" };
  return h(`span.pill.${kind}`, { title: title[code] || said[code] }, CHANGES[code] || "");
}

// One table a student: before against after; every cell is a filter.
function fourWay(meta, state, act) {
  const splits = meta.changes.map(([split]) => split);
  if (!splits.length) return [];
  const split = splits.includes(state.split) ? state.split : meta.scores?.split || splits[0];
  return meta.chosen.map(({ student, style, before }, place) => {
    const counts = {};
    for (const [one, name, code, n] of meta.changes) if (one === split && name === student) counts[code] = n;
    const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
    if (!total) return null;
    const cell = (codes, label, kind) => {
      const n = [...codes].reduce((sum, code) => sum + (counts[code] || 0), 0);
      const value = `${student}:${codes}`;
      const pressed = state.change === value;
      return h("td", {}, [
        h(
          `button.cell.${kind}`,
          {
            type: "button",
            "aria-pressed": String(pressed),
            "data-change": value,
            title: `${percent(n / total)} of ${count(total)} ${split} questions`,
            onclick: () => act.set({ change: pressed ? "" : value, split: pressed ? "" : split }),
          },
          h("strong", {}, count(n)),
          " ",
          label
        ),
      ]);
    };
    const measured = "glrw".split("").some((code) => counts[code]);
    const table = measured
      ? [
          h("tr", {}, [h("td", {}), h("th", { scope: "col" }, "right after"), h("th", { scope: "col" }, "wrong after")]),
          h("tr", {}, [h("th", { scope: "row" }, "right before"), cell("r", "stayed", "right"), cell("l", "lost", "lost")]),
          h("tr", {}, [h("th", { scope: "row" }, "wrong before"), cell("g", "gained", "gained"), cell("w", "stayed", "wrong")]),
        ]
      : [
          h("tr", {}, [h("td", {}), h("th", { scope: "col" }, "right after"), h("th", { scope: "col" }, "wrong after")]),
          h("tr", {}, [h("th", { scope: "row" }, "before: not measured"), cell("R", "", "right"), cell("W", "", "wrong")]),
        ];
    const styles = before === style || !measured ? styleName(style) : `${styleName(before)}, then ${styleName(style)}`;
    return h(`table.student.s${place % 6}`, {}, h("caption", {}, h("strong", {}, student), ` ${styles}, ${split}`), table);
  });
}
