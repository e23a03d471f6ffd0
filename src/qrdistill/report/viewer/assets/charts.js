// The charts of a run: where its paths went, and what came of them.
import { axis, chartBox, forgetCharts, intervals, tip } from "./chart_box.js";
import { count, figure, percent, plural, replace, styleName } from "./dom.js";
import { verdictName } from "./source.js";

let shownCharts = false;

// aim(filters): opens the list of questions with them
export function drawCharts(meta, aim, again) {
  if (shownCharts && !again) return;
  shownCharts = true;
  const places = { accuracy: [accuracy, tokens, changes, families], flow: [flow], routing: [routing], curves: [curves] };
  for (const [name, makers] of Object.entries(places)) {
    const place = document.getElementById(`charts-${name}`);
    if (!place) continue;
    forgetCharts(place);
    replace(place, makers.map((make) => make(meta, aim)).flat().filter(Boolean).map(chartBox));
  }
}

const colourOf = (meta, student) => (colours) => colours.series[Math.max(0, meta.students.indexOf(student)) % 6];
const between = (row) => `95\u202f% interval ${percent(row.low)} to ${percent(row.high)}`;

function accuracy(meta) {
  if (!meta.scores) return null;
  const found = meta.scores.rows.filter((row) => row.family === "all");
  if (!found.length) return null;
  const drawn = found.filter((row) => row.best || row.style === "free");
  drawn.sort(
    (a, b) => meta.students.indexOf(a.student) - meta.students.indexOf(b.student) || (a.style === "free") - (b.style === "free") || b.trained - a.trained
  );
  const rows = drawn.map((row) => ({
    ...row,
    value: row.accuracy,
    label: row.trained ? `${row.student}, ${styleName(row.style)}` : "untrained",
    hollow: !row.trained,
    colour: colourOf(meta, row.student),
    tip: () => tip(`${row.student}${row.trained ? "" : ", untrained"}: ${percent(row.accuracy)}`, styleName(row.style), between(row), plural(row.n, "question")),
  }));
  return {
    title: "Accuracy",
    note: `On the ${meta.scores.split} questions, in each student\u2019s best style (chosen on dev) and free; hollow: untrained.`,
    height: 44 + 30 * rows.length,
    option: (colours, width) => intervals(rows, colours, width),
    table: accuracyTable(found),
  };
}

function accuracyTable(found) {
  return {
    heads: ["Student", "", "Style", "Accuracy", "95 % interval", "Questions", "Tokens an answer"],
    rows: found.map((row) => [
      row.student,
      row.trained ? "trained" : "untrained",
      styleName(row.style),
      percent(row.accuracy),
      `${percent(row.low)} to ${percent(row.high)}`,
      count(row.n),
      figure(row.tokens),
    ]),
  };
}

function tokens(meta) {
  if (!meta.scores) return null;
  const found = meta.scores.rows.filter((row) => row.family === "all" && row.tokens !== null && row.tokens !== undefined);
  if (found.length < 2) return null;
  const votes = meta.scores.votes.map((one) => ({ ...one, vote: true }));
  const said = (row) =>
    row.vote
      ? tip(`${row.name}: ${percent(row.accuracy)}`, `${figure(row.tokens)} tokens, ${figure(row.decodes)} decodes a question`, between(row))
      : tip(`${row.student}${row.trained ? "" : ", untrained"}: ${percent(row.accuracy)}`, `${styleName(row.style)}, ${figure(row.tokens)} tokens an answer`, between(row));
  return {
    title: "Accuracy against tokens",
    note: "Every student and style: what an answer costs, and how often it is right. Hollow: untrained; diamonds: votes.",
    height: 330,
    option: (colours, width) => {
      const group = (name, rows, colour, hollow, symbol) => ({
        name,
        type: "scatter",
        symbol,
        symbolSize: 11,
        data: rows.map((row) => ({ value: [row.tokens, 100 * row.accuracy], row })),
        itemStyle: { color: hollow ? colours.paper : colour, borderColor: colour, borderWidth: 2, opacity: 0.95 },
      });
      const series = meta.students.flatMap((student) => {
        const colour = colourOf(meta, student)(colours);
        const own = found.filter((row) => row.student === student);
        return [
          group(student, own.filter((row) => row.trained), colour, false, "circle"),
          group(`${student}, untrained`, own.filter((row) => !row.trained), colour, true, "circle"),
        ];
      });
      if (votes.length) series.push(group("votes", votes, colours.muted, true, "diamond"));
      const used = series.filter((one) => one.data.length);
      return {
        grid: { left: 52, right: 20, top: 20 + 24 * Math.ceil((150 * used.length) / width), bottom: 48 },
        legend: { top: 0, left: 0, textStyle: { color: colours.ink }, data: used.map((one) => one.name), itemWidth: 14 },
        xAxis: axis(colours, { type: "value", scale: true, name: "tokens for a question", nameLocation: "middle", nameGap: 30 }),
        yAxis: axis(colours, { type: "value", scale: true, axisLabel: { color: colours.muted, formatter: "{value}\u202f%" } }),
        tooltip: { confine: true, backgroundColor: colours.panel, borderColor: colours.line, textStyle: { color: colours.ink, fontSize: 13 }, formatter: (event) => said(event.data.row) },
        series: used,
      };
    },
    table: {
      heads: ["Who", "Style", "Tokens", "Accuracy", "95 % interval"],
      rows: [
        ...found.map((row) => [`${row.student}${row.trained ? "" : ", untrained"}`, styleName(row.style), figure(row.tokens), percent(row.accuracy), `${percent(row.low)} to ${percent(row.high)}`]),
        ...votes.map((row) => [row.name, "vote", figure(row.tokens), percent(row.accuracy), `${percent(row.low)} to ${percent(row.high)}`]),
      ],
    },
  };
}

