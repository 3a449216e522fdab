// Where the cost is: blocks as parts of the block above, a row per level; a click makes a block as wide as the page.

const ROW = 34;
const DEEPEST = 9; // rows below the block that is shown
const THINNEST = 0.12; // per cent of the width; what is thinner is not drawn

function icicle(model, scale) {
  const cells = new Map(); // key → element
  let zoomed = model.root;
  let current = "";
  const trail = el("nav", { class: "trail", "aria-label": `Path to the block shown of ${model.label}` });
  const total = el("output", { class: "total" });
  const area = el("div", { class: "cells", role: "tree", "aria-label": `Costs of ${model.label} by block` });
  const nothing = el("p", { class: "hint", hidden: true });

  function draw() {
    const metric = state.metric;
    const whole = zoomed.value(metric);
    total.textContent = human(model.root.value(metric), metric.unit);
    total.title = exact(model.root.value(metric), metric.unit);
    total.dataset.value = model.root.value(metric);
    const measured = typeof whole === "number" && whole > 0;
    nothing.hidden = measured;
    nothing.textContent = measured
      ? ""
      : typeof whole === "number"
        ? `${zoomed.label} has no ${metric.label}.`
        : `A size is left open, and so is the share of each block: ${human(whole)}.`;
    const placed = [];
    const above = zoomed.above();
    above.forEach((block, k) => placed.push([block, 0, 100, k, "above"]));
    let deepest = above.length;
    (function place(block, left, width, level) {
      placed.push([block, left, width, level, block === zoomed ? "shown" : ""]);
      deepest = Math.max(deepest, level);
      if (level - above.length >= DEEPEST || !block.opens || !measured) return;
      const values = block.children.map((child) => child.value(metric));
      const sum = values.reduce((a, b) => a + (typeof b === "number" ? b : 0), 0);
      const base = Math.max(sum, block.value(metric)); // shared weights count once above, and in every place below
      let x = left;
      block.children.forEach((child, k) => {
        const part = base > 0 && typeof values[k] === "number" ? (width * values[k]) / base : 0;
        if (part >= THINNEST) place(child, x, part, level + 1);
        x += part;
      });
    })(zoomed, 0, 100, above.length);
    area.style.height = `${(deepest + 1) * ROW}px`;
    area.style.width = `${zoomed === model.root ? 100 * scale(model) : 100}%`;
    const wide = (area.clientWidth || 1) / 100;
    const kept = new Set();
    for (const [block, left, width, level, role] of placed) {
      kept.add(block.key);
      const cell = cells.get(block.key) || make(block);
      const value = block.value(metric);
      cell.className = `cell ${block.opens ? "block" : block.item.family} ${role}${width * wide < 26 ? " thin" : ""}`;
      cell.style.left = `${left}%`;
      cell.style.width = `${width}%`;
      cell.style.top = `${level * ROW}px`;
      cell.dataset.value = value;
      cell.setAttribute("aria-level", level + 1);
      cell.setAttribute("aria-label", [block.label, human(value, metric.unit), block.share(metric)].join(" "));
      cell.lastChild.textContent = human(value, metric.unit);
    }
    for (const [key, cell] of cells) {
      if (kept.has(key)) continue;
      cell.remove();
      cells.delete(key);
    }
    if (!cells.has(current)) current = zoomed.key;
    for (const [key, cell] of cells) cell.tabIndex = key === current ? 0 : -1;
    if (data.models.length === 1 && !above.length) trail.replaceChildren(el("span", {}, "A click on a block makes it as wide as the page."));
    else trail.replaceChildren(...[...above, zoomed].flatMap((block, k) => {
      const last = block === zoomed;
      const name = block.parent ? block.label : model.label;
      return [
        k ? el("span", { "aria-hidden": "true" }, "›") : null,
        last ? el("strong", {}, name) : el("button", { type: "button", onclick: () => zoom(block) }, name),
      ].filter(Boolean);
    }));
    mark();
  }

  function make(block) {
    const cell = el(
      "div",
      { role: "treeitem", tabindex: -1, "data-key": block.key, "data-path": block.path, "aria-selected": "false" },
      el("b", {}, block.parent ? block.label : model.label), " ", el("span", {}, ""),
    );
    cell.block = block;
    cells.set(block.key, cell);
    area.append(cell);
    return cell;
  }

  function mark() {
    for (const cell of cells.values()) {
      cell.classList.toggle("selected", cell.block === state.selected);
      cell.setAttribute("aria-selected", String(cell.block === state.selected));
    }
  }

  function zoom(block) {
    zoomed = block.opens ? block : block.parent || block;
    current = block.key;
    set("selected", block.parent ? block : null);
    draw();
  }

  function move(block, focus = true) {
    if (!block || !cells.has(block.key)) return;
    for (const cell of cells.values()) cell.tabIndex = -1;
    current = block.key;
    const cell = cells.get(current);
    cell.tabIndex = 0;
    if (focus) cell.focus();
    set("selected", block.parent ? block : null);
  }

  function beside(block, step) {
    if (!block.parent) return null;
    const shown = block.parent.children.filter((each) => cells.has(each.key));
    return shown[shown.indexOf(block) + step];
  }

  const head = el("div", { class: "bar" }, trail, el("span", { class: "gap" }), total);
  area.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const { block } = cell;
    zoom(block === zoomed && block.parent ? block.parent : block);
    move(block, false);
  });
  area.addEventListener("keydown", (event) => {
    const block = cells.has(current) ? cells.get(current).block : zoomed;
    const moves = {
      ArrowRight: () => move(beside(block, 1)),
      ArrowLeft: () => move(beside(block, -1)),
      ArrowDown: () => move(block.children.find((child) => cells.has(child.key))),
      ArrowUp: () => move(block.parent),
      Enter: () => { zoom(block); move(block); },
      " ": () => { zoom(block); move(block); },
      Escape: () => { zoom(zoomed.parent || zoomed); move(zoomed); },
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? null : moves[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  area.addEventListener("pointermove", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell || event.pointerType === "touch") return;
    const { block } = cell;
    const part = block.share(state.metric);
    showTip(
      event.clientX, event.clientY,
      el("b", {}, block.path || model.label),
      el("div", {}, [block.kind, block.item.out].filter(Boolean).join("  ")),
      el("div", {}, `${exact(block.value(state.metric), state.metric.unit)} ${state.metric.label}${part ? ` · ${part}` : ""}`),
    );
  });
  area.addEventListener("pointerleave", hideTip);
  new ResizeObserver(draw).observe(head);
  listeners.metric.push(draw);
  listeners.selected.push(mark);
  return { panel: el("div", { class: "icicle", "data-model": model.label }, head, area, nothing), draw, zoom };
}

function icicles() {
  const several = data.models.length > 1;
  let common = several;
  const scale = (model) => {
    if (!common) return 1;
    const totals = data.models.map((each) => each.root.value(state.metric)).filter((v) => typeof v === "number");
    const value = model.root.value(state.metric);
    return typeof value === "number" && value > 0 ? Math.max(value / Math.max(...totals), 0.02) : 1;
  };
  const all = data.models.map((model) => icicle(model, scale));
  const change = (event) => {
    common = event.target.checked;
    all.forEach((each) => each.draw());
  };
  return {
    all,
    switch: several
      ? el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, onchange: change }), "to one scale")
      : null,
  };
}
