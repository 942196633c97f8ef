// The run's results, written by payload.py.

const DATA = JSON.parse(byId("data").textContent);
byId("data").remove();
const SCENES = DATA.scenes.scene_id.map((_, row) => Object.fromEntries(Object.entries(DATA.scenes).map(([name, column]) => [name, column[row]])));
const PAIRS = DATA.pairs;
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

const shiftText = (pair, which = "") => `${metres(value(`${which}dx_m`, pair))} m east, ${metres(value(`${which}dy_m`, pair))} m north`;

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

// FIRST_MATCH[pair]: number of the pair's first match; the matches of all pairs lie one after another.
const FIRST_MATCH = new Uint32Array(N_PAIRS + 1);
DATA.matches.count.forEach((count, pair) => { FIRST_MATCH[pair + 1] = FIRST_MATCH[pair] + count; });

// Returns a part of a packed column: 3 bytes are 4 letters of base64.
function unpacked(name, kind, from, to) {
  const [start, end] = [from * kind.BYTES_PER_ELEMENT, to * kind.BYTES_PER_ELEMENT];
  const first = Math.floor(start / 3);
  const letters = atob(DATA.matches[name].slice(4 * first, 4 * Math.ceil(end / 3)));
  return new kind(Uint8Array.from(letters, (letter) => letter.charCodeAt(0)).buffer.slice(start - 3 * first, end - 3 * first));
}

// Returns the matches of a pair in the page, inliers first, each kind in ascending order of distance; null if the run
// stores none.
function matchesOf(pair) {
  const count = DATA.matches.count[pair];
  if (!count) return null;
  const column = (name, kind) => unpacked(name, kind, FIRST_MATCH[pair], FIRST_MATCH[pair] + count);
  const position = (name) => Float32Array.from(column(name, Uint16Array), (share) => share / 65535);
  return {
    count,
    dx: column("dx", Float32Array),
    dy: column("dy", Float32Array),
    queryX: position("queryX"),
    queryY: position("queryY"),
    trainX: position("trainX"),
    trainY: position("trainY"),
    distance: column("distance", Uint16Array),
    kind: column("kind", Uint8Array),
  };
}