const KINDS = [
  ["r", "right before and after", "good", 0.55],
  ["g", "gained: wrong, then right", "good", 1],
  ["R", "right (untrained not measured)", "good", 0.8],
  ["l", "lost: right, then wrong", "bad", 1],
  ["w", "wrong before and after", "muted", 0.45],
  ["W", "wrong (untrained not measured)", "muted", 0.6],
];

function changes(meta, aim) {
  const split = meta.scores?.split;
  const found = meta.changes.filter(([one]) => one === split);
  if (!found.length) return null;
  const counts = (student) => Object.fromEntries(found.filter((row) => row[1] === student).map(([, , code, n]) => [code, n]));
  const students = meta.students.filter((student) => found.some((row) => row[1] === student));
  const sum = (student) => Object.values(counts(student)).reduce((total, n) => total + n, 0);
  const used = KINDS.filter(([code]) => students.some((student) => counts(student)[code]));
  return {
    title: "What training changed",
    note: `The ${split} questions by what each student answered before and after; a click lists them.`,
    height: 80 + 40 * students.length,
    click: (event) => aim({ change: `${event.name}:${used[event.seriesIndex][0]}`, split }),
    option: (colours, width) => ({
      grid: { left: Math.min(110, 12 + 7 * Math.max(...students.map((name) => name.length))), right: 16, top: width < 520 ? 64 : 40, bottom: 8 },
      legend: { top: 0, left: 0, textStyle: { color: colours.ink }, itemWidth: 14, itemHeight: 10 },
      xAxis: axis(colours, { type: "value", max: Math.max(...students.map(sum)), show: false }),
      yAxis: axis(colours, { type: "category", data: students, inverse: true, axisLabel: { color: colours.ink }, axisLine: { show: false } }),
      series: used.map(([code, name, colour, opacity]) => ({
        name,
        type: "bar",
        stack: "all",
        barWidth: 24,
        itemStyle: { color: colours[colour], opacity, borderColor: colours.paper, borderWidth: 1 },
        label: {
          show: true,
          opacity: 1,
          color: opacity === 1 ? colours.paper : colours.ink,
          formatter: (event) => (event.value > 0.04 * sum(event.name) ? String(event.value) : ""),
        },
        data: students.map((student) => counts(student)[code] || 0),
      })),
      tooltip: {
        confine: true,
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 },
        formatter: (event) => tip(event.name, `${event.seriesName}: ${plural(event.value, "question")}`, percent(event.value / sum(event.name))),
      },
    }),
    table: {
      heads: ["Student", ...used.map(([, name]) => name)],
      rows: students.map((student) => [student, ...used.map(([code]) => count(counts(student)[code] || 0))]),
    },
  };
}

const MOST_FAMILIES = 16;

function families(meta) {
  if (!meta.scores) return null;
  const found = meta.scores.rows.filter((row) => row.family !== "all" && row.best);
  const mean = (rows) => rows.reduce((sum, row) => sum + row.accuracy, 0) / rows.length;
  let names = [...new Set(found.map((row) => row.family))];
  if (names.length < 2) return null;
  const after = Object.fromEntries(names.map((name) => [name, mean(found.filter((row) => row.family === name && row.trained))]));
  names.sort((a, b) => after[a] - after[b]);
  const every = names.length;
  if (every > MOST_FAMILIES) names = [...names.slice(0, MOST_FAMILIES / 2), ...names.slice(-MOST_FAMILIES / 2)];
  const rows = names.flatMap((family) =>
    found
      .filter((row) => row.family === family)
      .sort((a, b) => meta.students.indexOf(a.student) - meta.students.indexOf(b.student) || a.trained - b.trained)
      .map((row, place) => ({
        ...row,
        value: row.accuracy,
        label: place ? `\u00a0${"\u200a".repeat(names.indexOf(family) * 8 + place)}` : family,
        hollow: !row.trained,
        colour: colourOf(meta, row.student),
        tip: () => tip(`${family}: ${percent(row.accuracy)}`, `${row.student}${row.trained ? "" : ", untrained"}, ${styleName(row.style)}`, between(row), plural(row.n, "question")),
      }))
  );
  return {
    title: "Worst and best families",
    note: `${meta.students.join(" and ")}, each in its best style, the worst family first${every > names.length ? ` (${names.length} of ${every})` : ""}; hollow: untrained.`,
    height: 44 + (rows.length > 24 ? 14 : 20) * rows.length,
    option: (colours, width) => intervals(rows, colours, width),
    table: {
      heads: ["Family", "Student", "", "Accuracy", "95 % interval", "Questions"],
      rows: rows.map((row) => [row.family, row.student, row.trained ? "trained" : "untrained", percent(row.accuracy), `${percent(row.low)} to ${percent(row.high)}`, count(row.n)]),
    },
  };
}

