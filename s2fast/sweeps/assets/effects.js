// A small plot per setting: the mean of a result for each of its values, all with the same scale.

class EffectPlot extends Plot {
  constructor(root, effect, range) {
    super(root, (width) => this.settings(width), () => [effect.values.map((_, at) => at), effect.means[this.column]]);
    this.effect = effect;
    this.range = range;
  }

  show(column) {
    this.column = column;
    this.draw();
  }

  settings(width) {
    const { values } = this.effect;
    const short = (text) => (text.length > 10 ? `${text.slice(0, 9)}…` : text);
    return {
      width,
      height: 200,
      scales: { x: { time: false, range: () => [-0.4, values.length - 0.6] }, y: { range: () => this.range(this.column) } },
      axes: [
        axis(shortKey(this.effect.setting), { splits: () => values.map((_, at) => at), values: (u, splits) => splits.map((at) => short(values[at] || "")) }),
        axis(undefined, { size: 60 }),
      ],
      series: [{}, { stroke: ink("front"), width: 1.5, points: { show: true, size: 9, fill: ink("front") } }],
      cursor: { drag: { x: false, y: false }, points: { show: false } },
    };
  }

  watch(u) {
    u.over.addEventListener("pointermove", (event) => {
      const box = u.over.getBoundingClientRect();
      const at = Math.max(0, Math.min(this.effect.values.length - 1, Math.round(u.posToVal(event.clientX - box.left, "x"))));
      tip.at(event.clientX, event.clientY, `${this.effect.setting} = ${this.effect.values[at]}\n${titleOf(this.column)}: ${figure(this.effect.means[this.column][at])}`);
    });
    u.over.addEventListener("pointerleave", () => tip.leave());
  }
}

function showEffects() {
  const usable = (name) => DATA.effects.some(({ means }) => means[name].every(isKnown));
  const names = COLUMNS.map(({ name }) => name).filter(usable);
  byId("effects").hidden = !names.length;
  if (!names.length) return;
  const select = byId("effect-column");
  select.append(...names.map((name) => option(name, titleOf(name))));
  const gains = DATA.plots.map(({ gain }) => gain).filter(usable);
  select.value = gains[0] || names[0];
  const range = (column) => {
    const values = DATA.effects.flatMap(({ means }) => means[column]).filter(isKnown);
    return padded(Math.min(...values), Math.max(...values), false);
  };
  const parts = DATA.effects.map((effect) => {
    const box = element("div", {});
    const caption = element("figcaption", {});
    byId("effect-list").append(element("figure", {}, box, caption));
    return { effect, caption, plot: new EffectPlot(box, effect, range) };
  });
  const show = () => {
    for (const { effect, caption, plot } of parts) {
      const means = effect.means[select.value];
      const told = effect.values.map((value, at) => `${value}: ${figure(means[at])}`).join(", ");
      const over = effect.groups === 1 ? "one combination" : `${effect.groups} combinations`;
      const without = effect.left_out.length ? `; not compared: ${effect.left_out.join(", ")}` : "";
      caption.textContent = `${effect.setting}: ${told} (over ${over} of the others${without})`;
      plot.root.hidden = !means.every(isKnown);
      if (!plot.root.hidden) plot.show(select.value);
    }
  };
  select.addEventListener("change", show);
  show();
}
