"use strict";
// The sections that report and page share, made from the data of reports/overview.py. Text goes into the document as
// text nodes only: what a run or an agent wrote is never read as markup.

function el(name, about = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside.flat().filter((part) => part !== null && part !== undefined));
  return made;
}

function section(id, title, ...inside) {
  return el("section", { id, ariaLabel: title }, el("h2", {}, title), ...inside);
}

function chart(figure, open = null) {
  const holder = el("div");
  // Once it is in the document: a chart is as wide as its place.
  requestAnimationFrame(() => (holder.chart = new Chart(holder, figure, open)));
  return holder;
}

function legend(figure) {
  if (figure.kind === "lines")
    return el("ul", { className: "legend" }, el("li", {}, `${figure.label}:`),
      figure.lines.map((l, i) => el("li", {}, el("b", { className: `c${i % 8}` }, "━ "), l.name)));
  const kept = "kept, and the best so far";
  const parts = [["keep", "● ", kept], ["discard", "■ ", "discarded"], ["crash", "✕ ", "failed"]];
  const items = parts.map(([name, shape, text]) => el("li", {}, el("b", { className: name }, shape), text));
  if (figure.band) items.push(el("li", {}, "band: one standard deviation of a run around the best"));
  return el("ul", { className: "legend" }, items, el("li", {}, figure.label));
}

