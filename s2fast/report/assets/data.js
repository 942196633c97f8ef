// The run's results, written by payload.py.

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// A column as packed by payload.py, null where a value is missing.
function unpacked(column) {
  if (Array.isArray(column)) return column;
  if (column.names) return Array.from(bytesOf(column.codes), (code) => (code === 255 ? null : column.names[code]));
  return Array.from(new Float32Array(bytesOf(column.numbers).buffer), (at) => (Number.isNaN(at) ? null : Math.round(at * 10000) / 10000));
}

const DATA = JSON.parse(byId("data").textContent);
byId("data").remove();
const SCENES = DATA.scenes;
// Lengths of scenes without a CRS are in pixels.
const [UNIT, EAST, NORTH, TO] = DATA.summary.in_pixels ? ["px", "right", "up", ""] : ["m", "east", "north", "to the "];
const PAIRS = Object.fromEntries(Object.entries(DATA.pairs).map(([name, column]) => [name, unpacked(column)]));
const N_PAIRS = PAIRS.query.length;

for (const scene of SCENES) {
  scene.date = scene.time ? scene.time.slice(0, 10) : "";
  scene.label = scene.tile && scene.date ? `${scene.tile} ${scene.date}` : scene.scene_id;
}

// Where labels are not unique (two acquisitions of a tile on one day), use the scene ids.
{
  const seen = new Map();
  for (const scene of SCENES) seen.set(scene.label, (seen.get(scene.label) || 0) + 1);
  for (const scene of SCENES) if (seen.get(scene.label) > 1) scene.label = scene.scene_id;
}

const value = (column, pair) => (PAIRS[column] ? PAIRS[column][pair] : null);

const VERIFICATION_RAN = Boolean(PAIRS.verified);

function verdictOf(pair) {
  const verdict = value("verdict", pair);
  if (verdict) return verdict;
  const verified = value("verified", pair);
  return isKnown(verified) ? (verified ? "verified" : "not verified") : "not run";
}

function shiftOf(pair) {
  const east = value("dx_m", pair);
  return isKnown(east) ? Math.hypot(east, value("dy_m", pair)) : null;
}

const shiftText = (pair, which = "") => `${metres(value(`${which}dx_m`, pair))} ${UNIT} ${EAST}, ${metres(value(`${which}dy_m`, pair))} ${UNIT} ${NORTH}`;

const turnText = (degrees, error = "") => `${number(Math.abs(degrees), 3)}${error}° ${degrees < 0 ? "clockwise" : "counter-clockwise"}`;

const pairName = (pair) => `${SCENES[PAIRS.query[pair]].label} and ${SCENES[PAIRS.train[pair]].label}`;

// PAIR_AT[i * n + j]: number of the pair of scenes i and j, or -1.
const PAIR_AT = new Int32Array(SCENES.length ** 2).fill(-1);
for (let pair = 0; pair < N_PAIRS; pair++) {
  const [query, train] = [PAIRS.query[pair], PAIRS.train[pair]];
  PAIR_AT[query * SCENES.length + train] = PAIR_AT[train * SCENES.length + query] = pair;
}

const OUTLIER = 0;
const INLIER = 1;

// Returns the matches of a pair in the page, inliers first, each kind in ascending order of distance; null if the run
// stores none.
function matchesOf(pair) {
  if (!isKnown(DATA.matches[pair])) return null;
  const bytes = bytesOf(DATA.matches[pair]);
  const count = bytes.length / 19;
  let at = 0;
  const column = (kind) => {
    const part = new kind(bytes.buffer, at, count);
    at += part.byteLength;
    return part;
  };
  const dx = column(Float32Array);
  const dy = column(Float32Array);
  const [queryX, queryY, trainX, trainY] = [0, 0, 0, 0].map(() => Float32Array.from(column(Uint16Array), (share) => share / 65535));
  return { count, dx, dy, queryX, queryY, trainX, trainY, distance: column(Uint16Array), kind: column(Uint8Array) };
}
