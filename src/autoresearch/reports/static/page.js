"use strict";
// The live page. Each view is the JSON beside its own address, and is asked for again when the journal has changed.

const place = location.pathname.replace(/\/+$/, "") || "/";
const id = (place.match(/^\/w\/([0-9a-f]+)/) || [])[1];
const main = document.getElementById("main");
const nav = document.getElementById("nav");

async function get(path) {
  const answer = await fetch(path);
  const nothing = { error: { message: `the server answered ${answer.status}`, fix: "" } };
  const view = await answer.json().catch(() => nothing);
  if (view.error || !answer.ok) throw view.error || { message: JSON.stringify(view), fix: "" };
  return view;
}

function wrong(error) {
  const text = error.message ? `${error.message}${error.fix ? `; ${error.fix}` : ""}` : String(error);
  return el("p", { className: "error", role: "alert" }, text);
}

function link(path, text) {
  return el("a", { href: path }, text);
}

linkTo = (number) => (id ? link(`/w/${id}/experiments/${number}`, String(number)) : String(number));
const openExperiment = (number) => location.assign(`/w/${id}/experiments/${number}`);

function titled(title, ...crumbs) {
  document.title = `${title} · autoresearch`;
  nav.replaceChildren(link("/", "workspaces"), ...crumbs.flatMap((crumb) => [" / ", crumb]));
}

// --- live ---

class Live {
  // Server-sent events from a place in the journal on; where they fail or fall silent, a question every 5 seconds.
  constructor(from, on) {
    [this.from, this.on, this.heard] = [from, on, Date.now()];
    setInterval(() => this.silent() && this.poll(), 5000);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    this.open();
  }

  silent() {
    return !document.hidden && Date.now() - this.heard > 25000;
  }

  poll() {
    if (this.source && this.source.readyState === EventSource.CLOSED) this.close(); // it does not try again by itself
    this.open();
    this.on("poll", {});
  }

  open() {
    if (this.source || document.hidden) return; // a browser has few connections for one server
    this.source = new EventSource(`/w/${id}/events?from=${encodeURIComponent(this.from)}`);
    this.source.addEventListener("open", () => (this.heard = Date.now()));
    this.source.addEventListener("error", () => (this.heard = 0));
    for (const name of ["journal", "reset", "running", "points", "alive"])
      this.source.addEventListener(name, (event) => {
        this.heard = Date.now();
        if (event.lastEventId) this.from = event.lastEventId;
        if (name !== "alive") this.on(name, JSON.parse(event.data));
      });
  }

  close() {
    if (this.source) this.source.close();
    this.source = null;
  }
}

function soon(action, wait = 50, rest = 1000) {
  // Call `action` shortly after being asked, once for many questions, and not again before it has ended and rested.
  let asked = false, busy = false;
  const run = async () => {
    if (busy || !asked) return;
    [asked, busy] = [false, true];
    await action().catch((error) => console.error(error));
    setTimeout(() => ((busy = false), run()), rest);
  };
  return () => ((asked = true), setTimeout(run, wait));
}

// --- the first page: all workspaces ---

async function front() {
  titled("workspaces");
  const view = await get("/index.json");
  if (view.workspaces.length === 1) return location.replace(`/w/${view.workspaces[0].id}`);
  main.replaceChildren(el("h1", {}, "Workspaces"), ...view.workspaces.map((w) =>
    el("div", {}, el("h2", {}, link(`/w/${w.id}`, w.name || w.folder)),
      w.error ? wrong({ message: w.error }) : el("p", {}, w.headline))));
}

// --- one workspace ---

function lookedAt(view) {
  // Where this browser has looked last, kept by workspace; what is new is told against that.
  const key = `look:${id}`, before = JSON.parse(localStorage.getItem(key) || "null");
  const keep = () => localStorage.setItem(key, JSON.stringify({ place: view().journal, at: Date.now() }));
  addEventListener("pagehide", keep);
  return before;
}

function sinceLast(view, before) {
  if (!before || !view.since) return el("div", { id: "since" });
  const when = new Date(before.at).toLocaleString();
  const rows = view.since.rows, suspicious = (r) => r.outcome === "tampered" || r.warnings.length;
  const is = (...statuses) => (r) => statuses.includes(r.status);
  const groups = [["kept", is("keep")], ["failed", is("crash", "checks_failed")], ["discarded", is("discard")],
    ["running", is(null)], ["to look at", suspicious]];
  const told = groups.map(([name, fits]) => [name, rows.filter(fits)]).filter(([, found]) => found.length);
  const line = (r) => el("li", {}, linkTo(r.experiment), ` ${r.value_text} (${r.gain_text}) `, r.description,
    ...r.warnings.map((warning) => el("span", { className: "crash" }, ` — ${warning}`)));
  return section("since", "Since you last looked", el("p", { className: "faint" }, when),
    told.length ? null : el("p", {}, "Nothing has changed."),
    told.flatMap(([name, found]) => [el("h3", {}, `${found.length} ${name}`), el("ul", {}, found.map(line))]),
    view.since.more ? el("p", { className: "faint" }, `and ${view.since.more} earlier ones`) : null);
}

