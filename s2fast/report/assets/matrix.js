// The interactive matrix of all pairs.

const SEPARATE_PX = 600; // minimum page width for names along the sides
const LEAST_PX = 360; // smallest side of the matrix
const ABOVE_PX = 245; // height of what is above the matrix

const VALUES = {
  similarity: { title: "similarity [%]", of: (pair) => value("similarity_pct", pair), digits: 2 },
  inliers: { title: "inliers [count, logarithmic]", of: (pair) => value("n_inliers", pair), digits: 0, logarithmic: true },
  shift: { title: `shift of verified pairs [${UNIT}]`, of: (pair) => (value("verified", pair) ? shiftOf(pair) : null), digits: 2 },
  verdict: { title: "verdict", of: verdictOf },
};

class Matrix {
  constructor(open) {
    this.open = open;
    this.canvas = byId("matrix-canvas");
    this.valueChoice = byId("matrix-value");
    this.orderChoice = byId("matrix-order");
    for (const [name, kind] of Object.entries(VALUES)) {
      const known = name === "similarity" || this.pairs().some((pair) => (name === "verdict" ? verdictOf(pair) !== "not run" : isKnown(kind.of(pair))));
      const reason = VERIFICATION_RAN ? " (none found)" : " (run verify first)";
      this.valueChoice.append(element("option", { value: name, disabled: !known }, known ? name : name + reason));
    }
    if (VERIFICATION_RAN) this.valueChoice.value = "verdict";
    this.at = { row: 0, column: Math.min(1, SCENES.length - 1) };
    this.valueChoice.addEventListener("change", () => this.draw());
    this.orderChoice.addEventListener("change", () => this.draw());
    this.canvas.addEventListener("mousemove", (event) => this.pointAt(event));
    this.canvas.addEventListener("click", (event) => { this.pointAt(event); this.enter(); });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("focus", () => this.mark());
    this.canvas.addEventListener("mouseleave", () => { byId("matrix-tip").hidden = true; });
    window.addEventListener("resize", () => this.draw());
    onColours.push(() => this.draw());
    this.draw();
  }

  pairs() { return Array.from({ length: N_PAIRS }, (_, pair) => pair); }

  scene(index) { return this.order[index]; }

  pairAt({ row, column }) { return row === column ? -1 : PAIR_AT[this.scene(row) * SCENES.length + this.scene(column)]; }

  draw() {
    this.kind = VALUES[this.valueChoice.value];
    const byTime = this.orderChoice.value === "time";
    this.order = byTime ? SCENES.map((_, scene) => scene) : DATA.similarity_order;
    const count = SCENES.length;
    const width = this.canvas.parentElement.clientWidth;
    this.named = width >= SEPARATE_PX && count <= 110;
    this.gaps = this.order.map((scene, index) => (byTime && index ? this.gap(this.order[index - 1], scene) : 0));
    const between = this.gaps.reduce((sum, gap) => sum + gap, 0);
    // With its heading and the readout it fits the screen.
    const most = Math.min(width, Math.max(LEAST_PX, window.innerHeight - ABOVE_PX));
    this.margin = 6;
    const fitting = () => Math.max(1, Math.min(40, Math.floor((most - this.margin - between) / count)));
    this.cell = fitting();
    if (this.named) {
      this.margin = 14 + (this.nameWidth() * this.nameSize()) / 12;
      this.cell = fitting();
    }
    let start = this.margin;
    this.starts = this.gaps.map((gap) => { start += gap + this.cell; return start - this.cell; });
    const side = start + 2;
    this.context = sized(this.canvas, side, side);
    this.scale = this.colours();
    for (let row = 0; row < count; row++) {
      for (let column = 0; column < count; column++) this.fill(row, column);
    }
    if (this.named) this.names();
    this.mark();
  }

  // Room between scenes of different tiles, and less between years.
  gap(before, after) {
    if (SCENES[before].tile !== SCENES[after].tile) return 8;
    return SCENES[before].date.slice(0, 4) === SCENES[after].date.slice(0, 4) ? 0 : 4;
  }

  nameSize() { return Math.max(7, Math.min(12, this.cell - 1)); }

  nameWidth() {
    const context = this.canvas.getContext("2d");
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    return Math.max(0, ...SCENES.map((scene) => context.measureText(scene.label.slice(0, 28)).width));
  }

