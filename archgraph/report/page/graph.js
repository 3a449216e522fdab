// The block graph: boxes that open in place, values as edges, one panel per model.

const OPENED_AT_FIRST = 36;
const OPENED_AT_MOST = 1200;
const LEGIBLE = 0.45;

function graphPanel(model) {
  const drawing = svg("svg", { role: "tree", "aria-label": `Block graph of ${model.label}` });
  const scroller = el("div", { class: "scroll", tabindex: -1 }, drawing);
  const said = el("span", { class: "said", role: "status" });
  let zoom = 1;
  let size = { width: 1, height: 1 };
  let places = new Map(); // key → {block, x, y, element}
  let order = [];
  let current = null;

  function resize() {
    drawing.setAttribute("width", Math.ceil(size.width * zoom));
    drawing.setAttribute("height", Math.ceil(size.height * zoom));
  }

  function draw() {
    const placed = plan(model.root.definition, model.root);
    const margin = 16;
    size = { width: placed.width + 2 * margin + 40, height: placed.height + 2 * margin };
    places = new Map();
    order = [];
    const marker = `arrow-${model.number}`;
    const head = svg("path", { d: "M0 0L8 4L0 8z" });
    const arrow = { id: marker, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" };
    const layer = svg("g");
    layers(placed, margin, margin, layer, marker);
    drawing.setAttribute("viewBox", `0 0 ${size.width.toFixed(0)} ${size.height.toFixed(0)}`);
    drawing.replaceChildren(svg("defs", {}, svg("marker", arrow, head)), layer);
    resize();
    if (!current || !places.has(current)) current = order.length ? order[0] : null;
    if (current) places.get(current).element.setAttribute("tabindex", 0);
    mark();
  }

  function layers(placed, x, y, into, marker) {
    for (const box of placed.boxes) {
      const left = x + box.x - box.width / 2;
      into.append(box.end ? endBox(box, left, y + box.y) : itemBox(box, left, y + box.y));
      if (box.inner) layers(box.inner, left + (box.width - box.inner.width) / 2, y + box.y + HEAD, into, marker);
    }
    for (const edge of placed.edges) into.append(...edgePath(edge, x, y, marker));
  }

  function itemBox(box, x, y) {
    const { block } = box;
    const { item } = block;
    const text = [block.label, block.kind, item.out, figure(block)].filter(Boolean).join(", ");
    const element = svg(
      "g",
      {
        class: `box ${item.family}${block.open ? " opened" : ""}`,
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
        role: "treeitem", tabindex: -1, "aria-level": block.depth, "aria-label": text,
        "aria-expanded": block.opens ? String(block.open) : null, "data-key": block.key, "data-path": block.path,
      },
      svg("rect", { class: "body", width: box.width.toFixed(1), height: box.height.toFixed(1), rx: 6 }),
      block.open ? null : svg("rect", { class: "stripe", width: 5, height: box.height - 12, x: 0, y: 6, rx: 2 }),
    );
    let left = PAD + 2;
    if (block.opens) {
      const d = block.open ? `M${left} ${LINE - 7}h9l-4.5 6z` : `M${left + 1} ${LINE - 9}v9l6 -4.5z`;
      element.append(svg("path", { class: "twist", d }));
      left += 15;
    }
    element.append(
      svg(
        "text", { class: "name", x: left, y: LINE + 1 },
        block.label,
        block.kind ? svg("tspan", { class: "kind", dx: 7 }, block.kind) : null,
      ),
      svg("text", { class: "figure", x: left, y: 2 * LINE }, figure(block)),
    );
    const part = state.metric ? block.fraction(state.metric) : 0;
    if (part > 0 && !block.open) {
      const width = Math.max(1.5, part * (box.width - 2 * PAD));
      element.append(svg("rect", { class: "rail", x: PAD, y: box.height - 7, width: box.width - 2 * PAD, height: 3, rx: 1.5 }));
      element.append(svg("rect", { class: "part", x: PAD, y: box.height - 7, width: width.toFixed(1), height: 3, rx: 1.5 }));
    }
    places.set(block.key, { block, x, y, element });
    order.push(block.key);
    return element;
  }

  function endBox(box, x, y) {
    const middle = (box.width / 2).toFixed(1);
    return svg(
      "g", { class: "end", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
      svg("rect", { width: box.width.toFixed(1), height: box.height, rx: box.height / 2 }),
      svg("text", { class: "name", x: middle, y: LINE + 1 }, box.end[0]),
      svg("text", { class: "figure", x: middle, y: 2 * LINE }, box.end[1]),
    );
  }

  // A curve that leaves and enters every point vertically.
  function edgePath(edge, x, y, marker) {
    const points = edge.points.map(([a, b]) => [x + a, y + b]);
    let d = `M${points[0][0].toFixed(1)} ${points[0][1].toFixed(1)}`;
    for (let k = 1; k < points.length; k += 1) {
      const [[x0, y0], [x1, y1]] = [points[k - 1], points[k]];
      const end = `${x1.toFixed(1)} ${y1.toFixed(1)}`;
      const bend = (y1 - y0) / 2;
      d += Math.abs(x1 - x0) < 0.5 ? `L${end}` : `C${x0.toFixed(1)} ${(y0 + bend).toFixed(1)} ${x1.toFixed(1)} ${(y1 - bend).toFixed(1)} ${end}`;
    }
    const found = [svg("path", { class: "edge", d, "marker-end": `url(#${marker})` })];
    if (edge.label) {
      const [[x0, y0]] = points;
      const place = { x: (x0 + LABEL).toFixed(1), y: (y0 + 15).toFixed(1) };
      found.push(svg("text", { class: "type", ...place }, edge.label));
    }
    return found;
  }

  function mark() {
    for (const { block, element } of places.values()) {
      element.classList.toggle("selected", block === state.selected);
      element.setAttribute("aria-selected", String(block === state.selected));
    }
  }

  function focus(key, scroll = true) {
    const place = places.get(key);
    if (!place) return;
    if (current && places.has(current)) places.get(current).element.setAttribute("tabindex", -1);
    current = key;
    place.element.setAttribute("tabindex", 0);
    place.element.focus({ preventScroll: true });
    set("selected", place.block);
    if (scroll) reveal(key);
  }

  function reveal(key) {
    const { x, y, element } = places.get(key);
    const box = element.querySelector(".body");
    const [left, top] = [x * zoom, y * zoom];
    const wide = Math.min(Number(box.getAttribute("width")) * zoom, scroller.clientWidth);
    if (left < scroller.scrollLeft) scroller.scrollLeft = left - 12;
    else if (left + wide > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = left + wide - scroller.clientWidth + 12;
    if (top < scroller.scrollTop) scroller.scrollTop = top - 12;
    else if (top + 60 > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + 72 - scroller.clientHeight;
  }

  // Opens or closes a block, which stays where it is on the screen.
  function toggle(block) {
    const before = places.get(block.key);
    block.open = !block.open;
    draw();
    const after = places.get(block.key);
    if (before && after) {
      scroller.scrollLeft += (after.x - before.x) * zoom;
      scroller.scrollTop += (after.y - before.y) * zoom;
    }
    focus(block.key, false);
  }

  function show(block) {
    for (const each of block.above()) each.open = true;
    draw();
    if (places.has(block.key)) {
      reveal(block.key);
      const { x, y } = places.get(block.key);
      scroller.scrollTop = Math.max(0, y * zoom - scroller.clientHeight / 3);
      scroller.scrollLeft = Math.max(0, x * zoom - scroller.clientWidth / 3);
    }
  }

  function key(event) {
    const place = current && places.get(current);
    if (!place) return;
    const { block } = place;
    const at = order.indexOf(current);
    const moves = {
      ArrowDown: () => focus(order[Math.min(at + 1, order.length - 1)]),
      ArrowUp: () => focus(order[Math.max(at - 1, 0)]),
      Home: () => focus(order[0]),
      End: () => focus(order[order.length - 1]),
      ArrowRight: () => (block.opens && !block.open ? toggle(block) : block.open && focus(block.children[0].key)),
      ArrowLeft: () => (block.open ? toggle(block) : block.parent && block.parent.parent && focus(block.parent.key)),
      Enter: () => (block.opens ? toggle(block) : set("selected", block)),
      " ": () => (block.opens ? toggle(block) : set("selected", block)),
    };
    const move = event.ctrlKey || event.metaKey || event.altKey ? null : moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  function scale(factor) {
    const middle = [
      (scroller.scrollLeft + scroller.clientWidth / 2) / zoom, (scroller.scrollTop + scroller.clientHeight / 2) / zoom,
    ];
    zoom = Math.min(2.5, Math.max(0.08, factor));
    resize();
    scroller.scrollLeft = middle[0] * zoom - scroller.clientWidth / 2;
    scroller.scrollTop = middle[1] * zoom - scroller.clientHeight / 2;
  }

  function fit() {
    // all of it, as long as it can be read; else its width
    const across = Math.min((scroller.clientWidth - 8) / size.width, 1.25);
    const whole = Math.min(across, (scroller.clientHeight - 8) / size.height);
    scale(whole >= LEGIBLE ? whole : Math.max(across, LEGIBLE));
    centre();
  }

  function centre() {
    scroller.scrollLeft = Math.max(0, (size.width * zoom - scroller.clientWidth) / 2);
  }

  function openAll() {
    const shown = openUpTo(model.root, OPENED_AT_MOST);
    draw();
    centre();
    let more = false;
    (function look(block) {
      if (block.opens && !block.open) more = true;
      if (block.open) block.children.forEach(look);
    })(model.root);
    said.textContent = plural(shown, "box").replace("boxs", "boxes") + (more ? "; the rest opens on a click" : "");
  }

  function pan(event) {
    if (event.button !== 0 || event.pointerType === "touch" || event.target.closest(".box")) return;
    const from = [event.clientX, event.clientY, scroller.scrollLeft, scroller.scrollTop];
    const move = (e) => {
      scroller.scrollLeft = from[2] - (e.clientX - from[0]);
      scroller.scrollTop = from[3] - (e.clientY - from[1]);
    };
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    event.preventDefault();
  }

  drawing.addEventListener("click", (event) => {
    const box = event.target.closest(".box");
    if (!box) return;
    const { block } = places.get(box.dataset.key);
    if (block.opens) toggle(block);
    else focus(block.key, false);
  });
  drawing.addEventListener("keydown", key);
  drawing.addEventListener("focusin", (event) => {
    const box = event.target.closest(".box");
    if (box) current = box.dataset.key;
  });
  scroller.addEventListener("pointerdown", pan);
  scroller.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    scale(zoom * Math.exp(-event.deltaY / 400));
  }, { passive: false });
  listeners.metric.push(draw);
  listeners.selected.push(mark);

  const button = (label, hint, action) => el("button", { type: "button", title: hint, "aria-label": hint, onclick: action }, label);
  const panel = el(
    "div", { class: "panel graph", "data-model": model.label },
    el(
      "div", { class: "bar" },
      data.models.length > 1 ? el("h3", {}, model.label) : null,
      button("Close all", "Close all blocks", () => { closeAll(model.root); said.textContent = ""; draw(); centre(); }),
      button("Open all", "Open blocks level by level", openAll),
      el("span", { class: "gap" }),
      said,
      button("−", "Smaller", () => scale(zoom / 1.25)),
      button("+", "Larger", () => scale(zoom * 1.25)),
      button("Fit", "Fit into the panel", fit),
    ),
    scroller,
  );
  return {
    panel,
    show,
    start() {
      openUpTo(model.root, OPENED_AT_FIRST);
      draw();
      centre();
    },
  };
}

function legend() {
  const names = {
    conv: "convolution", linear: "linear, contraction", attention: "attention", norm: "norm", activation: "activation",
    elementwise: "element-wise", source: "weights as values", other: "moving data", block: "block",
  };
  const used = new Set(data.models.flatMap((m) => m.defs.flatMap((d) => d.items.map((item) => item.family))));
  const shown = Object.entries(names).filter(([family]) => used.has(family));
  return el("ul", { class: "legend" }, shown.map(([family, name]) => el("li", { class: family }, el("i"), name)));
}
