// Fills the page.

// [number, what it is, its meaning, whether it needs attention]
function cards() {
  const { summary } = DATA;
  const found = [];
  if (isKnown(summary.verified)) found.push([`${number(summary.verified)} of ${number(summary.pairs)}`, `${summary.pairs === 1 ? "pair" : "pairs"} verified`, "verdict"]);
  else found.push(["–", "not verified: run verify", "verdict", true]);
  if (VERIFICATION_RAN) {
    const { nulls } = summary;
    if (nulls) found.push([`${number(nulls.verified)} of ${number(nulls.trials)}`, "verified at places that cannot be true", "self-test", nulls.verified > 0]);
    else found.push(["–", "self-test not run: verification.nulls is 0", "self-test", true]);
    const known = SCENES.filter((scene) => isKnown(scene.offset_x_m));
    const disagree = known.filter((scene) => scene.disagrees).length;
    const unknown = SCENES.length - known.length;
    const rest = [disagree ? `${number(disagree)} disagree` : "", unknown ? `${number(unknown)} unknown` : ""].filter(Boolean).join(", ");
    found.push([`${number(known.length - disagree)} of ${number(SCENES.length)}`, `scenes agree with their series${rest ? `; ${rest}` : ""}`, "agreement", disagree > 0]);
    const errors = (PAIRS.shift_error_m || []).filter((_, pair) => value("verified", pair)).filter(isKnown).sort((a, b) => a - b);
    if (errors.length) found.push([`${metres(errors[Math.floor(errors.length / 2)])} ${UNIT}`, "typical error of a pair's shift", "error"]);
  }
  const count = DATA.problems.length;
  found.push([number(count), `${count === 1 ? "problem or warning" : "problems and warnings"}`, null, count > 0]);
  found.push([number(summary.scenes), `${summary.scenes === 1 ? "scene" : "scenes"}, ${number(summary.pairs)} ${summary.pairs === 1 ? "pair" : "pairs"}`]);
  return found;
}

function summarise() {
  const { summary } = DATA;
  for (const [text, what, term, warned] of cards()) {
    const words = element("span", {}, what);
    if (term) explained(words, term);
    byId("cards").append(element("li", { class: warned ? "warned" : null }, element("strong", {}, text), words));
  }
  const seconds = summary.stages.reduce((sum, stage) => sum + stage.seconds, 0);
  for (const stage of summary.stages) {
    const numbers = [number(stage.seconds, 1), number(stage.done), number(stage.kept)].map((text) => element("td", { class: "number" }, text));
    byId("stages").tBodies[0].append(element("tr", {}, element("th", { scope: "row" }, stage.name), ...numbers, element("td", {}, stage.ran || "–")));
  }
  const notMeasured = VERIFICATION_RAN ? "not measured: verification.nulls is 0" : "not measured: run verify";
  const { regions, ingest, features, matching } = summary.config;
  const facts = [
    ["Keypoints", `${number(summary.keypoints)} in ${number(summary.scenes)} scenes; threshold ${features.threshold}, ${features.max_per_scene ? `at most ${number(features.max_per_scene)} per scene` : "all"}${features.upright ? ", upright" : ""}`],
    ["Good matches", `${number(summary.good_matches)}; ratio ${matching.ratio}${matching.mutual ? ", mutual" : ""}`],
    ["Regions", summary.regions ? `${summary.regions}, mode ${regions.mode}` : "none: whole scenes are used"],
    ["Reduction", ingest.reduction === 1 ? "1, full resolution" : String(ingest.reduction)],
    ["False-alarm rate", summary.null_trials || notMeasured],
    ["Computing time", `${number(seconds, seconds < 100 ? 1 : 0)} s`],
    ["Machine", `${summary.machine.processor || summary.machine.system}, ${summary.machine.cores} cores`],
    ["Written", `${summary.written.slice(0, 16).replace("T", " ")} UTC by s2fast ${summary.version}`],
  ];
  byId("facts").append(...facts.flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]));
  byId("subtitle").textContent = `${number(summary.scenes)} ${summary.scenes === 1 ? "scene" : "scenes"} of ${summary.places.join(", ")}`;
}

function listProblems() {
  const rows = DATA.problems.map(({ subject, text }) => element("li", {}, element("strong", {}, subject), `: ${text}`));
  byId("problem-list").append(...(rows.length ? rows : [element("li", {}, "None.")]));
}

// The address of a pair: #pair=QUERY,TRAIN. Back leaves the pair.
const pairAnchor = (pair) => `#pair=${[PAIRS.query[pair], PAIRS.train[pair]].map((scene) => encodeURIComponent(SCENES[scene].scene_id)).join(",")}`;

function enterPair(pair, replaces) {
  const anchor = pairAnchor(pair);
  if (window.location.hash === anchor) return;
  if (replaces) window.history.replaceState(null, "", anchor);
  else window.history.pushState(null, "", anchor);
}

function leavePair() {
  if (window.location.hash.startsWith("#pair=")) window.history.pushState(null, "", "#pairs");
}

function followAddress() {
  const named = window.location.hash.match(/^#pair=([^,]+),([^,]+)$/);
  if (!named) {
    if (byId("pair").open) byId("pair").close();
    return;
  }
  const [query, train] = named.slice(1).map((id) => SCENES.findIndex((scene) => scene.scene_id === decodeURIComponent(id)));
  const pair = query < 0 || train < 0 || query === train ? -1 : PAIR_AT[query * SCENES.length + train];
  if (pair >= 0 && (view.pair !== pair || !byId("pair").open)) view.open(pair, everyPair);
}

for (const root of document.querySelectorAll("[data-term]")) explained(root);
for (const button of document.querySelectorAll("button[data-save]")) {
  button.addEventListener("click", () => byId(button.dataset.save).toBlob((blob) => save(blob, `${button.dataset.save}.png`)));
}
summarise();
listProblems();
showAccuracy();
const view = new PairView();
const everyPair = Array.from({ length: N_PAIRS }, (_, pair) => pair);
const matrix = new Matrix((pair) => view.open(pair, everyPair));
const lists = new Lists((pair, list) => view.open(pair, list));
drawMap();
drawOffsets();
listScenes((scene) => lists.only(scene));
window.addEventListener("popstate", followAddress);
window.addEventListener("hashchange", followAddress);
followAddress();
showAlignment();
document.documentElement.dataset.ready = "yes";