async function workspace() {
  const key = JSON.parse(localStorage.getItem(`look:${id}`) || "null");
  const address = `/w/${id}.json${key && key.place ? `?since=${encodeURIComponent(key.place)}` : ""}`;
  let view = await get(address);
  const before = lookedAt(() => view);
  titled(view.name, link(`/w/${id}/policy?name=greedy`, "another policy"), link(`/w/${id}/compare`, "compare"));
  const headline = el("p", { className: "headline", id: "headline", ariaLive: "polite" }, view.headline);
  const rows = new Rows(view, ({ status, family, q, first }) =>
    get(`/w/${id}/experiments.json?${new URLSearchParams({ status, family, q, first, limit: Rows.PAGE })}`));
  const progress = chart(view.progress, openExperiment), now = el("div", { id: "running" });
  const parts = ["time", "families", "failures", "nearMisses", "ideas", "top", "ablation", "insights", "loop",
    "lineage", "methods"];
  const below = el("div"), since = el("div");
  const fill = () => {
    since.replaceChildren(sinceLast(view, before));
    below.replaceChildren(...parts.map((name) => SECTIONS[name](view)).filter(Boolean));
  };
  main.replaceChildren(el("h1", {}, view.name), headline,
    section("progress", "Progress", progress, legend(view.progress)), now, since, rows.element, below);
  fill();
  await rows.show(Math.max(0, view.status.experiments - Rows.PAGE));

  const measure = async () => {
    const told = await get(`/w/${id}/running.json`);
    if (!told.figure) return now.replaceChildren();
    const drawn = now.querySelector(".chart")?.chart;
    if (drawn && drawn.figure.lines.length === told.figure.lines.length) drawn.set(told.figure);
    else now.replaceChildren(section("now", "Now", chart(told.figure), legend(told.figure)));
  };
  const refresh = async () => {
    const told = get(address).catch((error) => ({ ...view, headline: wrong(error).textContent }));
    await rows.show().catch(() => null); // what is wrong with the journal, the headline says
    rows.view = view = await told;
    headline.textContent = view.headline;
    progress.chart.set(view.progress);
    fill();
  };
  const again = soon(refresh), points = soon(measure, 0, 700);
  new Live(view.journal, (name, data) => {
    for (const n of data.changed || []) rows.recent.add(n);
    if (name !== "points") again();
    points();
  });
  await measure();
}

// --- one experiment, several, another policy ---

function curves(view, numbers) {
  if (!view.curve) return null;
  const names = view.curve_names.map((name) => el("option", { value: name }, name));
  const holder = chart(view.curve), words = el("div", {}, legend(view.curve));
  const choose = el("select", { id: "curve-of", onchange: async () => {
    const told = await get(`/w/${id}/curve.json?${new URLSearchParams({ n: numbers.join(","), key: choose.value })}`);
    holder.chart.zoomed = false;
    holder.chart.set(told.figure);
    words.replaceChildren(legend(told.figure));
  } }, names);
  return section("curve", "Curves", el("div", { className: "controls" }, el("label", {}, "of", choose)), holder, words);
}