// From who wrote a path through its style and verdict to who read it.
function flow(meta, aim) {
  if (!meta.flow.length) return null;
  const filtered = meta.flow.some((row) => row[3]);
  const links = new Map();
  const nodes = new Map();
  const add = (from, to, n) => {
    const key = `${from.id}\u0000${to.id}`;
    for (const node of [from, to]) nodes.set(node.id, node);
    links.set(key, { source: from.id, target: to.id, value: (links.get(key)?.value || 0) + n });
  };
  for (const [teacher, style, later, outcome, check, reader, n] of meta.flow) {
    const own = meta.students.includes(teacher);
    const first = { id: `1${teacher}${later}`, label: own ? `${teacher}\u2019s own` : later ? `${teacher}, asked again` : teacher, depth: 0, filter: { teacher } };
    const second = { id: `2${style}`, label: styleName(style), depth: 1, filter: { style } };
    add(first, second, n);
    if (!filtered) continue;
    const third = { id: `3${outcome}${check}`, label: verdictName(outcome, check), depth: 2, outcome, filter: { verdict: check ? `${outcome}:${check}` : outcome } };
    add(second, third, n);
    if (outcome !== "keep") continue;
    const single = meta.students.includes(reader);
    const fourth = { id: `4${reader}`, label: reader ? (single ? `read by ${reader}` : reader) : "never drawn", depth: 3, student: single ? reader : "", filter: single ? { reader } : { verdict: "keep" } };
    add(third, fourth, n);
  }
  const most = Math.max(...[0, 1, 2, 3].map((depth) => [...nodes.values()].filter((node) => node.depth === depth).length));
  const named = (id) => nodes.get(id);
  const colour = (node, colours) => {
    if (node.student) return colourOf(meta, node.student)(colours);
    if (node.depth === 2) return { keep: colours.good, drop: colours.bad, undecided: colours.unsure }[node.outcome] || colours.muted;
    return node.depth === 0 && meta.students.includes(node.filter.teacher) ? colourOf(meta, node.filter.teacher)(colours) : colours.muted;
  };
  return {
    title: "Where the paths went",
    note: "Who wrote them, in which style, what the filter said, and who read them. A click lists the questions.",
    height: Math.max(340, 46 * most),
    click: (event) => aim(event.dataType === "edge" ? { ...named(event.data.source).filter, ...named(event.data.target).filter } : named(event.name).filter),
    option: (colours, width) => ({
      tooltip: {
        confine: true,
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 },
        formatter: (event) =>
          event.dataType === "edge"
            ? tip(`${named(event.data.source).label} \u2192 ${named(event.data.target).label}`, plural(event.value, "path"))
            : tip(named(event.name).label, plural(event.value, "path")),
      },
      series: [
        {
          type: "sankey",
          left: 4,
          right: width < 560 ? 84 : 120,
          top: 8,
          bottom: 8,
          nodeWidth: 12,
          nodeGap: 10,
          layoutIterations: 32,
          draggable: false,
          emphasis: { focus: "adjacency" },
          data: [...nodes.values()].map((node) => ({ name: node.id, depth: node.depth, itemStyle: { color: colour(node, colours), borderWidth: 0 } })),
          links: [...links.values()].map((link) => ({
            ...link,
            lineStyle: { color: colour(named(link.target).depth > 1 ? named(link.target) : named(link.source), colours), opacity: 0.28, curveness: 0.5 },
          })),
          label: { color: colours.ink, fontSize: width < 560 ? 11 : 13, formatter: (event) => named(event.name).label, width: width < 560 ? 78 : 150, overflow: "truncate" },
        },
      ],
    }),
    table: {
      heads: ["Written by", "Style", "Verdict", "Read by", "Paths"],
      rows: meta.flow.map(([teacher, style, later, outcome, check, reader, n]) => [
        later ? `${teacher} (later round)` : teacher,
        styleName(style),
        verdictName(outcome, check),
        outcome === "keep" ? reader || "never drawn" : "",
        count(n),
      ]),
    },
  };
}

