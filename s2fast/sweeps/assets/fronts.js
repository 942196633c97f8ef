// Plots of gain against cost, with the front on which no case is better in both.

const LABELLED = 60;
const NEAR_PX = 28;

class FrontPlot extends Plot {
  constructor(root, { cost, gain }) {
    const box = element("div", {});
    super(box, (width) => this.settings(width), () => this.series());
    this.cost = cost;
    this.gain = gain;
    this.list = element("p", { class: "note" });
    const select = (which, better, text) => {
      const names = COLUMNS.map(({ name }) => name).filter((name) => (isBetter(name) === better || name === this[which]));
      const made = element("select", { onchange: () => { this[which] = made.value; this.draw(); } }, ...names.map((name) => option(name, titleOf(name))));
      made.value = this[which];
      return element("label", {}, `${text} `, made);
    };
    root.append(element("div", { class: "front-figure" },
      element("div", { class: "controls" }, select("gain", 1, "Gain"), select("cost", -1, "against cost")), box, this.list));
    kept.listen(() => this.draw());
    picked.listen(() => this.draw());
    this.draw();
  }

  arrange() {
    const both = (row) => isKnown(valueOf(row, this.cost)) && isKnown(valueOf(row, this.gain));
    this.rows = [...ROWS.keys()].filter(both).sort((a, b) => valueOf(a, this.cost) - valueOf(b, this.cost) || valueOf(b, this.gain) - valueOf(a, this.gain));
    this.front = new Set(DATA.fronts[`${this.cost}|${this.gain}`] || []);
    this.x = this.rows.map((row) => valueOf(row, this.cost));
    this.y = this.rows.map((row) => valueOf(row, this.gain));
  }

  series() {
    const where = (wanted) => this.rows.map((row, at) => (wanted(row) ? this.y[at] : null));
    const isKept = (row) => kept.value.has(row);
    return [this.x, where((row) => !isKept(row)), where((row) => isKept(row) && !this.front.has(row)), where((row) => this.front.has(row)), where((row) => row === picked.value)];
  }

  draw() {
    this.arrange();
    this.root.hidden = !this.rows.length;
    const names = this.rows.filter((row) => this.front.has(row)).map(caseName);
    const shown = names.slice(0, 12).join("; ") + (names.length > 12 ? `; and ${names.length - 12} more` : "");
    const equal = this.y.length > 1 && this.y.every((value) => value === this.y[0]);
    const told = equal ? ` All cases are equal in ${titleOf(this.gain)} (${figure(this.y[0])}): the other columns decide.` : "";
    this.list.textContent = this.rows.length ? `On the front: ${shown}.${told}` : `No case has both ${titleOf(this.cost)} and ${titleOf(this.gain)}.`;
    if (this.rows.length) super.draw();
  }

  settings(width) {
    const isLog = (values) => Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
    const scale = (values, ends) => {
      const log = isLog(values);
      return { time: false, distr: log ? 3 : 1, range: (u, low, high) => this.zoomed(values, low, high, ends, log) };
    };
    const points = (name, size) => ({ paths: () => null, points: { show: true, size, fill: ink(name), stroke: ink(name) } });
    const step = { stroke: ink("front"), width: 1.5, spanGaps: true, paths: uPlot.paths.stepped({ align: 1 }), points: { show: true, size: 11, fill: ink("front"), stroke: ink("front") } };
    const ring = { paths: () => null, points: { show: true, size: 17, fill: "transparent", stroke: "#e69f00", width: 3 } };
    return {
      width,
      height: Math.max(280, Math.min(460, width * 0.55)),
      scales: { x: scale(this.x, this.ends()), y: scale(this.y, []) },
      axes: [axis(`${titleOf(this.cost)} (less is better)`), axis(`${titleOf(this.gain)} (more is better)`, { size: 64 })],
      series: [{}, points("pale", 7), points("case", 8), step, ring],
      cursor: { points: { show: false }, drag: { x: true, y: true, uni: 20 } },
      hooks: { draw: [(u) => this.decorate(u)] },
    };
  }

