// The page put together.

const page = document.getElementById("page");

function themeSwitch() {
  const change = (value) => {
    if (value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
  };
  return choice("colours", [["auto", "auto"], ["light", "light"], ["dark", "dark"]], "auto", change);
}

function build() {
  if (!data.models.length) {
    page.replaceChildren(el("header", { class: "top" }, el("h1", {}, data.title)), curvesSection(), foot());
    return;
  }
  const several = data.models.length > 1;
  const cost = icicles();
  const graphs = data.models.map((model) => graphPanel(model));
  const zoom = (block) => {
    const each = cost.all[block.model.number];
    each.zoom(block);
    each.panel.scrollIntoView({ block: "nearest" });
  };
  const show = (block) => graphs[block.model.number].show(block);
  const metrics = choice(
    "cost", partMetrics.map((metric) => [metric.key, metric.label, metric.about]), state.metric.key,
    (key) => set("metric", partMetrics.find((metric) => metric.key === key)),
  );
  const about = el("p", { class: "about" });
  const tell = () => {
    about.textContent = state.metric.about;
  };
  listeners.metric.push(tell);
  tell();
  const main = el("div", { class: several ? "graphs several" : "graphs" }, el("div", { class: "side" }, graphs.map((each) => each.panel)), inspector(zoom, show));
  page.replaceChildren(
    ...[
      several ? overviewOfSeveral() : overviewOfOne(data.models[0]),
      el("div", { class: "sticky" }, metrics, cost.switch, el("span", { class: "gap" }), about),
      section("icicle", "Where the cost is", null, cost.all.map((each) => each.panel)),
      section("graph", "The block graph", legend(), main),
      curvesSection(),
      claimsSection(),
      section("conditions", "Counted how", null, data.models.map(conditions)),
      foot(),
    ].filter(Boolean),
  );
  for (const each of cost.all) each.draw();
  for (const each of graphs) each.start();
  if (!several) set("selected", costliest(data.models[0].root));
}

// The part that costs most, so that something is chosen.
function costliest(root) {
  const cost = (block) => (typeof block.value(state.metric) === "number" ? block.value(state.metric) : 0);
  return root.children.reduce((best, block) => (best === null || cost(block) > cost(best) ? block : best), null);
}

function foot() {
  return el("footer", {}, el("span", {}, "Made by archgraph. This page loads nothing."), el("span", { class: "gap" }), themeSwitch());
}

build();