async function experiment(n) {
  const draw = async () => {
    const view = await get(`${place}.json`), row = view.row;
    titled(`experiment ${n}`, link(`/w/${id}`, "session"), link(`/w/${id}/experiments/${n - 1}`, "previous"),
      link(`/w/${id}/experiments/${n + 1}`, "next"));
    const seeds = view.runs.map((run) => [run.seed === undefined ? "-" : run.seed, String(run.value)]);
    const beside = view.beside.map((line) => ["gain", line]);
    const pair = `/w/${id}/compare?n=${view.over},${n}`;
    const compare = view.over === null ? [] : [["compare", link(pair, `with its parent, ${view.over}`)]];
    const words = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const notes = Object.entries(view.asi).map(([key, value]) => [key, words(value)]);
    const reported = Object.entries({ ...view.secondary, ...view.metrics });
    const metrics = reported.map(([key, value]) => [key, value === null ? "-" : String(value)]);
    main.replaceChildren(
      el("h1", {}, `Experiment ${n}`), el("p", { className: "headline" }, row.description),
      facts([["verdict", status(view)], ["why", view.reason || "-"], [view.metric_name, row.value_text],
        ["gain over the baseline", view.gain_words], ...beside, ...compare, ["family", row.family],
        ["commit", view.commit || "-"]]),
      section("change", "The change", view.diff ? patch(view.diff) : el("p", {}, "none, or its commits are not here")),
      ...[
        seeds.length && section("seeds", "Values by seed", table([["seed"], ["value", 1]], seeds, "values by seed")),
        curves(view, view.over === null ? [n] : [n, view.over]),
        notes.length && section("asi", "Notes", facts(notes)),
        metrics.length && section("metrics", "Also reported", facts(metrics)),
        view.warnings.length &&
          section("warnings", "Look at", el("ul", {}, view.warnings.map((text) => el("li", {}, text)))),
      ].filter(Boolean),
      ...view.logs.map((log) => section(`log${log.seed}`, `Log of seed ${log.seed} (its end; data, not instructions)`,
        el("pre", { tabIndex: 0, ariaLabel: `log of seed ${log.seed}` }, log.lines.join("\n")))));
    return view;
  };
  const { journal } = await draw(), again = soon(draw, 100, 700);
  new Live(journal, (name, data) => {
    const mine = (data.changed || []).includes(n) || (data.running && data.running.experiment === n);
    if (mine || name === "reset" || name === "poll") again();
  });
}

async function comparison() {
  titled("compare", link(`/w/${id}`, "session"));
  const asked = new URLSearchParams(location.search).get("n") || "";
  const field = el("input", { id: "numbers", value: asked, placeholder: "4,9" });
  const go = () => location.assign(`${place}?n=${encodeURIComponent(field.value)}`);
  field.addEventListener("keydown", (event) => event.key === "Enter" && go());
  const controls = el("div", { className: "controls" }, el("label", {}, "experiments", field),
    el("button", { type: "button", onclick: go }, "compare"));
  main.replaceChildren(el("h1", {}, "Comparison"), controls);
  if (!asked) return;
  const view = await get(`${place}.json?n=${encodeURIComponent(asked)}`), names = view.rows.map((r) => r.experiment);
  const verdict = (p) => (p.decided ? "beyond the noise" : "within the noise");
  main.append(
    table([["experiment"], ["status"], [view.metric_name, 1], ["gain", 1], ["description"]],
      view.rows.map((r) => [linkTo(r.experiment), status(r), r.value_text, r.gain_text, r.description]), "experiments"),
    section("pairs", "Differences", table([["experiment"], ["over"], ["gain", 1], ["on"], ["verdict"]],
      view.pairs.map((p) => [linkTo(p.experiment), linkTo(p.against), p.text, p.on, verdict(p)]), "differences")),
    section("seeds", "Values by seed", table([["seed"], ...names.map((name) => [String(name), 1])],
      view.seeds.map((s) => [s.seed, ...s.values.map((v) => (v === null ? "-" : String(v)))]), "values by seed")),
    ...[curves(view, names)].filter(Boolean));
}

async function policy() {
  const names = ["greedy", "confirm"].map((name) => link(`${place}?name=${name}`, name));
  titled("another policy", link(`/w/${id}`, "session"), ...names);
  const view = await get(`${place}.json${location.search}`), verdict = (word) => el("span", { className: word }, word);
  main.replaceChildren(el("h1", {}, `What ${view.policy} would have kept`),
    el("p", { className: "headline" },
      `Of ${view.judged} experiments ${view.policy} would have kept ${view.would_keep}; ` +
      `this session kept ${view.kept_by_session}, ${view.kept_by_both} of them the same.`),
    el("p", {}, view.unmeasured
      ? `Of ${view.unmeasured} nobody can say: the policy needs runs that were never made.` : ""),
    table([["n", 1], ["was"], [view.policy], ["why"], ["description"]],
      view.experiments.map((e) => [linkTo(e.experiment), status(e), verdict(e.would), e.reason, e.description]),
      "verdicts"));
}

async function start() {
  const n = (place.match(/^\/w\/[0-9a-f]+\/experiments\/(\d+)$/) || [])[1];
  try {
    if (!id) await front();
    else if (n) await experiment(Number(n));
    else if (place.endsWith("/compare")) await comparison();
    else if (place.endsWith("/policy")) await policy();
    else await workspace();
  } catch (error) {
    main.append(wrong(error));
    if (!(error && error.message)) throw error;
  }
  document.documentElement.dataset.ready = "yes";
}

start();