  // Draws the legend; returns a function from pair to colour: a colour ramp for numbers, or one colour per verdict.
  colours() {
    const legend = byId("legend");
    legend.replaceChildren();
    if (this.kind === VALUES.verdict) {
      for (const name of Object.keys(VERDICT_COLOURS)) {
        const count = this.pairs().filter((pair) => verdictOf(pair) === name).length;
        if (count) legend.append(element("span", { title: meaningOf(name) }, element("i", { style: `background:${verdictColour(name)}` }), `${name}: ${number(count)}`));
      }
      return (pair) => verdictColour(verdictOf(pair)) || "#000000";
    }
    const numbers = this.pairs().map(this.kind.of).filter(isKnown).sort((a, b) => a - b);
    // Use a high quantile as the maximum, so that one extreme value does not darken all others.
    const high = numbers[Math.ceil((numbers.length - 1) * 0.995)] || 1;
    const more = numbers[numbers.length - 1] > high ? " or more" : "";
    const { logarithmic, digits, title } = this.kind;
    const share = (at) => (logarithmic ? Math.log1p(at) / Math.log1p(high) : at / high);
    const ramp = element("canvas", { class: "ramp", role: "img", "aria-label": `colours from 0 to ${number(high, digits)}` });
    ramp.width = 220;
    ramp.height = 1;
    const context = ramp.getContext("2d");
    for (let x = 0; x < 220; x++) { context.fillStyle = viridis(x / 219); context.fillRect(x, 0, 1, 1); }
    legend.append(element("span", {}, title), element("span", {}, "0"), ramp, element("span", {}, `${number(high, digits)}${more}`));
    if (numbers.length < N_PAIRS) legend.append(element("span", {}, element("i", { style: `background:${verdictColour("not run")}` }), "unknown"));
    return (pair) => { const at = this.kind.of(pair); return isKnown(at) ? viridis(share(at)) : verdictColour("not run"); };
  }

  fill(row, column) {
    const pair = this.pairAt({ row, column });
    const gap = this.cell > 5 ? 1 : 0;
    this.context.fillStyle = pair < 0 ? ink("empty") : this.scale(pair);
    this.context.fillRect(this.starts[column], this.starts[row], this.cell - gap, this.cell - gap);
  }

  names() {
    const context = this.context;
    const size = this.nameSize();
    const each = Math.ceil(8 / this.cell);
    context.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
    context.fillStyle = ink("ink");
    context.textBaseline = "middle";
    for (let index = 0; index < SCENES.length; index += each) {
      const label = SCENES[this.scene(index)].label.slice(0, 28);
      const middle = this.starts[index] + this.cell / 2;
      context.textAlign = "right";
      context.fillText(label, this.margin - 5, middle);
      context.save();
      context.translate(middle, this.margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(label, 0, 0);
      context.restore();
    }
  }

  mark() {
    const [left, top] = [this.starts[this.at.column] ?? 0, this.starts[this.at.row] ?? 0];
    const side = this.context.canvas.clientWidth;
    const box = (id, x, y, width, height) => Object.assign(byId(id).style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    box("matrix-mark", left - 3, top - 3, this.cell + 5, this.cell + 5);
    box("matrix-row", 0, top, side, this.cell);
    box("matrix-column", left, 0, this.cell, side);
    this.read();
  }

  read() {
    const pair = this.pairAt(this.at);
    // Always in the order query, train, on which the sign of the shift depends.
    const scenes = pair >= 0 ? [PAIRS.query[pair], PAIRS.train[pair]] : [this.at.row, this.at.column].map((index) => this.scene(index));
    const names = scenes.map((scene) => SCENES[scene]?.label);
    const parts = [];
    if (pair >= 0) {
      parts.push(`similarity ${number(value("similarity_pct", pair), 2)} %`, `${number(value("n_good", pair))} good matches`);
      if (isKnown(value("n_inliers", pair))) parts.push(`${number(value("n_inliers", pair))} inliers`);
      if (isKnown(value("dx_m", pair))) parts.push(`shift ${shiftText(pair)}`);
      if (isKnown(value("rival_dx_m", pair))) parts.push(`or ${shiftText(pair, "rival_")}`);
      if (isKnown(value("rotation_deg", pair))) parts.push(`rotation ${turnText(value("rotation_deg", pair))}`);
      parts.push(verdictOf(pair) === "not run" ? "not verified: run verify" : verdictOf(pair));
    }
    const what = this.at.row === this.at.column ? "the same scene" : parts.join(", ") || "not computed";
    byId("readout").replaceChildren(...withWholeDates(names[0] ? `${names[0]} and ${names[1]}: ${what}` : "no scenes"));
  }

  pointAt(event) {
    const at = (offset) => this.starts.findLastIndex((start) => offset >= start);
    const [row, column] = [at(event.offsetY), at(event.offsetX)];
    byId("matrix-tip").hidden = row < 0 || column < 0;
    if (row < 0 || column < 0) return;
    if (row !== this.at.row || column !== this.at.column) {
      this.at = { row, column };
      this.mark();
    }
    this.tip(event.clientX, event.clientY);
  }

  // The numbers of the pair beside the cursor.
  tip(x, y) {
    const box = byId("matrix-tip");
    box.textContent = byId("readout").textContent;
    const left = x + 16 + box.offsetWidth > document.documentElement.clientWidth ? x - 16 - box.offsetWidth : x + 16;
    Object.assign(box.style, { left: `${Math.max(4, left)}px`, top: `${Math.max(4, Math.min(y + 16, window.innerHeight - box.offsetHeight - 4))}px` });
  }

  key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in steps) {
      const last = SCENES.length - 1;
      const [down, right] = steps[event.key];
      this.at = { row: Math.min(last, Math.max(0, this.at.row + down)), column: Math.min(last, Math.max(0, this.at.column + right)) };
      this.mark();
    } else if (event.key === "Enter" || event.key === " ") this.enter();
    else return;
    event.preventDefault();
  }

  enter() {
    const pair = this.pairAt(this.at);
    if (pair >= 0) this.open(pair);
  }
}
