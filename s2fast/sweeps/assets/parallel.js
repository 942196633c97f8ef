// Parallel coordinates: one line per case through its settings and its results.

const MOST_LINES = 200;
const AXIS_PX = 108;

class ParallelPlot extends Plot {
  constructor(root) {
    super(root, (width) => this.settings(width), () => [this.axes.map((_, at) => at), ...this.rows.map((row) => this.axes.map((one) => one.share(row)))]);
    this.axes = [...settingAxes(), ...resultAxes()];
    this.front = new Set(DATA.plots.length ? DATA.fronts[`${DATA.plots[0].cost}|${DATA.plots[0].gain}`] || [] : []);
    root.style.minWidth = `${this.axes.length * AXIS_PX}px`;
    kept.listen(() => this.draw());
    picked.listen(() => this.draw());
    this.draw();
  }

  draw() {
    const rows = [...ROWS.keys()].filter((row) => kept.value.has(row) && !ROWS[row].failed);
    // The front is drawn last, on top, and is not cut off.
    rows.sort((a, b) => this.front.has(a) - this.front.has(b) || a - b);
    this.rows = rows.slice(-MOST_LINES);
    byId("parallel-note").textContent = rows.length > MOST_LINES ? `${MOST_LINES} of ${rows.length} lines are drawn: filter the table to see others.` : "";
    this.root.hidden = this.axes.length < 2 || !this.rows.length;
    if (!this.root.hidden) super.draw();
  }

  settings(width) {
    const style = (row) => ({
      stroke: row === picked.value ? "#e69f00" : ink(this.front.has(row) ? "front" : "case"),
      width: row === picked.value ? 3 : this.front.has(row) ? 2 : 1,
      spanGaps: true,
      points: { show: false },
    });
    return {
      width,
      height: 340,
      padding: [44, 54, 30, 54],
      scales: { x: { time: false, range: () => [-0.3, this.axes.length - 0.7] }, y: { range: () => [-0.04, 1.04] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, ...this.rows.map(style)],
      focus: { alpha: 0.15 },
      cursor: { focus: { prox: 14 }, drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
      hooks: { drawAxes: [(u) => this.decorate(u)], setSeries: [(u, at) => this.tell(u, at)] },
    };
  }

  tell(u, at) {
    if (!at) return tip.leave();
    const box = u.over.getBoundingClientRect();
    return tip.at(box.left + u.cursor.left, box.top + u.cursor.top, describe(this.rows[at - 1]));
  }

  decorate(u) {
    const { ctx } = u;
    const scale = uPlot.pxRatio;
    ctx.save();
    ctx.font = `${11 * scale}px system-ui, "DejaVu Sans", sans-serif`;
    ctx.lineWidth = scale;
    this.axes.forEach((one, at) => {
      const x = u.valToPos(at, "x", true);
      ctx.strokeStyle = ink("line");
      ctx.beginPath();
      ctx.moveTo(x, u.valToPos(0, "y", true));
      ctx.lineTo(x, u.valToPos(1, "y", true));
      ctx.stroke();
      ctx.textAlign = "center";
      ctx.textBaseline = "bottom";
      ctx.fillStyle = ink("soft");
      const words = one.title.split(" ");
      const half = Math.ceil(words.length / 2);
      const lines = one.title.length > 14 && words.length > 1 ? [words.slice(0, half).join(" "), words.slice(half).join(" ")] : [one.title];
      lines.reverse().forEach((line, up) => ctx.fillText(line, x, (16 + 13 * (1 - up) - (lines.length === 1 ? 13 : 0)) * scale, (AXIS_PX - 6) * scale));
      ctx.fillStyle = ink("ink");
      for (const [share, text] of one.labels) {
        const y = u.valToPos(share, "y", true);
        ctx.textBaseline = share === 1 ? "bottom" : share === 0 ? "top" : "middle";
        ctx.textAlign = share === 0 || share === 1 ? "center" : "left";
        ctx.fillText(text, x + (ctx.textAlign === "left" ? 5 * scale : 0), y + (share === 1 ? -3 : share === 0 ? 4 : 0) * scale, (AXIS_PX - 10) * scale);
      }
    });
    ctx.restore();
  }

  watch(u) {
    u.over.addEventListener("pointerleave", () => tip.leave());
    u.over.addEventListener("click", () => {
      const at = u.series.findIndex((series, index) => index && series._focus);
      if (at > 0) pick(this.rows[at - 1]);
    });
  }
}

// Values of a setting are evenly spaced, in the order of the sweep.
function settingAxes() {
  return DATA.settings.map(({ key, values }, setting) => {
    const share = (at) => (values.length > 1 ? at / (values.length - 1) : 0.5);
    return {
      title: shortKey(key),
      share: (row) => share(values.indexOf(ROWS[row].set[setting])),
      labels: values.map((value, at) => [share(at), value || "–"]),
    };
  });
}

// Results that differ, from worst to best.
function resultAxes() {
  return COLUMNS.flatMap(({ name, title, better }) => {
    const known = [...ROWS.keys()].map((row) => valueOf(row, name)).filter(isKnown);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    if (!known.length || low === high) return [];
    const [bottom, top] = better < 0 ? [high, low] : [low, high];
    return [{
      title: title.replace(/:.*$/, ""),
      share: (row) => (isKnown(valueOf(row, name)) ? (valueOf(row, name) - bottom) / (top - bottom) : null),
      labels: [[0, figure(bottom)], [1, figure(top)]],
    }];
  });
}