function table(heads, rows, caption) {
  // heads: [title, whether a number]; a cell is text or an element.
  const cell = (name, i, value, extra) =>
    el(name, { className: heads[i][1] ? "number" : "", ...extra }, value === null || value === undefined ? "-" : value);
  const head = el("tr", {}, heads.map(([title], i) => cell("th", i, title, { scope: "col" })));
  const body = rows.map((row) => el("tr", {}, row.map((value, i) => cell("td", i, value))));
  const made = el("table", { ariaLabel: caption }, el("thead", {}, head), el("tbody", {}, body));
  return el("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: caption }, made);
}

function facts(pairs) {
  return el("dl", {}, pairs.flatMap(([what, text]) => [el("dt", {}, what), el("dd", {}, text)]));
}

function status(row) {
  const other = row.outcome && row.outcome !== "ok" && row.outcome !== row.status ? `:${row.outcome}` : "";
  return el("span", { className: row.status || "" }, (row.status || "unfinished") + other);
}

function patch(text) {
  const kinds = { "+": "plus", "-": "minus", "@": "hunk" };
  const lines = text.split("\n").map((line) => el("span", { className: kinds[line[0]] || "" }, `${line}\n`));
  return el("pre", { tabIndex: 0, ariaLabel: "the change as a patch" }, lines);
}

// In the report a number of an experiment is text; the page makes it a link.
let linkTo = (number) => String(number);

const SECTIONS = {
  progress: (view) =>
    section("progress", "Progress", chart(view.progress, view.openExperiment), legend(view.progress)),

  // What the claim is worth, as `audit` says it; `about` is what its page says of the log.
  claim: (view, id = "claim", title = "What the claim is worth", about = null) =>
    view.claim && (about || view.claim.result)
      ? section(id, title,
          about ? el("p", { className: "faint" }, about) : null,
          view.claim.reason ? el("p", {}, view.claim.reason) : null,
          view.claim.remarks.length ? el("ul", {}, view.claim.remarks.map((text) => el("li", {}, text))) : null,
          facts(view.claim.facts),
          view.claim.steps.length
            ? table([["kept"], ["claimed", 1], ["expected", 1], ["90 % interval", 1], ["a gain", 1], ["change"]],
                view.claim.steps.map((s) => [linkTo(s.experiment), s.claimed_text, s.mean_text, s.interval_text,
                  s.real_text, s.description]), `kept changes: ${id}`)
            : null)
      : null,

  top: (view) =>
    view.top.length
      ? section("top", "What brought most", view.top.flatMap((row) => [
          el("h3", {}, linkTo(row.experiment), `. ${row.description}`),
          facts([
            ["gain", row.step_text + (row.over === null ? "" : ` over experiment ${row.over}`)],
            ["value", row.value_text],
            ["seeds", row.seeds.join(", ") || "-"],
            ...(row.hypothesis ? [["hypothesis", row.hypothesis]] : []),
          ]),
          row.diff ? el("details", {}, el("summary", {}, "the change"), patch(row.diff)) : null,
        ]))
      : null,

  ablation: (view) =>
    view.ablation &&
    section("ablation", `Ablation of experiment ${view.ablation.incumbent}`,
      table([["without"], ["verdict"], ["worth", 1], ["seeds", 1], ["change"]],
        view.ablation.changes.map((c) => [c.without.join(" + "), c.verdict, c.worth_text, c.seeds, c.description]),
        "ablation")),

  failures: (view) =>
    view.failures.rows.length
      ? section("failures", "Failures", chart(view.failures.figure),
          table([["outcome"], ["count", 1], ["latest"], ["its reason"]],
            view.failures.rows.map((r) => [r.outcome, r.count, linkTo(r.experiment), r.reason]), "failures by outcome"))
      : null,

  families: (view) =>
    view.families.length
      ? section("families", "Families of changes",
          table([["family"], ["tried", 1], ["kept", 1], ["best step", 1]],
            view.families.map((f) => [f.family, f.tried, f.kept, f.best_gain_text]), "families"))
      : null,

  nearMisses: (view) =>
    view.near_misses.length
      ? section("near-misses", "Near misses",
          table([["experiment"], ["step", 1], ["description"]],
            view.near_misses.map((r) => [linkTo(r.experiment), r.step_text, r.description]), "near misses"))
      : null,

  time: (view) =>
    view.time.rows.length
      ? section("time", "Time", facts(view.time.rows),
          view.time.figure ? [chart(view.time.figure), legend(view.time.figure)] : null)
      : null,

  insights: (view) =>
    view.insights.length
      ? section("insights", "What was written down, by family", view.insights.flatMap((group) => [
          el("h3", {}, group.family),
          facts(group.experiments.flatMap((e) =>
            Object.entries(e.notes).map(([key, text]) => [[linkTo(e.experiment), ` ${key}`], text]))),
        ]))
      : null,

  loop: (view) => (view.loop.length ? section("loop", "The loop", facts(view.loop)) : null),

  ideas: (view) =>
    view.ideas.length
      ? section("ideas", "Ideas left", el("ul", {}, view.ideas.map((idea) => el("li", {}, idea))))
      : null,

  lineage: (view) =>
    view.lineage.length
      ? section("lineage", "Lineage", el("ol", { className: "trunk" }, view.lineage.map((row) => {
          const counts = Object.entries(row.leaves).map(([name, count]) => `${count} ${name}`).join(", ");
          const latest = row.latest.flatMap((n, i) => [i ? ", " : "", linkTo(n)]);
          return el("li", { value: row.experiment }, linkTo(row.experiment), ` ${row.value_text} `, row.description,
            counts ? el("span", { className: "faint" }, ` — then ${counts}; the latest: `, latest) : null);
        })))
      : null,

  methods: (view) => section("methods", "Methods", el("p", {}, view.methods.join(" "))),
};

const COLUMNS = (view) => [
  ["n", 1], ["status"], [view.status.metric.name, 1], ["gain", 1], ["family"], ["commit"],
  ...view.secondary.map((name) => [name, 1]), ["description"],
];

function cells(row, view) {
  const plain = (value) => (value === null || value === undefined ? "-" : String(Number(value.toPrecision(5))));
  return [linkTo(row.experiment), status(row), row.value_text, row.gain_text, row.family, row.commit,
    ...view.secondary.map((name) => plain(row.secondary[name])), row.description];
}

class Rows {
  // The table with its filters, a page of rows at a time; `ask` is given what is wanted and promises the rows.
  constructor(view, ask) {
    [this.view, this.ask, this.first, this.recent] = [view, ask, 0, new Set()];
    const choice = (name, title, options) => {
      const all = [["", "all"], ...options.map((option) => [option, option])];
      return (this[name] = el("select", { id: `by-${name}`, onchange: () => this.show(0) },
        all.map(([value, text]) => el("option", { value }, text))), el("label", {}, title, this[name]));
    };
    this.q = el("input", { type: "search", id: "by-text", oninput: () => this.show(0) });
    this.back = el("button", { type: "button", onclick: () => this.show(this.first - Rows.PAGE) }, "earlier");
    this.on = el("button", { type: "button", onclick: () => this.show(this.first + Rows.PAGE) }, "later");
    this.count = el("span", { className: "faint" });
    const controls = el("div", { className: "controls" },
      choice("status", "status", ["keep", "discard", "crash", "checks_failed"]),
      choice("family", "family", view.families_known.concat("other")),
      el("label", {}, "text", this.q), this.back, this.on, this.count);
    this.place = el("div");
    this.element = section("experiments", "Experiments", controls, this.place);
  }

  async show(first = this.first) {
    const wanted = { status: this.status.value, family: this.family.value, q: this.q.value, first: Math.max(0, first) };
    const asked = (this.asked = JSON.stringify(wanted)), { rows, total, begin } = await this.ask(wanted);
    if (asked !== this.asked) return; // a later question was answered first, or will be
    this.first = begin;
    const made = table(COLUMNS(this.view), rows.map((row) => cells(row, this.view)), "experiments");
    const lines = made.querySelectorAll("tbody tr");
    lines.forEach((line, i) => line.classList.toggle("new", this.recent.has(rows[i].experiment)));
    this.place.replaceChildren(made);
    this.back.disabled = begin <= 0;
    this.on.disabled = begin + rows.length >= total;
    this.count.textContent = total ? `${begin + 1} to ${begin + rows.length} of ${total}` : "none";
  }
}
Rows.PAGE = 200;
