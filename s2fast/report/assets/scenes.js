// The scenes: a map of their footprints, a plot of their offsets, and a list with thumbnails.

const TILE_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

const MAP = { width: 460, height: 340, left: 62, right: 14, top: 12, bottom: 30 };

// Returns an SVG with labelled axes over [low, high] in both directions; one unit in x is as long as `stretch` in y.
function chart([lowX, highX], [lowY, highY], stretch, titleX, titleY) {
  const inner = { width: MAP.width - MAP.left - MAP.right, height: MAP.height - MAP.top - MAP.bottom };
  const scale = Math.min(inner.width / ((highX - lowX) * stretch), inner.height / (highY - lowY));
  const [middleX, middleY] = [(lowX + highX) / 2, (lowY + highY) / 2];
  const x = (at) => MAP.left + inner.width / 2 + (at - middleX) * stretch * scale;
  const y = (at) => MAP.top + inner.height / 2 - (at - middleY) * scale;
  const root = vector("svg", { viewBox: `0 0 ${MAP.width} ${MAP.height}`, width: MAP.width, height: MAP.height, role: "img" });
  const line = (x1, y1, x2, y2, stroke) => root.append(vector("line", { x1, y1, x2, y2, stroke }));
  const text = (words, atX, atY, anchor, turn = "") => root.append(vector("text", { x: atX, y: atY, "text-anchor": anchor, transform: turn }, words));
  const bottom = MAP.height - MAP.bottom;
  const half = { x: inner.width / 2 / scale / stretch, y: inner.height / 2 / scale };
  const across = ticks(middleX - half.x, middleX + half.x, 5);
  for (const at of across.values) { line(x(at), MAP.top, x(at), bottom, at === 0 ? "#8c959f" : "#e3e7eb"); text(number(at, across.digits), x(at), bottom + 14, "middle"); }
  const up = ticks(middleY - half.y, middleY + half.y, 5);
  for (const at of up.values) { line(MAP.left, y(at), MAP.width - MAP.right, y(at), at === 0 ? "#8c959f" : "#e3e7eb"); text(number(at, up.digits), MAP.left - 4, y(at) + 4, "end"); }
  text(titleX, MAP.left + inner.width / 2, MAP.height - 3, "middle");
  text(titleY, 12, MAP.top + inner.height / 2, "middle", `rotate(-90 12 ${MAP.top + inner.height / 2})`);
  return { root, x, y };
}

const padded = (values) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const more = (high - low) * 0.06 || 0.5;
  return [low - more, high + more];
};

function drawMap() {
  const corners = SCENES.flatMap((scene) => scene.footprint);
  if (!corners.length) return;
  const latitudes = padded(corners.map(([, north]) => north));
  const stretch = Math.cos(((latitudes[0] + latitudes[1]) / 2) * (Math.PI / 180));
  const { root, x, y } = chart(padded(corners.map(([east]) => east)), latitudes, stretch, "longitude", "latitude");
  const tiles = [...new Set(SCENES.map((scene) => scene.tile))];
  const drawn = new Map();
  for (const scene of SCENES) {
    const points = scene.footprint.map(([east, north]) => `${x(east).toFixed(1)},${y(north).toFixed(1)}`).join(" ");
    if (!drawn.has(points)) drawn.set(points, { scene, names: [] });
    drawn.get(points).names.push(scene.label);
  }
  for (const [points, { scene, names }] of drawn) {
    const colour = TILE_COLOURS[tiles.indexOf(scene.tile) % TILE_COLOURS.length];
    const title = vector("title", {}, `${names.length} scenes: ${names.join(", ")}`);
    root.append(vector("polygon", { points, fill: colour, "fill-opacity": 0.15, stroke: colour, "stroke-width": 2 }, title));
    const upper = scene.footprint.reduce((best, point) => (point[1] - point[0] > best[1] - best[0] ? point : best));
    const label = `${scene.tile || scene.label} (${names.length})`;
    root.append(vector("text", { x: x(upper[0]) + 6, y: y(upper[1]) + 18 }, label));
  }
  root.setAttribute("aria-label", `Map of ${SCENES.length} scenes in ${drawn.size} footprints`);
  byId("map").append(root);
}

// What offsets are relative to: a scene that is held fixed, or medians of scenes that pairs connect.
const DATUMS = [...new Set(SCENES.filter((scene) => isKnown(scene.offset_x_m)).map((scene) => (scene.datum.startsWith("median") ? scene.datum : `reference ${scene.datum}`)))];

function drawOffsets() {
  const known = SCENES.filter((scene) => isKnown(scene.offset_x_m));
  if (!known.length) {
    byId("offsets").hidden = true;
    return;
  }
  const east = padded([0, ...known.map((scene) => scene.offset_x_m)]);
  const north = padded([0, ...known.map((scene) => scene.offset_y_m)]);
  const { root, x, y } = chart(east, north, 1, "east [m]", "north [m]");
  for (const scene of known) {
    const title = vector("title", {}, `${scene.label}: ${offsetText(scene)}`);
    const [atX, atY] = [x(scene.offset_x_m), y(scene.offset_y_m)];
    if (scene.disagrees) {
      const path = `M${atX - 5} ${atY - 5}l10 10m0 -10l-10 10`;
      root.append(vector("path", { d: path, stroke: "#b36b00", "stroke-width": 2.5, fill: "none" }, title));
    } else root.append(vector("circle", { cx: atX, cy: atY, r: 4, fill: "#0072b2", "fill-opacity": 0.7 }, title));
  }
  const against = DATUMS.length > 1 ? `its datum (${DATUMS.join("; ")})` : `the ${DATUMS[0]}`;
  root.setAttribute("aria-label", `Offsets of ${known.length} scenes relative to ${against}`);
  byId("offsets").append(root, element("figcaption", {}, `Offset of each scene relative to ${against}; a cross marks a scene that disagrees with the others`));
}

function offsetText(scene) {
  if (!isKnown(scene.offset_x_m)) return `unknown: ${scene.verdict}`;
  if (scene.verdict === "reference") return "none, held fixed";
  const error = isKnown(scene.offset_error_m) ? ` ± ${metres(scene.offset_error_m)} m` : "";
  return `${metres(scene.offset_x_m)} m east, ${metres(scene.offset_y_m)} m north${error}${DATUMS.length > 1 ? `, relative to the ${scene.datum}` : ""}`;
}

function listScenes() {
  for (const scene of SCENES) {
    const parts = [`${number(scene.n_keypoints)} keypoints`];
    if (isKnown(scene.clear_pct)) parts.push(`${number(scene.clear_pct, 0)} % clear`);
    if (isKnown(scene.n_verified)) parts.push(`${number(scene.n_verified)} verified pairs`);
    const text = element("div", {}, element("strong", {}, scene.label), element("br"), `${scene.scene_id}`, element("br"), parts.join(", "));
    if (VERIFICATION_RAN) text.append(element("br"), `offset: ${offsetText(scene)}`);
    if (scene.correction) text.append(element("br"), `to correct: ${scene.correction}`);
    if (scene.disagrees) text.append(element("br"), element("span", { class: "warn" }, "disagrees with its series"));
    const image = element("img", { src: scene.colour, alt: `${scene.scene_id}${scene.in_colour ? "" : ", as stored, in grey"}`, width: 210, height: 210 });
    byId("scene-list").append(element("li", {}, image, text));
  }
}