  // The range of all values, or as chosen by dragging.
  zoomed(values, low, high, ends, log) {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    if (low !== least || high !== most) return [low, high];
    return padded(Math.min(low, ...ends), Math.max(high, ...ends), log);
  }

  ends() { return this.rows.flatMap((row) => ROWS[row].ends[this.cost] || []); }

  // Draws intervals, and the numbers of the cases.
  decorate(u) {
    const { ctx } = u;
    const scale = uPlot.pxRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    const place = (at) => [u.valToPos(this.x[at], "x", true), u.valToPos(this.y[at], "y", true)];
    this.rows.forEach((row, at) => {
      const ends = ROWS[row].ends[this.cost];
      if (!ends) return;
      const y = place(at)[1];
      const [low, high] = ends.map((end) => u.valToPos(end, "x", true));
      ctx.strokeStyle = ink(this.front.has(row) ? "front" : "case");
      ctx.lineWidth = scale;
      ctx.beginPath();
      ctx.moveTo(low, y);
      ctx.lineTo(high, y);
      for (const end of [low, high]) {
        ctx.moveTo(end, y - 4 * scale);
        ctx.lineTo(end, y + 4 * scale);
      }
      ctx.stroke();
    });
    ctx.restore();
    ctx.save();
    ctx.font = `${11 * scale}px system-ui, "DejaVu Sans", sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "bottom";
    const { left, top, width, height } = u.bbox;
    this.rows.forEach((row, at) => {
      const [x, y] = place(at);
      const isInside = x >= left && x <= left + width && y >= top && y <= top + height;
      if (!isInside || (this.rows.length > LABELLED && !this.front.has(row))) return;
      ctx.fillStyle = ink(kept.value.has(row) ? "ink" : "pale");
      // Above the point, also where the plot ends.
      ctx.fillText(String(row + 1), x + 5 * scale, y - 4 * scale);
    });
    ctx.restore();
  }

  watch(u) {
    const { over } = u;
    over.tabIndex = 0;
    over.setAttribute("role", "application");
    over.setAttribute("aria-label", `${titleOf(this.gain)} against ${titleOf(this.cost)}: arrow keys go from case to case, Enter finds it in the table`);
    const place = (at) => [u.valToPos(this.x[at], "x"), u.valToPos(this.y[at], "y")];
    const show = (at, told) => {
      this.current = at;
      const box = over.getBoundingClientRect();
      const [x, y] = place(at);
      tip[told](box.left + x, box.top + y, describe(this.rows[at]));
    };
    const near = (event) => {
      const box = over.getBoundingClientRect();
      const away = this.rows.map((_, at) => Math.hypot(place(at)[0] - (event.clientX - box.left), place(at)[1] - (event.clientY - box.top)));
      const at = away.indexOf(Math.min(...away));
      return away[at] <= NEAR_PX ? at : -1;
    };
    for (const kind of ["pointermove", "pointerdown"]) {
      over.addEventListener(kind, (event) => {
        const at = near(event);
        if (at < 0) tip.leave();
        else show(at, "at");
      });
    }
    over.addEventListener("pointerleave", () => tip.leave());
    over.addEventListener("blur", () => tip.hide());
    over.addEventListener("click", (event) => { if (near(event) >= 0) pick(this.rows[near(event)]); });
    over.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step) {
        event.preventDefault();
        const from = isKnown(this.current) ? this.current : step > 0 ? -1 : this.rows.length;
        show(Math.max(0, Math.min(this.rows.length - 1, from + step)), "hold");
      }
      if (event.key === "Enter" && isKnown(this.current)) pick(this.rows[this.current]);
    });
  }
}

// Marks a case in the plots and shows it in the table.
function pick(row) {
  picked.set(row);
  const line = document.querySelector(`#case-table tr[data-row="${row}"]`);
  if (line) line.scrollIntoView({ block: "center" });
}
