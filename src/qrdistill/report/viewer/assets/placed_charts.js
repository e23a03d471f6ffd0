// The charts of a page without questions: its data says for each place which charts stand there.
import { axis, chartBox, intervals, tip } from "./chart_box.js";
import { append, figure, h, plain, shown } from "./dom.js";

const PLACED = { estimates, curves: lines, heat };

// one: { kind, title, note, table: { heads, rows }, … }; every text in it may come from outside.
function boxOf(one) {
  const { height, option } = PLACED[one.kind](one);
  const rows = one.table.rows.map((row) => row.map((cell) => shown(String(cell ?? "–"))));
  return chartBox({ title: plain(one.title), note: one.note && plain(one.note), height, option, table: { heads: one.table.heads.map(plain), rows } });
}

// rows: { label, value, low, high, seeds, series, hollow, lines: what hovering shows }
function estimates({ rows, points }) {
  const names = new Set();
  const drawn = rows.map((row) => {
    let label = plain(row.label);
    while (names.has(label)) label += "\u200a"; // an axis knows its rows by their names
    names.add(label);
    return { ...row, label, colour: (colours) => colours.series[row.series % 6], tip: () => tip(...row.lines.map(plain)) };
  });
  return { height: 44 + 30 * rows.length, option: (colours, width) => intervals(drawn, colours, width, points) };
}

const DASHES = ["solid", "dashed", "dotted", [8, 3, 2, 3]];

// lines: { label, x, y, low, high }, with a null where a figure is not known
function lines({ lines: given, x, y }) {
  const points = (line) => line.x.map((at, place) => ({ at, value: line.y[place], low: line.low?.[place] ?? null, high: line.high?.[place] ?? null }));
  const drawn = given.map((line) => ({ name: plain(line.label), points: points(line) }));
  const long = (name) => 40 + 7 * name.length;
  const option = (colours, width) => {
    const colour = (place) => colours.series[place % 6];
    const legend = drawn.reduce((sum, line) => sum + long(line.name), 0);
    const bars = drawn.map((line, place) => ({
      type: "custom",
      silent: true,
      tooltip: { show: false },
      data: line.points.filter((one) => one.low !== null && one.high !== null).map((one) => [one.at, one.low, one.high]),
      encode: { x: 0, y: [1, 2] },
      renderItem: (_, api) => {
        const [[x1, y1], [, y2]] = [api.coord([api.value(0), api.value(1)]), api.coord([api.value(0), api.value(2)])];
        return { type: "line", shape: { x1, y1, x2: x1, y2 }, style: { fill: "none", stroke: colour(place), lineWidth: 1.5, opacity: 0.7 } };
      },
    }));
    return {
      grid: { left: 62, right: 18, top: drawn.length > 1 ? 16 + 24 * Math.ceil(legend / (width - 20)) : 14, bottom: 44 },
      legend: drawn.length > 1 ? { top: 0, left: 0, textStyle: { color: colours.ink }, itemWidth: 22, data: drawn.map((line) => line.name) } : { show: false },
      xAxis: axis(colours, { type: "value", scale: true, name: plain(x), nameLocation: "middle", nameGap: 26, splitLine: { show: false } }),
      yAxis: axis(colours, { type: "value", scale: true, name: plain(y), nameLocation: "middle", nameGap: 46 }),
      tooltip: {
        confine: true,
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 },
        formatter: ({ data, seriesName }) => tip(`${seriesName}: ${figure(data.value[1])}`, `${plain(x)} ${figure(data.value[0])}`, data.ends),
      },
      series: [
        ...drawn.map((line, place) => ({
          name: line.name,
          type: "line",
          symbol: "circle",
          symbolSize: 7,
          color: colour(place),
          lineStyle: { width: 1.8, type: DASHES[Math.floor(place / 6) % 4] },
          data: line.points.map((one) => ({
            value: [one.at, one.value],
            ends: one.low !== null && one.high !== null ? `95\u202f% interval ${figure(one.low)} to ${figure(one.high)}` : null,
          })),
        })),
        ...bars,
      ],
    };
  };
  return { height: 300, option };
}

// cells: rows by columns, a share each; edges: where the columns begin and end
function heat({ rows, edges, cells, series }) {
  const names = rows.map(plain);
  const data = cells.flatMap((row, place) => row.flatMap((share, column) => (share === null ? [] : [[column, place, share]])));
  const option = (colours, width) => {
    const room = Math.min(130, Math.max(...names.map((one) => one.length)) * 6.8 + 10, width * 0.36);
    return {
      grid: { left: room + 6, right: 10, top: 6, bottom: 40 },
      xAxis: axis(colours, { type: "category", data: edges.slice(0, -1).map(String), name: "step", nameLocation: "middle", nameGap: 26, splitLine: { show: false } }),
      yAxis: axis(colours, { type: "category", data: names, inverse: true, splitLine: { show: false }, axisLine: { show: false }, axisLabel: { color: colours.ink, width: room, overflow: "truncate", interval: 0 } }),
      tooltip: {
        confine: true,
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 },
        formatter: ({ data: [column, row, share] }) => tip(`${names[row]}: ${(100 * share).toFixed(1)}\u202f%`, `steps ${edges[column]} to ${edges[column + 1]}`),
      },
      series: [
        {
          type: "custom",
          data,
          encode: { x: 0, y: 1 },
          renderItem: (_, api) => {
            const [x, y] = api.coord([api.value(0), api.value(1)]);
            const [wide, high] = api.size([1, 1]);
            const shape = { x: x - wide / 2 + 1, y: y - high / 2 + 1, width: Math.max(1, wide - 2), height: high - 2, r: 3 };
            return { type: "rect", shape, style: { fill: colours.series[series % 6], opacity: 0.05 + 0.95 * api.value(2) } };
          },
        },
      ],
    };
  };
  return { height: 60 + 34 * rows.length, option };
}

for (const place of document.querySelectorAll("[data-charts]")) {
  try {
    const placed = JSON.parse(document.getElementById("charts-data").textContent);
    append(place, placed[place.dataset.charts].map(boxOf));
  } catch (error) {
    append(place, [h("p.note", {}, `These charts cannot be shown: ${error.message}`)]);
    console.error(error);
  }
}
if (!document.getElementById("explore")) document.documentElement.dataset.ready = "yes"; // else the viewer says when
