// The scenes: a map of their clear ground, their offsets, also over time, and a list with thumbnails.

const TILE_COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

// Scenes with equal footprints, drawn as one.
function footprints() {
  const found = new Map();
  for (const scene of SCENES) {
    const key = JSON.stringify(scene.footprint);
    if (!found.has(key)) found.set(key, { scene, scenes: [] });
    found.get(key).scenes.push(scene);
  }
  return [...found.values()];
}

const middleOf = ({ footprint }) => {
  const corners = footprint.slice(0, -1);
  return [0, 1].map((axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length);
};

// The clear ground of a footprint's scenes: cells whose brightness is the mean share of clear pixels.
function drawClear({ scene, scenes }, { inside, x, y }, colour) {
  if (!scene.clear.length || scene.footprint.length !== 5) return;
  const [upperLeft, upperRight, lowerRight, lowerLeft] = scene.footprint;
  const rows = scene.clear.length;
  const columns = scene.clear[0].length;
  const at = (row, column) => [0, 1].map((axis) => {
    const [down, right] = [row / rows, column / columns];
    return (1 - down) * ((1 - right) * upperLeft[axis] + right * upperRight[axis]) + down * ((1 - right) * lowerLeft[axis] + right * lowerRight[axis]);
  });
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = scenes.reduce((sum, one) => sum + Number(one.clear[row][column]), 0) / scenes.length / 9;
      if (!share) continue;
      const corners = [[row, column], [row, column + 1], [row + 1, column + 1], [row + 1, column]].map(([r, c]) => at(r, c));
      const points = corners.map(([east, north]) => `${x(east).toFixed(1)},${y(north).toFixed(1)}`).join(" ");
      inside.append(vector("polygon", { class: "clear", points, fill: colour, "fill-opacity": (0.45 * share).toFixed(2), stroke: "none" }));
    }
  }
}

// Lines between footprints: blue if any pair is verified, thicker for a larger share.
function drawLinks(places, { inside, x, y }) {
  const placeOf = new Map(places.flatMap((place, at) => place.scenes.map((scene) => [scene, at])));
  const links = new Map();
  for (let pair = 0; pair < N_PAIRS; pair++) {
    const ends = [SCENES[PAIRS.query[pair]], SCENES[PAIRS.train[pair]]].map((scene) => placeOf.get(scene)).sort((a, b) => a - b);
    if (ends[0] === ends[1] || verdictOf(pair) === "no common ground") continue;
    const key = ends.join();
    if (!links.has(key)) links.set(key, { ends, pairs: 0, verified: 0 });
    links.get(key).pairs += 1;
    links.get(key).verified += verdictOf(pair) === "verified";
  }
  for (const { ends, pairs, verified } of links.values()) {
    const [from, to] = ends.map((at) => middleOf(places[at].scene));
    const title = vector("title", {}, `${number(verified)} of ${number(pairs)} pairs verified`);
    const colour = VERDICT_COLOURS[verified ? "verified" : "not verified"];
    inside.append(vector("line", { class: "link", x1: x(from[0]), y1: y(from[1]), x2: x(to[0]), y2: y(to[1]), stroke: colour, "stroke-width": 2 + 4 * (verified / pairs) }, title));
  }
}

function drawMap() {
  const corners = SCENES.flatMap((scene) => scene.footprint);
  if (!corners.length || DATA.summary.in_pixels) return void (byId("map").hidden = true);
  const latitudes = padded(corners.map(([, north]) => north));
  const equal = Math.cos(((latitudes[0] + latitudes[1]) / 2) * (Math.PI / 180));
  const places = footprints();
  const label = `Map of ${SCENES.length} scenes in ${places.length} footprints`;
  const drawn = chart({ x: padded(corners.map(([east]) => east)), y: latitudes, equal, titleX: "longitude [degrees]", titleY: "latitude [degrees]", label });
  const tiles = [...new Set(SCENES.map((scene) => scene.tile))];
  const labels = new Map();
  for (const place of places) {
    const { scene, scenes } = place;
    const colour = TILE_COLOURS[tiles.indexOf(scene.tile) % TILE_COLOURS.length];
    drawClear(place, drawn, colour);
    const points = scene.footprint.map(([east, north]) => `${drawn.x(east).toFixed(1)},${drawn.y(north).toFixed(1)}`).join(" ");
    const title = vector("title", {}, `${scenes.length} scenes: ${scenes.map((one) => one.label).join(", ")}`);
    drawn.inside.append(vector("polygon", { class: "footprint", points, fill: colour, "fill-opacity": 0.05, stroke: colour, "stroke-width": 2 }, title));
    const upper = scene.footprint.reduce((best, point) => (point[1] - point[0] > best[1] - best[0] ? point : best));
    const name = scene.tile || scene.label;
    if (!labels.has(name)) labels.set(name, { upper, count: 0 });
    labels.get(name).count += scenes.length;
  }
  drawLinks(places, drawn);
  for (const [name, { upper, count }] of labels) drawn.inside.append(vector("text", { x: drawn.x(upper[0]) + 6, y: drawn.y(upper[1]) + 18 }, `${name} (${count})`));
  const links = places.length > 1 ? "; lines: pairs across footprints, blue where some are verified" : "";
  show(byId("map"), drawn.root, `Footprints of the scenes, filled where their ground is clear${links}`, "map");
}