// A panel per student: the share of each style's drawn paths that it was given, over the steps.
function routing(meta) {
  if (!meta.routing.length) return null;
  const styles = [...new Set(meta.routing.map((row) => row[1]))];
  const bins = [...new Set(meta.routing.map((row) => row[2]))].sort((a, b) => a - b);
  const firsts = bins.map((bin) => meta.routing.find((row) => row[2] === bin)[3]);
  const present = meta.students.filter((student) => meta.routing.some((row) => row[0] === student));
  return present.map((student) => {
    const own = meta.routing.filter((row) => row[0] === student);
    return {
      title: `What ${student} was given`,
      note: `Of each style\u2019s drawn paths, the share that trained ${student}, over the steps: the fuller the colour, the larger.`,
      height: 60 + 34 * styles.length,
      option: (colours, width) => {
        const room = Math.min(130, Math.max(...styles.map((one) => one.length)) * 6.8 + 10, width * 0.36);
        const colour = colourOf(meta, student)(colours);
        return {
          grid: { left: room + 6, right: 10, top: 6, bottom: 40 },
          xAxis: axis(colours, { type: "category", data: firsts, name: "step", nameLocation: "middle", nameGap: 26, splitLine: { show: false } }),
          yAxis: axis(colours, { type: "category", data: styles.map(styleName), inverse: true, splitLine: { show: false }, axisLine: { show: false }, axisLabel: { color: colours.ink, width: room, overflow: "truncate", interval: 0 } }),
          tooltip: {
            confine: true,
            backgroundColor: colours.panel,
            borderColor: colours.line,
            textStyle: { color: colours.ink, fontSize: 13 },
            formatter: (event) => {
              const [, style, , first, chosen, seen] = own[event.dataIndex];
              return tip(`${styleName(style)}: ${percent(chosen / seen)}`, `${count(chosen)} of ${plural(seen, "drawn path")}`, `from step ${first}`);
            },
          },
          series: [
            {
              type: "custom",
              data: own.map((row) => [bins.indexOf(row[2]), styles.indexOf(row[1]), row[4] / row[5]]),
              encode: { x: 0, y: 1 },
              renderItem: (_, api) => {
                const [x, y] = api.coord([api.value(0), api.value(1)]);
                const [wide, high] = api.size([1, 1]);
                const share = api.value(2);
                return {
                  type: "rect",
                  shape: { x: x - wide / 2 + 1, y: y - high / 2 + 1, width: Math.max(1, wide - 2), height: high - 2, r: 3 },
                  style: { fill: colour, opacity: 0.05 + 0.95 * share },
                };
              },
            },
          ],
        };
      },
      table: {
        heads: ["Style", "From step", "Share", `Paths that trained ${student}`, "Paths drawn"],
        rows: own.map(([, style, , first, chosen, seen]) => [styleName(style), first, percent(chosen / seen), count(chosen), count(seen)]),
      },
    };
  });
}

function curves(meta) {
  return meta.curves.map(({ title, axis: label, lines }) => ({
    title,
    height: 260,
    option: (colours) => ({
      grid: { left: 56, right: 16, top: lines.length > 1 ? 36 : 14, bottom: 44 },
      legend: lines.length > 1 ? { top: 0, left: 0, textStyle: { color: colours.ink }, itemWidth: 16 } : { show: false },
      xAxis: axis(colours, { type: "value", name: "step", nameLocation: "middle", nameGap: 26, max: "dataMax", splitLine: { show: false } }),
      yAxis: axis(colours, { type: "value", scale: true, name: label, nameLocation: "middle", nameGap: 42 }),
      tooltip: {
        trigger: "axis",
        confine: true,
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 },
        formatter: (events) => tip(`step ${events[0].value[0]}`, ...events.map((one) => `${one.seriesName}: ${figure(one.value[1])}`)),
      },
      series: lines.map((line) => ({
        name: line.name,
        type: "line",
        showSymbol: false,
        lineStyle: { width: 1.8 },
        color: meta.students.includes(line.name) ? colourOf(meta, line.name)(colours) : colours.accent,
        data: line.points,
      })),
    }),
    table: { heads: ["Step", ...lines.map((line) => line.name)], rows: curveRows(lines) },
  }));
}

function curveRows(lines) {
  const rows = new Map();
  lines.forEach((line, place) => {
    for (const [step, value] of line.points) {
      if (!rows.has(step)) rows.set(step, [step, ...lines.map(() => "–")]);
      rows.get(step)[place + 1] = figure(value);
    }
  });
  return [...rows.values()].sort((a, b) => a[0] - b[0]);
}
