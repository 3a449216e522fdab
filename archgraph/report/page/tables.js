// What is said in tables: totals, the block that is chosen, claims, the conditions of it all.

function section(id, title, controls, ...content) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("div", { class: "head" }, el("h2", { id: `${id}-title` }, title), controls), content);
}

// -- the head ---------------------------------------------------------------------------------------------------------

function source(paper) {
  if (!paper.title) return null;
  const title = paper.year ? `${paper.title}, ${paper.year}` : paper.title;
  if (!/^[\w./-]+$/.test(paper.arxiv || "")) return el("p", { class: "paper" }, title);
  return el("p", { class: "paper" }, `${title}. `, el("a", { href: `https://arxiv.org/abs/${paper.arxiv}`, rel: "noreferrer" }, `arXiv:${paper.arxiv}`));
}

const ends = (named) => named.map(([name, type]) => `${name} ${type}`).join(", ");

function overviewOfOne(model) {
  const tiles = data.totals.map((metric) => {
    const value = model.totals[metric.key];
    const text = human(value, metric.unit);
    const open = typeof value !== "number";
    return el("div", { class: `tile${open ? " open" : ""}`, title: `${metric.about} ${exact(value, metric.unit)}` }, el("dt", {}, metric.label), el("dd", { "data-key": metric.key, "data-value": value }, text));
  });
  return el(
    "header", { class: "top" },
    el("h1", {}, model.name, model.variant ? el("small", {}, model.variant) : null),
    el("p", { class: "summary" }, model.summary),
    source(model.paper),
    el("p", { class: "flow" }, ends(model.inputs), el("span", { "aria-label": "to" }, " → "), ends(model.outputs)),
    el("dl", { class: "tiles" }, tiles),
  );
}

function overviewOfSeveral() {
  const numbers = (key) => data.models.map((model) => model.totals[key]).filter((v) => typeof v === "number");
  const head = el("tr", {}, el("th", { scope: "col" }, "architecture"), el("th", { scope: "col" }, "input"), data.totals.map((m) => el("th", { scope: "col", class: "number", title: m.about }, m.label)));
  const rows = data.models.map((model) =>
    el(
      "tr", {},
      el("th", { scope: "row" }, model.label, el("div", { class: "summary" }, model.summary)),
      el("td", { class: "shape" }, ends(model.inputs)),
      data.totals.map((metric) => {
        const value = model.totals[metric.key];
        const bar = el("i", { class: "bar-of" });
        const most = Math.max(...numbers(metric.key));
        bar.style.width = typeof value === "number" && most > 0 ? `${(100 * value) / most}%` : "0";
        return el("td", { class: "number", title: exact(value, metric.unit), "data-key": metric.key, "data-value": value }, human(value, metric.unit), bar);
      }),
    ));
  return el(
    "header", { class: "top" },
    el("h1", {}, data.models.map((model, k) => [k ? el("span", { class: "versus" }, " · ") : null, model.label])),
    el("div", { class: "scroll-x" }, el("table", { class: "totals" }, el("thead", {}, head), el("tbody", {}, rows))),
  );
}

// -- the block that is chosen --------------------------------------------------------------------------------------------

function inspector(zoom, show) {
  const body = el("div", { class: "inspect-body" });
  function draw() {
    const block = state.selected;
    if (!block) {
      body.replaceChildren(el("p", { class: "hint" }, "Choose a block: a click opens it, arrow keys move between blocks."));
      return;
    }
    const metrics = data.metrics.map((metric) => {
      const value = block.value(metric);
      const name = !metric.addsUp ? `${metric.label}, one turn` : metric.label;
      const rail = el("i", { class: "bar-of" });
      rail.style.width = metric.addsUp ? `${100 * block.fraction(metric)}%` : "0";
      return el("tr", { "data-key": metric.key, title: metric.about }, el("th", { scope: "row" }, name), el("td", { class: "number", "data-value": value }, exact(value, metric.unit), rail), el("td", { class: "number" }, metric.addsUp ? block.share(metric) : ""));
    });
    const row = (name, value) => (value ? el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "shape", colspan: 2 }, value)) : null);
    body.replaceChildren(
      el("h3", {}, block.label, el("small", {}, block.item.op)),
      el("p", { class: "path" }, data.models.length > 1 ? `${block.model.label}: ` : "", el("code", {}, block.path)),
      el("table", { class: "facts" },
        el("tbody", {},
          row("in", block.item.in), row("out", block.item.out),
          (block.item.attributes || []).map(([name, value]) => row(name, value)),
          row("note", block.item.note)),
        el("tbody", { class: "costs" }, metrics)),
      el(
        "p", {},
        el("button", { type: "button", onclick: () => show(block) }, "Show in the graph"),
        el("button", { type: "button", onclick: () => zoom(block) }, "Show in the icicle"),
      ),
    );
  }
  listeners.selected.push(draw);
  draw();
  return el("aside", { class: "panel inspect", "aria-label": "The block that is chosen", "aria-live": "polite" }, body);
}

