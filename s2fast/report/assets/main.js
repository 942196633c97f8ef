// Fills the page.

function summarise() {
  const { summary } = DATA;
  const seconds = summary.stages.reduce((sum, stage) => sum + stage.seconds, 0);
  const cards = [
    [number(summary.scenes), "scenes"],
    [number(summary.pairs), "pairs"],
    [isKnown(summary.verified) ? number(summary.verified) : "–", isKnown(summary.verified) ? "pairs verified" : "not verified: run verify"],
    [number(summary.keypoints), "keypoints"],
    [number(summary.good_matches), "good matches"],
    [`${number(seconds, seconds < 100 ? 1 : 0)} s`, "computing time"],
  ];
  byId("cards").append(...cards.map(([text, what]) => element("li", {}, element("strong", {}, text), element("span", {}, what))));
  for (const stage of summary.stages) {
    const numbers = [number(stage.seconds, 1), number(stage.done), number(stage.kept)].map((text) => element("td", { class: "number" }, text));
    byId("stages").tBodies[0].append(element("tr", {}, element("th", { scope: "row" }, stage.name), ...numbers, element("td", {}, stage.ran || "–")));
  }
  const notMeasured = VERIFICATION_RAN ? "not measured: verification.nulls is 0" : "not measured: run verify";
  const { regions, ingest, features, matching } = summary.config;
  const facts = [
    ["Regions", summary.regions ? `${summary.regions}, mode ${regions.mode}` : "none: whole scenes are used"],
    ["Reduction", ingest.reduction === 1 ? "1, full resolution" : String(ingest.reduction)],
    ["Keypoints", `threshold ${features.threshold}, ${features.max_per_scene ? `at most ${number(features.max_per_scene)} per scene` : "all"}${features.upright ? ", upright" : ""}`],
    ["Good match", `ratio ${matching.ratio}${matching.mutual ? ", mutual" : ""}`],
    ["False-alarm rate", summary.null_trials || notMeasured],
    ["Machine", `${summary.machine.processor || summary.machine.system}, ${summary.machine.cores} cores`],
    ["Written", `${summary.written.slice(0, 16).replace("T", " ")} UTC by s2fast ${summary.version}`],
  ];
  byId("facts").append(...facts.flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]));
  byId("subtitle").textContent = `${number(summary.scenes)} scenes of ${summary.places.join(", ")}`;
}

function listProblems() {
  const rows = DATA.problems.map(({ subject, text }) => element("li", {}, element("strong", {}, subject), `: ${text}`));
  byId("problem-list").append(...(rows.length ? rows : [element("li", {}, "None.")]));
}

summarise();
const view = new PairView();
const everyPair = Array.from({ length: N_PAIRS }, (_, pair) => pair);
const matrix = new Matrix((pair) => view.open(pair, everyPair));
new Lists((pair, list) => view.open(pair, list));
drawMap();
drawOffsets();
listScenes();
listProblems();
document.documentElement.dataset.ready = "yes";
