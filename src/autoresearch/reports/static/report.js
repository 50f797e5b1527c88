"use strict";
// The report: sections from the data in the page itself. Nothing is fetched.

async function unpacked(id) {
  // Base64 of deflated JSON: 20,000 rows would be larger than the rest of the report.
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

async function report() {
  const view = JSON.parse(document.getElementById("data").textContent);
  const order = ["progress", "claim", "top", "ablation", "failures", "families", "nearMisses", "time", "insights",
    "loop"];
  const place = document.getElementById("sections");
  place.replaceChildren(...order.map((name) => SECTIONS[name](view)).filter(Boolean));
  const [names, ...columns] = await unpacked("rows");
  const count = columns[0].length;
  const row = (i) => Object.fromEntries(names.map((name, k) => [name, columns[k][i]]));
  const fits = (i, wanted) => {
    const e = row(i), text = wanted.q.toLowerCase();
    const said = `${e.experiment} ${e.commit} ${e.description}`.toLowerCase();
    const kind = [wanted.status || e.status, wanted.family || e.family];
    return kind[0] === e.status && kind[1] === e.family && said.includes(text);
  };
  const rows = new Rows(view, async (wanted) => {
    const found = [...Array(count).keys()].filter((i) => fits(i, wanted));
    const begin = Math.min(wanted.first, Math.max(0, found.length - 1));
    return { rows: found.slice(begin, begin + Rows.PAGE).map(row), total: found.length, begin };
  });
  place.append(rows.element);
  addEventListener("beforeprint", () => {
    for (const closed of document.querySelectorAll("details")) closed.open = true; // paper cannot be asked to unfold
  });
  await rows.show(0);
  document.documentElement.dataset.ready = "yes";
}

report();
