// Where the boxes of an opened graph stand. Layers, their order and the lanes of values that pass layers are given;
// what hangs on how large boxes are is settled here: places pulled towards neighbours, heights, routes.

const GAP = { x: 22, y: 38, end: 16 };
const STEM = 19; // an edge goes straight down beside its label before it bends
const PAD = 10;
const LINE = 17;
const HEAD = 2 * LINE + 8;
const LANE = 9;
const SWEEPS = 12;
const LABEL = 6; // from an edge to its label
const CODE = getComputedStyle(document.documentElement).getPropertyValue("--code");

const textWidth = (() => {
  const context = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.body).fontFamily;
  const known = new Map();
  return (text, size, weight = 400, face = family) => {
    const key = `${face} ${weight} ${size} ${text}`;
    let width = known.get(key);
    if (width === undefined) {
      context.font = `${weight} ${size}px ${face}`;
      width = context.measureText(text).width;
      known.set(key, width);
    }
    return width;
  };
})();

function figure(block) {
  const value = state.metric ? block.value(state.metric) : 0;
  if (!value) return "";
  const part = block.share(state.metric);
  return human(value, state.metric.unit) + (part ? ` · ${part}` : "");
}

function blockBox(block) {
  const head = textWidth(block.label, 13, 600) + (block.kind ? textWidth(block.kind, 12) + 8 : 0);
  const width = Math.max(head + (block.opens ? 16 : 0), textWidth(figure(block), 11)) + 2 * PAD + 4;
  if (!block.open) return { block, width, height: 2 * LINE + 12, inner: null };
  const inner = plan(block.definition, block);
  return { block, width: Math.max(width, inner.width + 2 * PAD), height: inner.height + HEAD + PAD, inner };
}

function plan(definition, block) {
  const root = !block.parent;
  const items = definition.items.length;
  const inputs = definition.inputs.length;
  const lanes = items + inputs + definition.outputs.length;
  const boxes = new Map();
  definition.layers.forEach((row, layer) => {
    for (const v of row) {
      let box;
      if (v < items) box = blockBox(block.children[v]);
      else if (v < lanes) {
        const end = v < items + inputs ? definition.inputs[v - items] : definition.outputs[v - items - inputs];
        const width = Math.max(textWidth(end[0], 13, 600), textWidth(end[1], 11)) + 4 * PAD;
        box = root ? { end, width, height: 2 * LINE + 10 } : { width: LANE, height: 0 };
      } else box = { width: LANE, height: 0, lane: true };
      boxes.set(v, Object.assign(box, { v, layer, x: 0, y: 0 }));
    }
  });
  for (const box of boxes.values()) {
    box.left = box.right = box.width / 2;
    box.spine = spine(box);
  }
  for (const [label, output, , ...path] of definition.edges) {
    const box = boxes.get(path[0]);
    // a label stands to the right of where its edge begins
    if (shown(label, path, root, items, inputs, lanes)) {
      const start = port(box, output, "exits") - box.x;
      box.right = Math.max(box.right, start + LABEL + textWidth(label, 10.5, 400, CODE));
    }
  }
  const above = new Map();
  const below = new Map();
  const seen = new Set();
  for (const [, , , ...path] of definition.edges) {
    for (let k = 1; k < path.length; k += 1) {
      const [upper, lower] = [boxes.get(path[k - 1]), boxes.get(path[k])];
      const pair = `${upper.v} ${lower.v}`;
      if (lower.lane && seen.has(pair)) continue; // edges of one value share its lane
      seen.add(pair);
      (above.get(lower.v) || above.set(lower.v, []).get(lower.v)).push(upper);
      (below.get(upper.v) || below.set(upper.v, []).get(upper.v)).push(lower);
    }
  }
  const rows = definition.layers.map((row) => row.map((v) => boxes.get(v)));
  places(rows, above, below);
  const height = heights(rows, root, items, lanes);
  const all = [...boxes.values()];
  const left = Math.min(...all.map((box) => box.x - box.left), Infinity);
  const width = Math.max(...all.map((box) => box.x + box.right), -Infinity) - left;
  for (const box of all) box.x -= left;
  const ends = (from, to) => new Map(all.filter((b) => b.v >= from && b.v < to).map((b) => [b.v - from, b.x]));
  return {
    width: all.length ? width : 0,
    height,
    boxes: all.filter((box) => box.block || box.end),
    edges: definition.edges.map((edge) => route(edge, boxes, root, items, inputs, lanes)),
    entries: ends(items, items + inputs),
    exits: ends(items + inputs, lanes),
  };
}

