// Cost curves with both axes logarithmic: the nearest point of every curve beside the pointer, crossings marked.

const CHART = { height: 400, left: 68, right: 18, top: 16, bottom: 44 };

// Round numbers, as many as there is room for.
function ticks(low, high, most) {
  let found = [];
  for (const steps of [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
    const before = found;
    found = [];
    for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const step of steps) {
        const value = Number((step * 10 ** power).toPrecision(6));
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    if (found.length < 2) return before;
    if (found.length <= most) return found;
  }
  const every = Math.ceil(found.length / most);
  return found.filter((_, k) => k % every === 0);
}

const rounded = (value, unit) => human(value, unit).replace(/\.0+(?=\D|$)/, "").replace(/(\.\d*[1-9])0+(?=\D|$)/, "$1");

// Powers of two where bytes are counted.
function binaryTicks(low, high, most) {
  const [first, last] = [Math.ceil(Math.log2(low)), Math.floor(Math.log2(high))];
  const every = Math.max(1, Math.ceil((last - first + 1) / most));
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, k) => 2 ** (first + k)).filter((_, k) => k % every === 0);
}

function chart(set_) {
  let cost = set_.costs[0];
  let at = null;
  const drawing = svg("svg", {
    class: "chart", tabindex: 0, role: "img", "data-over": set_.over,
  });
  const legend = el("div", { class: "scroll-x" });
  const notes = el("ul", { class: "notes" });
  const said = el("p", { class: "hidden", role: "status" });
  let x = null;
  let y = null;
  let overlay = null;
  let full = 800;

  const name = (k) => set_.labels[k];

  function draw() {
    drawing.setAttribute("viewBox", `0 0 ${full} ${CHART.height}`);
    const points = cost.curves.flatMap((curve) => curve.points);
    if (!points.length) {
      x = null;
      const text = svg("text", { x: full / 2, y: CHART.height / 2, "text-anchor": "middle" }, `No ${cost.label} at any size that is valid.`);
      drawing.replaceChildren(text);
      table();
      return;
    }
    const xs = points.map((p) => p[0]);
    const ys = points.map((p) => p[1]);
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
    let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
    if (y1 / y0 < 1.5) [y0, y1] = [y0 / 1.6, y1 * 1.6];
    else [y0, y1] = [y0 / 1.12, y1 * 1.12];
    const across = full - CHART.left - CHART.right;
    const down = CHART.height - CHART.top - CHART.bottom;
    x = (n) => CHART.left + (x1 === x0 ? 0.5 : Math.log(n / x0) / Math.log(x1 / x0)) * across;
    y = (v) => CHART.top + (1 - Math.log(v / y0) / Math.log(y1 / y0)) * down;
    const bottom = CHART.height - CHART.bottom;
    const grid = svg("g", { class: "grid" });
    for (const n of ticks(x0, x1, full / 70)) {
      grid.append(
        svg("path", { d: `M${x(n).toFixed(1)} ${CHART.top}V${bottom}` }),
        svg("text", { x: x(n).toFixed(1), y: bottom + 18, "text-anchor": "middle" }, exact(n)),
      );
    }
    for (const v of cost.unit === "B" ? binaryTicks(y0, y1, 8) : ticks(y0, y1, 8)) {
      grid.append(
        svg("path", { d: `M${CHART.left} ${y(v).toFixed(1)}H${full - CHART.right}` }),
        svg("text", { x: CHART.left - 8, y: (y(v) + 4).toFixed(1), "text-anchor": "end" }, rounded(v, cost.unit)),
      );
    }
    grid.append(
      svg("text", { class: "axis", x: CHART.left + across / 2, y: CHART.height - 8, "text-anchor": "middle" }, set_.title),
    );
    const crossings = svg("g", { class: "crossings" });
    let before = -Infinity;
    for (const crossing of cost.crossings) {
      if (crossing.at < x0 || crossing.at > x1 || !crossing.value) continue;
      const place = x(crossing.at);
      const known = crossings.querySelector(`[data-at="${crossing.at}"]`);
      crossings.append(svg("circle", { cx: place.toFixed(1), cy: y(crossing.value).toFixed(1), r: 5.5, "data-at": crossing.at }, svg("title", {}, crossing.says)));
      if (known) continue;
      crossings.prepend(svg("path", { d: `M${place.toFixed(1)} ${CHART.top}V${bottom}` }));
      if (place - before < 34) continue;
      before = place;
      crossings.append(svg("text", { x: (place + 5).toFixed(1), y: CHART.top + 11 }, exact(crossing.at)));
    }
    const lines = svg("g", { class: "lines" });
    cost.curves.forEach((curve, k) => {
      const d = curve.points.map(([n, v], i) => `${i ? "L" : "M"}${x(n).toFixed(1)} ${y(v).toFixed(1)}`).join("");
      const path = svg("path", { d, "data-curve": name(k), "stroke-dasharray": DASHES[k % DASHES.length] });
      path.style.stroke = colour(k);
      lines.append(path);
      if (curve.points.length <= 24) {
        for (const [n, v] of curve.points) lines.append(dot(n, v, k, 3));
      }
      if (curve.here) {
        const mark = dot(set_.here[k], curve.here, k, 5);
        mark.classList.add("here");
        mark.append(svg("title", {}, `${name(k)} as shown: ${set_.over} = ${set_.here[k]}`));
        lines.append(mark);
      }
    });
    overlay = svg("g", { class: "overlay" });
    drawing.setAttribute("aria-label", `${cost.label} over ${set_.title}: ${set_.labels.join(", ")}. Arrow keys move along the curves.`);
    drawing.replaceChildren(grid, crossings, lines, overlay);
    table();
    at = null;
    hideTip();
  }

  function dot(n, v, k, r) {
    const found = svg("circle", { cx: x(n).toFixed(1), cy: y(v).toFixed(1), r });
    found.style.fill = colour(k);
    return found;
  }

  function table() {
    const rows = cost.curves.map((curve, k) => {
      const swatch = svg("svg", { width: 30, height: 10, "aria-hidden": "true" }, svg("path", { d: "M1 5H29", "stroke-dasharray": DASHES[k % DASHES.length] }));
      swatch.style.stroke = colour(k);
      return el("tr", {},
        el("th", { scope: "row" }, swatch, " ", name(k)),
        el("td", { class: "order" }, curve.order),
        el("td", { class: "number" }, curve.here ? human(curve.here, cost.unit) : ""),
        el("td", { class: "law" }, el("code", {}, curve.law)));
    });
    const here = [...new Set(set_.here.filter((n) => n !== null))];
    const shown = here.length ? `at ${here.map((n) => exact(n)).join(", ")}` : "";
    legend.replaceChildren(el("table", { class: "laws" },
      el("thead", {}, el("tr", {}, ["", "growth", shown, "closed form"].map((h, k) => el("th", { scope: "col", class: k === 2 ? "number" : null }, h)))),
      el("tbody", {}, rows)));
    const all = cost.crossings.map((crossing) => crossing.says);
    const crossings = all.length > 4 ? [...all.slice(0, 2), `… ${plural(all.length + cost.more - 3, "more crossing")} …`, all[all.length - 1]] : all;
    notes.replaceChildren(...[...crossings, ...cost.notes].map((text) => el("li", {}, text)));
  }

  const sizes = () => [...new Set(cost.curves.flatMap((curve) => curve.points.map((p) => p[0])))].sort((a, b) => a - b);

  // The point of each curve nearest to a size.
  function move(n, pointer) {
    at = n;
    overlay.replaceChildren(svg("path", { d: `M${x(n).toFixed(1)} ${CHART.top}V${CHART.height - CHART.bottom}` }));
    const rows = cost.curves.map((curve, k) => {
      const point = curve.points.find((p) => p[0] === n);
      if (point) overlay.append(dot(point[0], point[1], k, 4.5));
      return [k, point ? point[1] : null];
    });
    const named = rows.filter(([, v]) => v !== null).sort((a, b) => b[1] - a[1]);
    said.textContent = `${set_.over} = ${n}: ${named.map(([k, v]) => `${name(k)} ${human(v, cost.unit)}`).join(", ")}`;
    const box = drawing.getBoundingClientRect();
    const [px, py] = pointer || [box.left + (x(n) / full) * box.width, box.top + box.height / 3];
    showTip(px, py, el("b", {}, `${set_.over} = ${exact(n)}`), el("table", {}, named.map(([k, v]) => {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = colour(k);
      return el("tr", {}, el("td", {}, swatch, name(k)), el("td", { class: "number" }, exact(v, cost.unit)));
    })));
  }

  drawing.addEventListener("pointermove", (event) => {
    if (!x) return;
    const box = drawing.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * full;
    const near = sizes().reduce((best, n) => (Math.abs(x(n) - place) < Math.abs(x(best) - place) ? n : best));
    move(near, [event.clientX, event.clientY]);
  });
  const leave = () => {
    if (overlay) overlay.replaceChildren();
    hideTip();
  };
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") leave();
    if (!step || !x) return;
    event.preventDefault();
    const all = sizes();
    const k = at === null ? (step > 0 ? -1 : all.length) : all.indexOf(at);
    move(all[Math.min(Math.max(k + step, 0), all.length - 1)]);
  });
  new ResizeObserver(([seen]) => {
    const width = Math.round(seen.contentRect.width);
    if (width > 0 && width !== full) {
      full = width;
      draw();
    }
  }).observe(drawing);
  draw();
  const pick = set_.costs.length > 1
    ? choice("cost", set_.costs.map((each) => [each.key, each.label, each.about]), cost.key, (key) => {
      cost = set_.costs.find((each) => each.key === key);
      draw();
    })
    : null;
  return el("div", { class: "panel curves", "data-over": set_.over }, el("div", { class: "bar" }, pick), drawing, legend, notes, said);
}

function curvesSection() {
  if (!data.curves.length) return null;
  const charts = data.curves.map((each) => chart(each));
  const place = el("div", {}, charts[0]);
  const over = data.curves.length > 1
    ? choice("over", data.curves.map((each, k) => [String(k), each.title]), "0", (k) => place.replaceChildren(charts[Number(k)]))
    : null;
  return section("curves", "How the cost grows", over, place);
}
