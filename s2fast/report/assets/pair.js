// The dialog with the view of one pair: Escape closes it, the arrow buttons and keys go to the previous or next pair.

const MODELS = {
  shift: "shift",
  similarity: "similarity: shift, rotation and scale",
  affinity: "affinity: shift, rotation, scale and shear",
};

class PairView {
  constructor() {
    this.dialog = byId("pair");
    this.compare = new Compare();
    this.pair = -1;
    this.list = [];
    this.dialog.addEventListener("close", () => { this.compare.stop(); leavePair(); });
    byId("pair-close").addEventListener("click", () => this.dialog.close());
    byId("pair-before").addEventListener("click", () => this.turn(-1));
    byId("pair-after").addEventListener("click", () => this.turn(1));
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.tagName === "SELECT" || event.target.type === "range") return;
      if (event.key === "ArrowLeft") this.turn(-1);
      if (event.key === "ArrowRight") this.turn(1);
    });
    for (const id of ["pair-under", "pair-lines", "pair-inliers", "pair-outliers"]) byId(id).addEventListener("change", () => this.draw());
    window.addEventListener("resize", () => { if (this.dialog.open) this.draw(); });
    byId("pair-kinds").hidden = !VERIFICATION_RAN;
    byId("pair-lines-title").textContent = VERIFICATION_RAN ? "Lines of each kind" : "Lines";
    // Without regions the masked scenes show the same as those in colour.
    byId("pair-under").parentElement.hidden = !DATA.summary.regions;
  }

  // Shows a pair; `list` contains the pairs in the order of the arrow buttons.
  open(pair, list) {
    this.pair = pair;
    this.list = list;
    this.details = detailsHere(pair);
    enterPair(pair, this.dialog.open);
    if (!this.dialog.open) this.dialog.showModal();
    this.draw();
    this.dialog.scrollTop = 0;
    this.complete(pair);
  }

  // Adds what is in a file beside the page.
  async complete(pair) {
    if (!this.details.awaited) return;
    const details = await detailsOf(pair);
    if (this.pair !== pair) return;
    this.details = details;
    this.draw();
  }

  turn(step) {
    const next = this.list[this.list.indexOf(this.pair) + step];
    if (next !== undefined) this.open(next, this.list);
  }

  async draw() {
    const pair = this.pair;
    const isCurrent = () => this.pair === pair && this.dialog.open;
    const scenes = [SCENES[PAIRS.query[pair]], SCENES[PAIRS.train[pair]]];
    const index = this.list.indexOf(pair);
    byId("pair-title").textContent = `${scenes[0].scene_id} and ${scenes[1].scene_id}`;
    byId("pair-before").disabled = index <= 0;
    byId("pair-after").disabled = index < 0 || index >= this.list.length - 1;
    this.tellVerdict(pair);
    this.numbers(pair, scenes);
    const { matches, profile, residuals, missing, awaited } = this.details;
    byId("pair-missing").hidden = !missing;
    const shown = matches ? this.rowsToDraw(matches) : [];
    byId("pair-caption").textContent = awaited && !matches ? "" : this.caption(matches, shown, pair);
    byId("pair-matches").setAttribute("aria-label", `${scenes[0].scene_id} beside ${scenes[1].scene_id}`);
    drawPlot(byId("pair-plot"), this.details, pair);
    drawLengths(byId("pair-lengths"), residuals);
    drawProfile(byId("pair-profile"), pair, profile);
    if (this.compare.pair !== pair) await this.compare.open(pair, matches, isCurrent);
    else this.compare.draw(matches);
    const drawn = await drawScenes(byId("pair-matches"), scenes, byId("pair-under").value, isCurrent);
    if (drawn && matches) drawLines(drawn, matches, shown);
  }

  tellVerdict(pair) {
    const verdict = verdictOf(pair);
    const shift = isKnown(value("dx_m", pair)) ? `: shift ${shiftText(pair)}${isKnown(value("shift_error_m", pair)) ? `, ± ${metres(value("shift_error_m", pair))} ${UNIT}` : ""}` : "";
    const text = verdict === "not run" ? "Not verified: run verify" : `${verdict[0].toUpperCase()}${verdict.slice(1)}${shift}`;
    byId("pair-verdict").replaceChildren(element("i", { style: `background:${verdictColour(verdict)}` }), element("strong", {}, text));
    if (verdict !== "not run") explained(byId("pair-verdict"), "verdict");
  }

  rows(matches) { return Array.from({ length: matches.count }, (_, row) => row); }

  // Returns the rows to draw: the nearest descriptors of each enabled kind, inliers last so that they are on top.
  rowsToDraw(matches) {
    const most = Number(byId("pair-lines").value);
    const inliers = this.rows(matches).filter((row) => matches.kind[row] === INLIER);
    const others = this.rows(matches).filter((row) => matches.kind[row] !== INLIER);
    if (!VERIFICATION_RAN) return others.slice(0, most);
    const first = byId("pair-inliers").checked ? inliers.slice(0, most) : [];
    return [...(byId("pair-outliers").checked ? others.slice(0, most) : []), ...first];
  }

  caption(matches, shown, pair) {
    if (!matches) return this.details.missing ? "" : "The run stores no matches of this pair, see output.keep_matches.";
    const good = number(value("n_good", pair));
    if (!VERIFICATION_RAN) return `Lines: the ${shown.length} nearest of ${good} good matches. They are not verified: run verify.`;
    const inliers = shown.filter((row) => matches.kind[row] === INLIER).length;
    return `Lines: ${inliers} inliers (solid, blue) and ${shown.length - inliers} outliers (dashed, orange), the nearest of ${good} good matches.`;
  }

  numbers(pair, scenes) {
    const verdict = verdictOf(pair);
    const model = value("model", pair);
    const error = (column, digits) => (isKnown(value(column, pair)) ? ` ± ${number(value(column, pair), digits)}` : "");
    const rows = [
      ["Query", `${scenes[0].scene_id}, ${number(scenes[0].n_keypoints)} keypoints`],
      ["Train", `${scenes[1].scene_id}, ${number(scenes[1].n_keypoints)} keypoints`],
      ["Similarity", `${number(value("similarity_pct", pair), 2)} %`],
      ["Good matches", number(value("n_good", pair))],
      ["Verdict", verdict === "not run" ? "not verified: run verify" : `${verdict}: ${meaningOf(verdict)}`],
    ];
    const add = (title, column, text) => { if (isKnown(value(column, pair))) rows.push([title, text(value(column, pair))]); };
    add("Inliers", "n_inliers", (at) => number(at));
    add("Witnesses", "n_witnesses", (at) => `${number(at)} independent matches among the inliers`);
    if (MODELS[model]) rows.push(["Model", MODELS[model]]);
    const atCentre = model && model !== "shift" ? ", at the centre of the common ground" : "";
    add("Shift", "dx_m", () => `${shiftText(pair)}${atCentre}`);
    add("Shift in pixels", "dx_px", (at) => `${number(at, 2)} right, ${number(value("dy_px", pair), 2)} down`);
    add("Error of the shift", "shift_error_m", (at) => `${metres(at)} ${UNIT}`);
    add("Inliers' displacement", "ce90_m", (at) => `90 % within ${metres(at)} ${UNIT} (CE90), 95 % within ${metres(value("ce95_m", pair))} ${UNIT} (CE95)`);
    add("Mean of inliers", "mean_dx_m", (at) => `${metres(at)} ± ${metres(value("std_dx_m", pair))} ${UNIT} ${EAST}, ${metres(value("mean_dy_m", pair))} ± ${metres(value("std_dy_m", pair))} ${UNIT} ${NORTH} (standard deviations)`);
    add("RMSE of inliers", "rmse_dx_m", (at) => `${metres(at)} ${UNIT} ${EAST}, ${metres(value("rmse_dy_m", pair))} ${UNIT} ${NORTH}`);
    add("Second shift", "rival_dx_m", () => `${shiftText(pair, "rival_")}, about as likely`);
    add("Search radius", "searched_m", (at) => `${metres(at)} ${UNIT} from the expected position${value("looks", pair) === 2 ? ", in a second look: nothing was found near it" : ""}`);
    add("Rotation", "rotation_deg", (at) => `${turnText(at, error("rotation_error_deg", 3))}, train relative to query`);
    add("Scale", "scale", (at) => `${number(at, 5)}${error("scale_error", 5)}, train relative to query`);
    add("Shear", "shear", (at) => number(at, 5));
    add("Common ground", "overlap_pct", (at) => `${number(at, 1)} %`);
    add("Residual in the series", "network_residual_m", (at) => `${metres(at)} ${UNIT}`);
    byId("pair-numbers").replaceChildren(...rows.flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]));
  }
}
