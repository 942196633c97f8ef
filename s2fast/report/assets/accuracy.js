// Accuracy of the run: the shifts of its verified pairs, and how their inliers scatter about them.

function showAccuracy() {
  const { accuracy } = DATA;
  if (!accuracy) {
    byId("accuracy").hidden = true;
    return;
  }
  const drawn = accuracy.drawn < accuracy.inliers ? `, ${number(accuracy.drawn)} of them, evenly chosen, for radii and pictures` : "";
  byId("accuracy-note").textContent = `From all ${number(accuracy.inliers)} inliers of ${number(accuracy.pairs)} verified ${accuracy.pairs === 1 ? "pair" : "pairs"}${drawn}.`;
  if (DATA.summary.in_pixels) byId("accuracy-table").caption.textContent = "Pixels, right and up";
  const rows = [["between", "Shifts of pairs"], ["within", "Inliers about the shift of their pair"]];
  for (const [name, title] of rows) {
    const { mean, std, rmse, ce90, ce95 } = accuracy[name];
    const cells = [mean, std, rmse].map((both) => both.map(metres).join(", ")).concat([ce90, ce95].map(metres));
    const head = element("th", { scope: "row" }, title);
    if (name === "within") explained(head, "residual");
    byId("accuracy-table").tBodies[0].append(element("tr", {}, head, ...cells.map((text) => element("td", { class: "number" }, text))));
  }
  drawHistogram(byId("accuracy-histogram"), accuracy);
  drawCloud(byId("accuracy-cloud"), accuracy);
}

function drawHistogram(figure, { histogram: { limit_m: limit, counts }, within: { ce90, ce95 } }, name = "residuals") {
  const most = Math.max(...counts);
  const { root, inside, x, y } = chart({ x: [0, limit], y: [0, most * 1.05], titleX: `residual [${UNIT}]`, titleY: "inliers", frame: { ...FRAME, left: 78 }, label: "Histogram of residuals" });
  counts.forEach((count, bin) => {
    const [left, right] = [bin, bin + 1].map((at) => x((at * limit) / counts.length));
    inside.append(vector("rect", { class: "bar", x: left, y: y(count), width: right - left, height: y(0) - y(count) }, vector("title", {}, `${number(count)} inliers`)));
  });
  for (const at of [ce90, ce95]) inside.append(vector("line", { class: "ring", x1: x(at), x2: x(at), y1: y(0), y2: y(most * 1.05) }));
  show(figure, root, `Lengths of residuals; dashed: CE90, ${metres(ce90)} ${UNIT}, and CE95, ${metres(ce95)} ${UNIT}`, name);
}

function drawCloud(figure, { cloud: { limit_m: limit, counts }, within: { ce90, mean } }) {
  const { root, inside, x, y } = chart({ x: [-limit, limit], y: [-limit, limit], equal: 1, titleX: `residual ${TO}${EAST} [${UNIT}]`, titleY: `${TO}${NORTH} [${UNIT}]`, label: `Residuals ${TO}${EAST} and ${NORTH}` });
  const most = Math.max(...counts.flat());
  const step = (2 * limit) / counts.length;
  counts.forEach((row, down) => row.forEach((count, right) => {
    if (!count) return;
    const [left, top] = [x(-limit + right * step), y(limit - down * step)];
    const size = [x(-limit + (right + 1) * step) - left + 0.3, y(limit - (down + 1) * step) - top + 0.3];
    inside.append(vector("rect", { x: left, y: top, width: size[0], height: size[1], fill: viridis(Math.sqrt(count / most)), stroke: "none" }));
  }));
  inside.append(vector("circle", { class: "ring", cx: x(mean[0]), cy: y(mean[1]), r: x(ce90) - x(0) }));
  show(figure, root, `Number of inliers by residual, brighter for more; dashed: CE90, ${metres(ce90)} ${UNIT}`, "residual-cloud");
}

const BINS = 30;

// The lengths of the residuals of all inliers of a pair.
function drawLengths(figure, residuals) {
  figure.hidden = !residuals;
  if (!residuals) return;
  const lengths = Array.from(residuals.east, (east, at) => Math.hypot(east, residuals.north[at]));
  const limit = Math.max(ce(residuals, 0.98), 1e-6);
  const counts = Array(BINS).fill(0);
  for (const length of lengths) if (length <= limit) counts[Math.min(BINS - 1, Math.floor((length / limit) * BINS))] += 1;
  const within = { ce90: ce(residuals, 0.9), ce95: ce(residuals, 0.95) };
  drawHistogram(figure, { histogram: { limit_m: limit, counts }, within }, "residuals-of-pair");
}

const PROFILE = { ...FRAME, height: 170 };

// The mean residuals of a pair by the query's rows and by its columns: level if it is shifted only, sloping if it is
// turned or scaled, bent if it is warped.
function drawProfile(figure, pair, packed) {
  figure.hidden = !isKnown(packed);
  if (figure.hidden) return;
  const means = Array.from(new Int16Array(bytesOf(packed).buffer), (at) => (at === -32768 ? null : at / 100));
  const parts = means.length / 4;
  const profiles = [["row", 0], ["column", 2]].map(([name, at]) => [name, [0, 1].map((axis) => means.slice((at + axis) * parts, (at + axis + 1) * parts))]);
  const reach = padded([0, ...means.filter(isKnown)]);
  const both = vector("svg", { viewBox: `0 0 ${PROFILE.width} ${2 * PROFILE.height}`, width: PROFILE.width, height: 2 * PROFILE.height, role: "img", "aria-label": "Mean residuals by rows and columns of the query" });
  profiles.forEach(([name, axes], row) => {
    const side = SCENES[PAIRS.query[pair]][name === "row" ? "rows" : "cols"];
    const { root, inside, x, y } = chart({ x: [0, side], y: reach, titleX: `${name} of the query [px]`, titleY: `residual [${UNIT}]`, frame: PROFILE });
    axes.forEach((values, axis) => {
      const points = values.map((at, part) => [((part + 0.5) * side) / parts, at]).filter(([, at]) => isKnown(at));
      inside.append(vector("polyline", { class: axis ? "north" : "east", points: points.map(([across, at]) => `${x(across)},${y(at)}`).join(" ") }));
    });
    root.setAttribute("y", row * PROFILE.height);
    root.removeAttribute("role");
    both.append(root);
  });
  show(figure, both, `Mean residual of all inliers by row and by column: solid ${EAST}, dashed ${NORTH}. Level: a shift is all there is`, "residuals-by-place");
}