const offsetTitle = (scene) => `${scene.label}${scene.platform ? `, ${scene.platform}` : ""}${scene.orbit ? `, ${scene.orbit}` : ""}: ${offsetText(scene)}`;
// What offsets are relative to: a scene that is held fixed, or medians of scenes that pairs connect.
const DATUMS = [...new Set(SCENES.filter((scene) => isKnown(scene.offset_x_m)).map((scene) => (scene.datum.startsWith("median") ? scene.datum : `reference ${scene.datum}`)))];

function drawOffsets() {
  const known = SCENES.filter((scene) => isKnown(scene.offset_x_m));
  if (!known.length) {
    byId("offsets").hidden = true;
    byId("times").hidden = true;
    return;
  }
  const east = padded([0, ...known.map((scene) => scene.offset_x_m)]);
  const north = padded([0, ...known.map((scene) => scene.offset_y_m)]);
  const against = DATUMS.length > 1 ? `its datum (${DATUMS.join("; ")})` : `the ${DATUMS[0]}`;
  const drawn = chart({ x: east, y: north, equal: 1, titleX: `${EAST} [${UNIT}]`, titleY: `${NORTH} [${UNIT}]`, label: `Offsets of ${known.length} scenes relative to ${against}` });
  for (const scene of known) {
    const part = (scene.disagrees ? cross : dot)(drawn.x(scene.offset_x_m), drawn.y(scene.offset_y_m), offsetTitle(scene));
    drawn.inside.append(opens(part, offsetTitle(scene), () => toScene(scene)));
  }
  show(byId("offsets"), drawn.root, `Offset of each scene relative to ${against}; a cross marks a scene that disagrees with the others`, "offsets");
  drawTimes(known.filter((scene) => scene.time));
}

const TIMES = { ...FRAME, width: 940, height: 190 };

// Offsets over time, east above north; each scene with its error, coloured by satellite and orbit.
function drawTimes(known) {
  byId("times").hidden = known.length < 2;
  if (known.length < 2) return;
  const at = (scene) => Date.parse(scene.time) / 86400000;
  const kinds = [...new Set(known.map((scene) => [scene.platform, scene.orbit].filter(Boolean).join(" ")))].sort();
  const parts = [["offset_x_m", `${EAST} [${UNIT}]`], ["offset_y_m", `${NORTH} [${UNIT}]`]].map(([column, titleY]) => {
    const reach = known.flatMap((scene) => [-1, 1].map((side) => scene[column] + side * (scene.offset_error_m || 0)));
    const drawn = chart({ x: padded(known.map(at)), y: padded([0, ...reach]), titleX: "", titleY, nameX: days, frame: TIMES, label: `Offsets ${TO}${titleY} over time` });
    for (const scene of known) {
      const [x, y] = [drawn.x(at(scene)), drawn.y(scene[column])];
      const error = scene.offset_error_m || 0;
      drawn.inside.append(vector("line", { class: "error", x1: x, x2: x, y1: drawn.y(scene[column] - error), y2: drawn.y(scene[column] + error) }));
      const part = (scene.disagrees ? cross : dot)(x, y, offsetTitle(scene));
      const kind = kinds.indexOf([scene.platform, scene.orbit].filter(Boolean).join(" "));
      part.style.setProperty(scene.disagrees ? "stroke" : "fill", TILE_COLOURS[kind % TILE_COLOURS.length]);
      drawn.inside.append(opens(part, offsetTitle(scene), () => toScene(scene)));
    }
    return drawn.root;
  });
  const both = vector("svg", { viewBox: `0 0 ${TIMES.width} ${2 * TIMES.height}`, width: TIMES.width, height: 2 * TIMES.height, role: "img", "aria-label": `Offsets of ${known.length} scenes over time` });
  parts.forEach((part, row) => { part.setAttribute("y", row * TIMES.height); part.removeAttribute("role"); both.append(part); });
  show(byId("times"), both, "Offset of each scene over time, with its standard error; choose a point to see its scene", "offsets-over-time");
  const legend = kinds.filter(Boolean).map((kind, index) => element("span", {}, element("span", { style: `color:${TILE_COLOURS[index % TILE_COLOURS.length]}` }, " ● "), kind));
  byId("times").lastChild.append(...legend);
}

