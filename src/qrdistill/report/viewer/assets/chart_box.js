// A chart that is also a table: drawn when it comes into sight, drawn anew when colours or width change.
/* global echarts */
import { append, h, replace } from "./dom.js";

const drawn = new Set();

export function palette() {
  const style = getComputedStyle(document.body);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: colour("ink"),
    muted: colour("muted"),
    line: colour("line"),
    paper: colour("paper"),
    panel: colour("panel"),
    good: colour("good"),
    bad: colour("bad"),
    unsure: colour("unsure"),
    accent: colour("accent"),
    series: [0, 1, 2, 3, 4, 5].map((number) => colour(`series-${number}`)),
    font: style.fontFamily,
  };
}

// box: { title, note, height, option(colours, width), table: { heads, rows }, click(event) }
export function chartBox(box) {
  const canvas = h("div.canvas", { style: { height: `${box.height}px` } });
  const table = h("div.scroll", { hidden: true, tabindex: "0", role: "region", "aria-label": `${box.title}, as a table` });
  const swap = h("button.quiet", { type: "button", "aria-pressed": "false" }, "Table");
  const element = h("figure.chart", {}, [
    h("div.chart-head", {}, h("h3", {}, box.title), swap),
    box.note ? h("p.note", {}, box.note) : null,
    canvas,
    table,
  ]);
  swap.addEventListener("click", () => {
    const open = table.hidden;
    if (open && !table.firstChild) append(table, [tableOf(box.table)]);
    table.hidden = !open;
    canvas.hidden = open;
    swap.setAttribute("aria-pressed", String(open));
    replace(swap, open ? "Chart" : "Table");
  });
  const one = {
    chart: null,
    draw() {
      if (canvas.hidden || !canvas.clientWidth) return;
      if (!one.chart) {
        one.chart = echarts.init(canvas, null, { renderer: "svg" });
        if (box.click) one.chart.on("click", box.click);
      }
      const colours = palette();
      one.chart.resize();
      one.chart.setOption({ ...frame(colours), ...box.option(colours, canvas.clientWidth) }, true);
    },
    element,
  };
  const eye = new IntersectionObserver(
    (seen) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      eye.disconnect();
      one.draw();
    },
    { rootMargin: "400px" }
  );
  eye.observe(canvas);
  let width = 0;
  new ResizeObserver(() => {
    if (one.chart && canvas.clientWidth !== width) one.draw();
    width = canvas.clientWidth;
  }).observe(canvas);
  drawn.add(one);
  return element;
}

export function forgetCharts(inside) {
  for (const one of drawn) {
    if (!inside.contains(one.element)) continue;
    one.chart?.dispose();
    drawn.delete(one);
  }
}

function redraw() {
  for (const one of drawn) if (one.chart) one.draw();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => drawn.forEach((one) => one.draw()));
addEventListener("afterprint", redraw);

function frame(colours) {
  return {
    animation: false,
    aria: { enabled: true },
    textStyle: { fontFamily: colours.font, color: colours.ink },
    tooltip: {
      confine: true,
      backgroundColor: colours.panel,
      borderColor: colours.line,
      textStyle: { color: colours.ink, fontSize: 13 },
      extraCssText: "box-shadow:0 2px 12px rgba(0,0,0,.18);border-radius:6px",
    },
  };
}

// What hovering shows: lines of text, the first one bold. An element, so that no name is ever markup.
export function tip(first, ...rest) {
  return h("div", {}, h("strong", {}, first), rest.filter(Boolean).map((line) => h("div", {}, line)));
}

export function tableOf({ heads, rows }) {
  return h("table", {}, [
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => h(place ? "td" : "th", place ? {} : { scope: "row" }, cell))))),
  ]);
}

export function axis(colours, more) {
  return {
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    axisLabel: { color: colours.muted, hideOverlap: true },
    splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } },
    nameTextStyle: { color: colours.muted },
    ...more,
  };
}

