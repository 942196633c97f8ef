// What all plots share: colours of the page, the tip under the cursor, plots that follow the page's width.

// Everything that is drawn again when the colours change.
const drawn = [];
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((plot) => plot.draw()));

// Where the keyboard has shown the tip, only a pointer that is really moved takes it away: when the page scrolls under a
// resting pointer, that leaves a plot and comes to another one, too.
const tip = {
  isHeld: false,
  resting: "",
  at(x, y, text) {
    if (this.isHeld) return;
    const box = byId("tip");
    box.textContent = text;
    box.hidden = false;
    const { clientWidth } = document.documentElement;
    const left = Math.max(4, Math.min(x + 14, clientWidth - box.offsetWidth - 4));
    box.style.left = `${left + window.scrollX}px`;
    box.style.top = `${y + 16 + window.scrollY}px`;
  },
  hold(x, y, text) {
    this.isHeld = false;
    this.at(x, y, text);
    this.isHeld = true;
  },
  hide() {
    this.isHeld = false;
    byId("tip").hidden = true;
  },
  leave() { if (!this.isHeld) this.hide(); },
  follow({ type, screenX, screenY }) {
    const place = `${screenX},${screenY}`;
    if (place !== this.resting || type === "pointerdown") this.isHeld = false;
    this.resting = place;
  },
};
for (const kind of ["pointermove", "pointerdown"]) window.addEventListener(kind, (event) => tip.follow(event), true);
window.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hide(); });

function axis(label, more = {}) {
  const line = { stroke: ink("line"), width: 1 };
  return { label, stroke: ink("ink"), grid: line, ticks: line, font: FONT, labelFont: FONT, ...more };
}

const FONT = '12px system-ui, "DejaVu Sans", sans-serif';

// A plot in an element; `options(width)` returns uPlot's options, `data()` its data.
class Plot {
  constructor(root, options, data) {
    this.root = root;
    this.options = options;
    this.data = data;
    this.width = 0;
    drawn.push(this);
    new ResizeObserver(() => { if (Math.abs(root.clientWidth - this.width) > 1) this.draw(); }).observe(root);
  }

  draw() {
    const hadFocus = this.root.contains(document.activeElement);
    if (this.plot) this.plot.destroy();
    tip.hide();
    this.width = this.root.clientWidth;
    if (!this.width) return;
    this.plot = new uPlot({ ...this.options(this.width), legend: { show: false } }, this.data(), this.root);
    this.watch(this.plot);
    if (hadFocus) this.plot.over.focus({ preventScroll: true });
  }

  // Parts that answer to the pointer override this.
  watch() {}
}

// Adds a share of the range at both ends; on a logarithmic scale a factor.
function padded(low, high, isLog) {
  if (isLog) return [low / 1.3, high * 1.3];
  const room = (high - low) * 0.1 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}
