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

const meaningOf = (verdict) => DATA.verdicts[verdict] || "run verify";

TERMS.verdict = Object.entries(DATA.verdicts).map(([name, meaning]) => `${name[0].toUpperCase()}${name.slice(1)}: ${meaning}.`).join(" ");

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

// A text as nodes, whose dates a narrow screen does not break at their hyphens.
const withWholeDates = (text) => text.split(/(\d{4}-\d\d-\d\d)/).map((part, at) => (at % 2 ? element("span", { class: "date" }, part) : part));

const pairName = (pair) => `${SCENES[PAIRS.query[pair]].label} and ${SCENES[PAIRS.train[pair]].label}`;

// PAIR_AT[i * n + j]: number of the pair of scenes i and j, or -1.
const PAIR_AT = new Int32Array(SCENES.length ** 2).fill(-1);
for (let pair = 0; pair < N_PAIRS; pair++) {
  const [query, train] = [PAIRS.query[pair], PAIRS.train[pair]];
  PAIR_AT[query * SCENES.length + train] = PAIR_AT[train * SCENES.length + query] = pair;
}

const OUTLIER = 0;
const INLIER = 1;

// Unpacks the matches of a pair, inliers first, each kind in ascending order of distance; null if there are none.
function unpackedMatches(packed) {
  if (!isKnown(packed)) return null;
  const bytes = bytesOf(packed);
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

// Unpacks the residuals of all inliers of a pair, in metres; null if there are none.
function unpackedResiduals(packed) {
  if (!isKnown(packed)) return null;
  const { buffer } = bytesOf(packed);
  const [most] = new Float32Array(buffer, 0, 1);
  const both = Float32Array.from(new Int16Array(buffer, 4), (share) => (share * most) / 32767);
  return { count: both.length / 2, east: both.subarray(0, both.length / 2), north: both.subarray(both.length / 2) };
}

// Files beside the page, see beside.py: scripts, as a page from disk may read nothing else. Each calls `deliver`.
const MOST_FILES = 16;
const files = new Map();
const receivers = new Map();

function deliver(name, content) { receivers.get(name)?.(content); }

// Returns the content of a file beside the page; null if the file is not there.
function fromBeside(name) {
  if (!files.has(name)) {
    if (files.size >= MOST_FILES) files.delete(files.keys().next().value);
    files.set(name, new Promise((resolve) => {
      receivers.set(name, resolve);
      const end = () => { script.remove(); receivers.delete(name); resolve(null); };
      const script = element("script", { src: `report_files/${name}.js`, onload: end, onerror: () => { files.delete(name); end(); } });
      document.head.append(script);
    }));
  }
  return files.get(name);
}

// What the page itself holds of a pair.
const detailsHere = (pair) => ({ matches: unpackedMatches(DATA.matches?.[pair]), profile: DATA.profiles?.[pair] ?? null, residuals: null, awaited: DATA.beside.pairs.length > 0, missing: false });

// The same, with what the file beside the page adds.
async function detailsOf(pair) {
  const named = DATA.beside.pairs.findLast(([first]) => first <= pair);
  const file = named ? await fromBeside(named[1]) : null;
  const of = (column) => file?.[column]?.[pair - file.first];
  const here = detailsHere(pair);
  return {
    matches: here.matches || unpackedMatches(of("matches")),
    profile: here.profile ?? of("profiles") ?? null,
    residuals: unpackedResiduals(of("residuals")),
    awaited: false,
    missing: Boolean(named) && !file,
  };
}