// Estimates with their intervals, a row each: { label, value, low, high, seeds, colour(colours), hollow, tip }. Without an interval
// low and high are null; seeds: figures that stand beside the estimate. `points`: differences, which may lie below zero.
export function intervals(rows, colours, width, points = false) {
  const names = rows.map((row) => row.label);
  const room = Math.min(Math.max(...names.map((name) => name.trim().length)) * 6.6 + 8, width * 0.42);
  const every = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value, ...(row.seeds || [])]);
  const [low, high, step] = points ? around(Math.min(0, ...every), Math.max(0, ...every)) : within(Math.min(...every), Math.max(...every));
  const unit = points ? "" : "\u202f%";
  return {
    grid: { left: room + 8, right: 16, top: 8, bottom: 28 },
    xAxis: axis(colours, { type: "value", min: low, max: high, interval: step, axisLabel: { color: colours.muted, hideOverlap: true, formatter: (value) => `${signed(value)}${unit}` } }),
    yAxis: axis(colours, {
      type: "category",
      data: names,
      inverse: true,
      axisLine: { onZero: false, lineStyle: { color: colours.line } },
      axisLabel: { color: colours.ink, width: room, overflow: "break", lineHeight: 13, interval: 0, formatter: (name) => cut(name.trim(), Math.floor((2 * room) / 7.2)) },
      splitLine: { show: false },
    }),
    tooltip: { ...frame(colours).tooltip, formatter: (event) => rows[event.dataIndex].tip() },
    series: [
      {
        type: "custom",
        data: rows.map((row, place) => [100 * row.value, place, 100 * (row.low ?? row.value), 100 * (row.high ?? row.value)]),
        encode: { x: [0, 2, 3], y: 1 },
        renderItem: (place, api) => {
          const row = rows[api.value(1)];
          const colour = row.colour(colours);
          const at = (value) => api.coord([value, api.value(1)])[0];
          const [x, y] = api.coord([api.value(0), api.value(1)]);
          const [from, to] = [at(api.value(2)), at(api.value(3))];
          const zero = points && !api.value(1) ? [{ type: "line", shape: { x1: at(0), y1: place.coordSys.y, x2: at(0), y2: place.coordSys.y + place.coordSys.height }, style: { fill: "none", stroke: colours.muted, lineWidth: 1 } }] : [];
          return {
            type: "group",
            children: [
              ...zero,
              { type: "rect", shape: { x: from - 6, y: y - 9, width: to - from + 12, height: 18 }, style: { fill: "transparent" } },
              { type: "line", shape: { x1: from, y1: y, x2: to, y2: y }, style: { fill: "none", stroke: colour, lineWidth: 2.5, opacity: row.hollow ? 0.55 : 1 } },
              ...(row.seeds || []).map((seed) => ({ type: "line", shape: { x1: at(100 * seed), y1: y - 6, x2: at(100 * seed), y2: y + 6 }, style: { fill: "none", stroke: colour, lineWidth: 1.5, opacity: 0.6 } })),
              { type: "circle", shape: { cx: x, cy: y, r: 5 }, style: { fill: row.hollow ? colours.paper : colour, stroke: colour, lineWidth: 2 } },
            ],
          };
        },
      },
    ],
  };
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

function signed(value) {
  return String(value).replace("-", "\u2212");
}

// The ends of an axis, in per cent: of shares, in tens between 0 and 100; of differences, in steps that suit their size.
function within(least, most) {
  return [Math.max(0, Math.floor(least * 10 - 0.2) * 10), Math.min(100, Math.ceil(most * 10 + 0.2) * 10)];
}

function around(least, most) {
  const step = [1, 2, 5, 10].find((one) => 100 * (most - least) <= 8 * one) || 20;
  return [Math.floor((100 * least) / step - 0.2) * step, Math.ceil((100 * most) / step + 0.2) * step, step];
}