// -- claims ---------------------------------------------------------------------------------------------------------------

const VERDICTS = {
  exact: ["✓", "exact"],
  holds: ["✓", "holds"],
  printed: ["✓", "as printed"],
  recorded: ["≠", "differs for a known reason"],
  stale: ["!", "recorded as different, but is not"],
  differs: ["✗", "differs"],
  faults: ["✗", "can't be built"],
  open: ["○", "open"],
  unclaimed: ["○", "no claim recorded"],
};

const thin = (text) => (/^[\d,]+$/.test(text) ? text.replaceAll(",", "\u202f") : text);

function claimsTable(model) {
  const several = new Set(model.claims.map((claim) => claim.variant)).size > 1;
  const sorted = [...model.claims.filter((claim) => claim.here), ...model.claims.filter((claim) => !claim.here)];
  const rows = sorted.map((claim) => {
    const [sign, words] = VERDICTS[claim.outcome];
    const said = claim.quantity && claim.quantity !== claim.figure ? `${claim.figure} (counted as ${claim.quantity})` : claim.figure;
    return el(
      "tr", { class: claim.here ? "here" : null, "data-outcome": claim.outcome },
      several ? el("th", { scope: "row" }, claim.variant) : null,
      el("td", { class: claim.claim ? null : "shape" }, claim.claim || claim.given),
      el("td", {}, said),
      el("td", { class: "number claimed" }, thin(claim.claimed)),
      el("td", { class: "number ours" }, thin(claim.ours)),
      el("td", { class: `verdict ${claim.outcome}` }, el("b", { "aria-hidden": "true" }, sign), ` ${words}`),
      el("td", { class: "source" }, claim.source, claim.note && !["exact", "printed", "holds", "unclaimed"].includes(claim.outcome) ? el("div", {}, claim.note) : null),
    );
  });
  const names = [several ? "variant" : null, "at", "figure", "claimed", "ours", "verdict", "source"].filter(Boolean);
  const head = el("tr", {}, names.map((name) => el("th", { scope: "col", class: name === "claimed" || name === "ours" ? "number" : null }, name)));
  return el(
    "div", { class: "panel claims", "data-model": model.label },
    data.models.length > 1 ? el("div", { class: "bar" }, el("h3", {}, model.label)) : null,
    el("div", { class: "scroll-x" }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows))),
  );
}

function claimsSection() {
  // variants of one spec share its claims
  const met = new Set(["exact", "printed", "holds"]);
  const stated = (claim) => claim.outcome !== "unclaimed";
  const shown = data.models.filter((model, k) => model.claims.some(stated) && data.models.findIndex((m) => m.name === model.name) === k);
  if (!shown.length) return null;
  const all = shown.flatMap((model) => model.claims.filter(stated));
  const count = all.filter((claim) => met.has(claim.outcome)).length;
  const counted = el("span", { class: "count" }, `${count} of ${all.length} figures met`);
  return section("claims", "What was claimed", counted, shown.map(claimsTable));
}

// -- conditions ------------------------------------------------------------------------------------------------------------

function conditions(model) {
  const tally = (ops) => ops.map(([op, n]) => (n === 1 ? op : `${op} ×${n}`)).join(", ") || "none";
  const frozen = model.frozen ? `${exact(model.frozen)} of them frozen; ` : "";
  const lines = [
    ["hyperparameters", model.settings.map(([name, value]) => `${name} = ${value}`).join(", ")],
    ["params", `${exact(model.totals.params)}; ${frozen}buffers ${exact(model.buffers)}`],
    ["FLOPs", `${exact(model.totals.flops)} = 2 · MACs + ${exact(model.elementwise)} element-wise`],
    ["expected", model.expected === null ? "" : `${exact(model.expected)} MACs where zeros of masks and selections are skipped`],
    ...model.device,
    ["counted", tally(model.counted)],
    ["free by declaration", tally(model.free)],
    ["provided that", model.guards.join("; ")],
  ];
  return el(
    "div", { class: "conditions" },
    data.models.length > 1 ? el("h3", {}, model.label) : null,
    el("dl", {}, lines.filter(([, text]) => text).map(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])),
  );
}
