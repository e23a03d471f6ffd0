// The two views of a run's page, and what its address says: #q=… a question, #p=… a path, filters beside them.
import { h, replace } from "./dom.js";
import { decoded, questionCard } from "./card.js";
import { drawCharts } from "./charts.js";
import { makeList } from "./list.js";
import { FILTERS, fromServer, inPage } from "./source.js";

const KEYS = ["q", "p", "sort", ...FILTERS];

function readAddress() {
  const text = location.hash.slice(1);
  const given = new URLSearchParams(text);
  const state = Object.fromEntries(KEYS.filter((key) => given.get(key)).map((key) => [key, given.get(key)]));
  state.exploring = text.startsWith("questions") || Object.keys(state).length > 0;
  return state;
}

function address(state) {
  const given = new URLSearchParams(KEYS.filter((key) => state[key]).map((key) => [key, state[key]]));
  return `#${given.toString() || "questions"}`;
}

async function start() {
  const place = document.getElementById("explore");
  const live = place.dataset.live;
  const source = live ? fromServer(live) : await inPage(read("run-data"), document.getElementById("run-cards").textContent);
  let meta = live ? await source.overview() : read("run-data");
  let state = readAddress();
  let found = { total: 0, rows: [] };
  let asked = 0;
  const listed = h("div.listed", {});
  const opened = h("div.opened", { id: "card", tabindex: "-1", "aria-live": "polite" });
  replace(place, listed, opened);

  const go = (next, quietly) => {
    history[quietly ? "replaceState" : "pushState"](null, "", address(next));
    follow();
  };
  let typing = 0;
  const act = {
    set(changes, { typing: slowly } = {}) {
      clearTimeout(typing);
      const next = () => go({ ...state, ...changes, p: "" }, slowly);
      if (slowly) typing = setTimeout(next, live ? 200 : 60);
      else next();
    },
    clear: () => go({ q: state.q }, false),
    open: (id) => go({ ...state, q: id, p: "" }),
    close() {
      go({ ...state, q: "", p: "" });
    },
    async step(by) {
      const at = found.rows.findIndex((row) => row.id === state.q);
      if (at + by >= found.rows.length && found.rows.length < found.total) await act.more();
      const row = found.rows[at < 0 ? 0 : at + by];
      if (row) go({ ...state, q: row.id, p: "" }, Boolean(state.q));
    },
    async more() {
      const offset = found.rows.length;
      if (!offset || offset >= found.total || act.loading) return;
      act.loading = true;
      try {
        const next = await source.list({ ...wanted(), offset });
        found = { total: next.total, rows: [...found.rows, ...next.rows] };
        list.rows(next, state, offset);
      } finally {
        act.loading = false;
      }
    },
  };
  const list = makeList(listed, meta, act);
  const wanted = () => Object.fromEntries([...FILTERS, "sort"].map((key) => [key, state[key]]));
  let last = "";

  async function refresh(force) {
    const now = JSON.stringify(wanted());
    list.show(state);
    if (now === last && !force) return list.mark(state.q);
    last = now;
    const mine = ++asked;
    const next = await source.list(wanted());
    if (mine !== asked) return;
    found = next;
    list.rows(found, state, 0);
  }

  let showing = "";
  async function showCard() {
    document.body.classList.toggle("with-card", Boolean(state.q || state.p));
    const key = `${state.q || ""}|${state.p || ""}`;
    if (key === showing) return;
    showing = key;
    if (!state.q && !state.p) return replace(opened);
    const card = await source.card({ q: state.q, p: state.q ? "" : state.p });
    if (key !== showing) return;
    if (!card) {
      replace(opened, h("p.nothing", {}, `There is no ${state.q ? "question" : "path"} “${state.q || state.p}” here.`));
      return;
    }
    const id = card.question.id;
    let row = found.rows.find((one) => one.id === id);
    if (!row) row = (await source.list({ search: id })).rows.find((one) => one.id === id);
    state.q = id;
    showing = `${id}|${state.p || ""}`;
    replace(opened, questionCard(decoded(card, meta.fields), meta, row, act));
    opened.scrollTop = 0;
    list.mark(id);
    const path = state.p && [...opened.querySelectorAll("[data-path]")].find((one) => one.dataset.path === state.p);
    if (path) {
      path.classList.add("aimed");
      path.scrollIntoView({ block: "nearest", inline: "center" });
      path.focus({ preventScroll: true });
    }
    if (matchMedia("(max-width: 60rem)").matches && !path) scrollTo(0, 0);
  }

  async function follow() {
    state = readAddress();
    if (live && location.hash.length < 2) state.exploring = true;
    document.body.classList.toggle("exploring", state.exploring);
    document.getElementById("to-questions")?.setAttribute("aria-current", String(state.exploring));
    document.getElementById("to-overview")?.setAttribute("aria-current", String(!state.exploring));
    if (!state.exploring) {
      drawCharts(meta, aim);
      const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
      if (target) target.scrollIntoView();
      return;
    }
    await refresh();
    await showCard();
  }
  const aim = (changes) => go({ ...changes });

  place.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-open]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    act.open(link.dataset.open);
  });
  addEventListener("hashchange", follow);
  addEventListener("popstate", follow);
  addEventListener("keydown", (event) => onKey(event, act, list, () => state));
  document.getElementById("help-button")?.addEventListener("click", () => help().showModal());
  list.fill(meta);
  await follow();
  document.documentElement.dataset.ready = "yes";
  if (live) watch(source, async () => {
    meta = await source.overview();
    list.fill(meta);
    showing = "";
    await refresh(true);
    await showCard();
    drawCharts(meta, aim, true);
  });
}

function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function help() {
  return document.getElementById("help");
}

function onKey(event, act, list, state) {
  if (event.ctrlKey || event.metaKey || event.altKey || help()?.open) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    else if (state().q || state().p) act.close();
    return;
  }
  if (typing) return;
  const exploring = state().exploring;
  const on = event.target.closest(".opened") && event.key.startsWith("Arrow") ? "" : event.key;
  if (event.key === "/") {
    if (!exploring) act.clear();
    list.search.focus();
    list.search.select();
  } else if (event.key === "?") help()?.showModal();
  else if (exploring && (on === "j" || on === "ArrowDown")) act.step(1);
  else if (exploring && (on === "k" || on === "ArrowUp")) act.step(-1);
  else return;
  event.preventDefault();
}

// While the run goes on: what its stages do, and everything anew when its tables change.
async function watch(source, changed) {
  const line = document.getElementById("live");
  let version = null;
  for (;;) {
    const state = await source.state().catch(() => null);
    if (line) line.textContent = state ? state.line : "The server has stopped; start qrdistill view again.";
    document.body.classList.toggle("stopped", !state);
    if (state && version !== null && state.version !== version) await changed().catch(() => null);
    if (state) version = state.version;
    await new Promise((resolve) => setTimeout(resolve, state && !state.ready ? 400 : 2000));
  }
}

start().catch((error) => {
  const place = document.getElementById("explore");
  replace(place, h("p.nothing", {}, `The questions cannot be shown: ${error.message}`));
  document.documentElement.dataset.ready = "failed";
  console.error(error);
});
