// Charts as SVG: they print, follow the colours of the screen, and can be saved.

const FRAME = { width: 460, height: 340, left: 62, right: 14, top: 12, bottom: 38 };

// Returns a chart with labelled axes. `equal`: one unit in x is `equal` times as long as one in y, and the ranges grow
// until they fill the frame. `nameX`, if given, returns the ticks of x as [position, text].
function chart({ x: [lowX, highX], y: [lowY, highY], titleX, titleY, equal, nameX, frame = FRAME, label }) {
  const inner = { width: frame.width - frame.left - frame.right, height: frame.height - frame.top - frame.bottom };
  let scaleX = inner.width / (highX - lowX);
  let scaleY = inner.height / (highY - lowY);
  if (equal) {
    scaleY = Math.min(scaleX / equal, scaleY);
    scaleX = scaleY * equal;
  }
  const middle = [(lowX + highX) / 2, (lowY + highY) / 2];
  const half = [inner.width / 2 / scaleX, inner.height / 2 / scaleY];
  const x = (at) => frame.left + inner.width / 2 + (at - middle[0]) * scaleX;
  const y = (at) => frame.top + inner.height / 2 - (at - middle[1]) * scaleY;
  const root = vector("svg", { viewBox: `0 0 ${frame.width} ${frame.height}`, width: frame.width, height: frame.height, role: "img", "aria-label": label });
  const clip = `clip-${document.querySelectorAll("svg").length}-${Math.round(performance.now() * 1000)}`;
  root.append(vector("clipPath", { id: clip }, vector("rect", { x: frame.left, y: frame.top, width: inner.width, height: inner.height })));
  const text = (words, atX, atY, anchor, turn = "") => root.append(vector("text", { x: atX, y: atY, "text-anchor": anchor, transform: turn }, words));
  const bottom = frame.height - frame.bottom;
  const kind = (at) => (at === 0 ? "zero" : "grid");
  const across = ticks(middle[0] - half[0], middle[0] + half[0], 5);
  const named = nameX ? nameX(middle[0] - half[0], middle[0] + half[0]) : across.values.map((at) => [at, number(at, across.digits)]);
  for (const [at, words] of named) {
    root.append(vector("line", { class: nameX ? "grid" : kind(at), x1: x(at), y1: frame.top, x2: x(at), y2: bottom }));
    text(words, x(at), bottom + 14, "middle");
  }
  const up = ticks(middle[1] - half[1], middle[1] + half[1], 5);
  for (const at of up.values) {
    root.append(vector("line", { class: kind(at), x1: frame.left, y1: y(at), x2: frame.width - frame.right, y2: y(at) }));
    text(number(at, up.digits), frame.left - 4, y(at) + 4, "end");
  }
  text(titleX, frame.left + inner.width / 2, frame.height - 5, "middle");
  text(titleY, 12, frame.top + inner.height / 2, "middle", `rotate(-90 12 ${frame.top + inner.height / 2})`);
  const inside = vector("g", { "clip-path": `url(#${clip})` });
  root.append(inside);
  return { root, inside, x, y, low: [middle[0] - half[0], middle[1] - half[1]], high: [middle[0] + half[0], middle[1] + half[1]], bottom };
}

const padded = (values) => {
  const [low, high] = values.reduce(([least, most], at) => [Math.min(least, at), Math.max(most, at)], [Infinity, -Infinity]);
  const more = (high - low) * 0.06 || 0.5;
  return [low - more, high + more];
};

const dot = (x, y, title, radius = 4) => vector("circle", { class: "dot", cx: x, cy: y, r: radius }, ...(title ? [vector("title", {}, title)] : []));

// Many dots as few elements: thousands of elements would be slow. In several layers, so that overlaps look darker.
const LAYERS = 8;

const dots = (points, radius) => vector("g", { class: "dots", "stroke-width": 2 * radius }, ...Array.from({ length: LAYERS }, (_, layer) =>
  vector("path", { d: points.filter((_, at) => at % LAYERS === layer).map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("") })));

const cross = (x, y, title, half = 4) =>
  vector("path", { class: "cross", d: `M${x - half} ${y - half}l${2 * half} ${2 * half}m0 ${-2 * half}l${-2 * half} ${2 * half}` }, ...(title ? [vector("title", {}, title)] : []));

// Makes a part of a chart open something, by mouse and by keyboard.
function opens(part, label, open) {
  for (const [name, text] of Object.entries({ role: "button", tabindex: "0", "aria-label": label })) part.setAttribute(name, text);
  part.addEventListener("click", open);
  part.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open();
  });
  return part;
}

// Shows a chart and its caption in a figure, with buttons that save it.
function show(figure, root, caption, name) {
  const save = (kind) => element("button", { type: "button", onclick: () => saveChart(root, `${name}.${kind}`) }, kind.toUpperCase());
  figure.replaceChildren(root, element("figcaption", {}, caption, save("svg"), save("png")));
}

const STYLED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-opacity", "font", "text-anchor"];

// Saves an SVG as it looks now: styles of the page are written into its elements.
function saveChart(root, name) {
  const copy = root.cloneNode(true);
  const originals = [root, ...root.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((part, at) => {
    const style = getComputedStyle(originals[at]);
    part.setAttribute("style", STYLED.map((property) => `${property}:${style.getPropertyValue(property)}`).join(";"));
  });
  copy.prepend(vector("rect", { width: "100%", height: "100%", style: `fill:${ink("paper")}` }));
  const text = new XMLSerializer().serializeToString(copy);
  if (name.endsWith(".svg")) return save(new Blob([text], { type: "image/svg+xml" }), name);
  const image = new Image();
  image.onload = () => {
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [2 * root.viewBox.baseVal.width, 2 * root.viewBox.baseVal.height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, name));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  return undefined;
}
