// The blocks of a model as a tree: the structure of distinct graphs from `defs`, costs from beside it, met on demand.

class Block {
  constructor(model, parent, item, row, index) {
    this.model = model;
    this.parent = parent;
    this.item = item;
    this.values = row[0];
    this.rows = row[1] || [];
    this.depth = parent ? parent.depth + 1 : 0;
    this.key = parent ? (parent.parent ? `${parent.key}.${index}` : `${index}`) : "";
    this.open = false;
    this.below = null;
  }

  get definition() {
    return this.item.opens === undefined ? null : this.model.defs[this.item.opens];
  }

  get children() {
    if (this.below === null) {
      const items = this.definition ? this.definition.items : [];
      this.below = this.rows.map((row, k) => new Block(this.model, this, items[k], row, k));
    }
    return this.below;
  }

  get opens() {
    return this.rows.length > 0;
  }

  get name() {
    return this.item.name;
  }

  get label() {
    return this.item.count === undefined ? this.name : `${this.name} ×${this.item.count}`;
  }

  // The op or block; empty where the node is named like it.
  get kind() {
    return this.item.op === this.item.name ? "" : this.item.op;
  }

  // As reports write it: `*` for the turns of a loop, `0-2` for turns that are folded.
  get path() {
    if (!this.parent) return "";
    const head = this.parent.path;
    const name = this.name.replaceAll("–", "-");
    return head ? `${head}${this.parent.item.rolled ? ".*" : ""}.${name}` : name;
  }

  value(metric) {
    return this.values[data.metrics.indexOf(metric)];
  }

  share(metric) {
    return share(this.value(metric), this.model.root.value(metric));
  }

  fraction(metric) {
    const [part, whole] = [this.value(metric), this.model.root.value(metric)];
    return typeof part === "number" && typeof whole === "number" && whole > 0 ? Math.min(part / whole, 1) : 0;
  }

  above() {
    return this.parent ? [...this.parent.above(), this.parent] : [];
  }
}

for (const [number, model] of data.models.entries()) {
  model.number = number;
  const ends = (named) => named.map(([name, type]) => (named.length > 1 ? `${name} ${type}` : type)).join(", ");
  const item = {
    name: model.label, op: model.graph, family: "block", out: ends(model.outputs), in: ends(model.inputs), opens: 0,
  };
  model.root = new Block(model, null, item, [model.values, model.tree], 0);
  model.root.open = true;
}

// Opens blocks level by level as long as no more than `limit` boxes show; tells how many do.
function openUpTo(root, limit, levels = Infinity) {
  root.open = true;
  let shown = root.children.length;
  let level = root.children;
  for (let k = 1; k < levels && level.length; k += 1) {
    const next = [];
    for (const block of level) {
      if (!block.opens) continue;
      if (shown + block.children.length > limit) continue;
      block.open = true;
      shown += block.children.length;
      next.push(...block.children);
    }
    level = next;
  }
  return shown;
}

function closeAll(block) {
  block.open = !block.parent;
  for (const child of block.below || []) closeAll(child);
}