function places(rows, above, below) {
  for (const row of rows) {
    let x = 0;
    for (const box of row) {
      box.x = x + box.left;
      x += box.left + box.right + GAP.x;
    }
    for (const box of row) box.x -= x / 2;
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const near = sweep % 2 === 0 ? above : below;
    for (const row of sweep % 2 === 0 ? rows : [...rows].reverse()) pull(row, near);
  }
}

// Moves the boxes of a layer towards their neighbours as far as they leave each other room.
function pull(row, near) {
  const wanted = row.map((box) => {
    let total = 0;
    let weights = 0;
    for (const other of near.get(box.v) || []) {
      const weight = Boolean(other.lane) === Boolean(box.lane) ? 1 : 0.1; // what passes layers bends, not the spine
      total += weight * (other.x + other.spine - box.spine);
      weights += weight;
    }
    return weights ? total / weights : box.x;
  });
  const room = (k) => row[k - 1].right + row[k].left + (row[k].lane && row[k - 1].lane ? 4 : GAP.x);
  const right = [...wanted];
  for (let k = 1; k < row.length; k += 1) right[k] = Math.max(right[k], right[k - 1] + room(k));
  const left = [...wanted];
  for (let k = row.length - 2; k >= 0; k -= 1) left[k] = Math.min(left[k], left[k + 1] - room(k + 1));
  row.forEach((box, k) => {
    box.x = (left[k] + right[k]) / 2;
  });
}

function heights(rows, root, items, lanes) {
  let y = 0;
  rows.forEach((row, k) => {
    const height = Math.max(0, ...row.map((box) => box.height));
    for (const box of row) {
      if (box.lane || box.height === 0) {
        box.y = y;
        box.height = height;
      } else box.y = y + (height - box.height) / 2;
    }
    y += height;
    if (k < rows.length - 1) {
      // a value that enters or leaves an opened block bears its label outside
      const entering = k === 0 && row.every((box) => box.v >= items && box.v < lanes);
      y += !root && (entering || k === rows.length - 2) ? GAP.end : GAP.y;
    }
  });
  return y;
}

function route(edge, boxes, root, items, inputs, lanes) {
  const [label, output, operand, ...path] = edge;
  const passed = path.map((v) => boxes.get(v));
  const [source, target] = [passed[0], passed[passed.length - 1]];
  const points = [[port(source, output, "exits"), source.y + source.height]];
  if (shown(label, path, root, items, inputs, lanes)) points.push([points[0][0], points[0][1] + STEM]);
  for (const lane of passed.slice(1, -1)) points.push([lane.x, lane.y], [lane.x, lane.y + lane.height]);
  points.push([port(target, operand, "entries"), target.y]);
  return { points, label: shown(label, path, root, items, inputs, lanes) ? label : "" };
}

// Whether the type of a value stands at an edge: one that enters or leaves an opened block bears it outside.
function shown(label, path, root, items, inputs, lanes) {
  const [first, last] = [path[0], path[path.length - 1]];
  const entering = first >= items && first < items + inputs;
  const leaving = last >= items + inputs && last < lanes;
  return label !== "" && !entering && !(leaving && !root);
}

// Where the first value passes through an opened box, from its centre; the centre, if it leaves elsewhere than it enters:
// else a chain of such boxes would be a staircase.
function spine(box) {
  if (!box.inner) return 0;
  const [entry, exit] = [box.inner.entries.get(0), box.inner.exits.get(0)];
  return entry === undefined || exit === undefined || Math.abs(entry - exit) > 30 ? 0 : (entry + exit - box.inner.width) / 2;
}

// Where an edge meets a box: where the value goes on inside, else the middle.
function port(box, k, side) {
  const inside = box.inner ? box.inner[side].get(k) : undefined;
  return inside === undefined ? box.x : box.x - box.inner.width / 2 + inside;
}