// Ticks of a time axis in days since 1970, at the beginning of months.
function days(low, high) {
  const months = (high - low) / 30;
  const step = [1, 2, 3, 6, 12, 24, 60].find((each) => months / each <= 9) || 120;
  const first = new Date(low * 86400000);
  const found = [];
  for (let month = Math.ceil((first.getUTCFullYear() * 12 + first.getUTCMonth()) / step) * step; ; month += step) {
    const at = Date.UTC(Math.floor(month / 12), month % 12, 1) / 86400000;
    if (at > high) return found.length ? found : [[(low + high) / 2, new Date((low + high) * 43200000).toISOString().slice(0, 10)]];
    if (at >= low) found.push([at, new Date(at * 86400000).toISOString().slice(0, 7)]);
  }
}

function offsetText(scene) {
  if (!isKnown(scene.offset_x_m)) return `unknown: ${scene.verdict}`;
  if (scene.verdict === "reference") return "none, held fixed";
  const error = isKnown(scene.offset_error_m) ? ` ± ${metres(scene.offset_error_m)} ${UNIT}` : "";
  return `${metres(scene.offset_x_m)} ${UNIT} ${EAST}, ${metres(scene.offset_y_m)} ${UNIT} ${NORTH}${error}${DATUMS.length > 1 ? `, relative to the ${scene.datum}` : ""}`;
}

const sceneAnchor = (scene) => `scene=${encodeURIComponent(scene.scene_id)}`;

function toScene(scene) { window.location.hash = sceneAnchor(scene); }

function listScenes(openPairs) {
  for (const scene of SCENES) {
    const parts = [`${number(scene.n_keypoints)} keypoints`];
    if (isKnown(scene.clear_pct)) parts.push(`${number(scene.clear_pct, 0)} % clear by ${scene.mask}`);
    else if (scene.mask) parts.push(`clouds ${scene.mask}`);
    if (isKnown(scene.n_verified)) parts.push(`${number(scene.n_verified)} verified ${scene.n_verified === 1 ? "pair" : "pairs"}`);
    const text = element("div", {}, element("strong", {}, ...withWholeDates(scene.label)), element("br"), `${scene.scene_id}`, element("br"), parts.join(", "));
    if (VERIFICATION_RAN) text.append(element("br"), `offset: ${offsetText(scene)}`);
    if (scene.correction) text.append(element("br"), `to correct: ${scene.correction}`);
    if (scene.disagrees) text.append(element("br"), element("span", { class: "warn" }, "disagrees with its series"));
    text.append(element("br"), element("button", { type: "button", class: "open", onclick: () => openPairs(scene) }, "its pairs"));
    const image = element("img", { src: scene.colour, alt: `${scene.scene_id}${scene.in_colour ? "" : ", as stored, in grey"}`, width: 210, height: 210, decoding: "async" });
    byId("scene-list").append(element("li", { id: sceneAnchor(scene) }, image, text));
  }
}

// Shows how the latest align call ended, if there was one since the report was written.
async function showAlignment() {
  for (const [, name] of DATA.beside.alignment || []) {
    const found = await fromBeside(name);
    if (!found) return;
    const link = () => element("a", { href: found.href }, "alignment.html");
    byId("alignment").replaceChildren(element("strong", {}, `${found.text} aligned. `), `${found.said} `, link());
    byId("alignment").hidden = false;
    const after = found.medians ? `; displaced by ${metres(found.medians[0])} m before, ${metres(found.medians[1])} m after` : "";
    byId("cards").append(element("li", {}, element("strong", {}, found.text), element("span", {}, `aligned${after}: `, link())));
    for (const scene of SCENES) {
      const outcome = found.scenes[scene.scene_id];
      if (outcome) byId(sceneAnchor(scene)).lastChild.append(element("br"), outcome);
    }
  }
}
