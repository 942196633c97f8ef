// The list of pairs, sortable and filtered: verified ones first, with most inliers; before verification by similarity.

const ROWS_AT_ONCE = 100;

const COLUMNS = [
  { title: "Query", of: (pair) => SCENES[PAIRS.query[pair]].label },
  { title: "Train", of: (pair) => SCENES[PAIRS.train[pair]].label },
  { title: "Similarity [%]", of: (pair) => value("similarity_pct", pair), digits: 2 },
  { title: "Good matches", of: (pair) => value("n_good", pair), digits: 0 },
  { title: "Inliers", of: (pair) => value("n_inliers", pair), digits: 0, column: "n_inliers" },
  { title: "Witnesses", of: (pair) => value("n_witnesses", pair), digits: 0, column: "n_witnesses" },
  { title: `Shift [${UNIT}]`, of: shiftOf, digits: 2, column: "dx_m" },
  { title: "Common ground [%]", of: (pair) => value("overlap_pct", pair), digits: 1, column: "overlap_pct" },
  { title: "Verdict", of: verdictOf, column: "verified" },
].filter(({ column }) => !column || PAIRS[column]);

// A telephone shows these alone, with both names; the pair's own view has all numbers.
const BRIEF = ["Query", "Train", ...(VERIFICATION_RAN && PAIRS.n_inliers ? ["Inliers", "Shift"] : ["Similarity", "Good"]), "Verdict"];
const classOf = ({ title, digits }) => [isKnown(digits) ? "number" : "", BRIEF.some((name) => title.startsWith(name)) ? "" : "detail"].join(" ").trim() || null;

class PairTable {
  constructor(title, pairs, open) {
    this.pairs = pairs;
    this.open = open;
    const first = VERIFICATION_RAN && PAIRS.n_inliers ? "Inliers" : "Similarity";
    this.sorted = { column: COLUMNS.findIndex(({ title: name }) => name.startsWith(first)), descending: true };
    this.most = ROWS_AT_ONCE;
    this.title = element("h3", {});
    this.name = title;
    this.heads = COLUMNS.map((column, index) =>
      element("th", { scope: "col", class: classOf(column) },
        element("button", { type: "button", onclick: () => this.sort(index) }, column.title)));
    this.body = element("tbody");
    this.more = element("button", { type: "button", onclick: () => { this.most += 5 * ROWS_AT_ONCE; this.draw(); } }, "");
    this.table = element("table", {}, element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.root = element("section", { "aria-label": title }, this.title, element("div", { class: "scroll" }, this.table), this.more);
    this.filter(() => true);
  }

  sort(index) {
    const again = this.sorted.column === index;
    this.sorted = { column: index, descending: again ? !this.sorted.descending : isKnown(COLUMNS[index].digits) };
    this.arrange();
  }

  filter(keeps) {
    this.kept = this.pairs.filter(keeps);
    this.most = ROWS_AT_ONCE;
    this.arrange();
  }

  arrange() {
    const { of } = COLUMNS[this.sorted.column];
    const turn = this.sorted.descending ? -1 : 1;
    // Missing values are last in either direction.
    this.kept.sort((first, second) => {
      const [a, b] = [of(first), of(second)];
      if (!isKnown(a) || !isKnown(b)) return isKnown(b) - isKnown(a) || first - second;
      return turn * (a < b ? -1 : a > b ? 1 : 0) || first - second;
    });
    this.draw();
  }

  draw() {
    this.heads.forEach((head, index) => {
      const state = index === this.sorted.column ? (this.sorted.descending ? "descending" : "ascending") : "none";
      head.setAttribute("aria-sort", state);
      head.firstChild.textContent = COLUMNS[index].title + { none: "", ascending: " ▲", descending: " ▼" }[state];
    });
    this.title.textContent = `${this.name}: ${number(this.kept.length)} ${this.kept.length === 1 ? "pair" : "pairs"}`;
    this.table.hidden = !this.kept.length;
    this.body.replaceChildren(...this.kept.slice(0, this.most).map((pair) => this.row(pair)));
    const left = this.kept.length - this.most;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show more (${number(left)} left)`;
  }

  row(pair) {
    const cells = COLUMNS.map((column, index) => {
      const { of, digits } = column;
      const text = isKnown(digits) ? number(of(pair), digits) : of(pair);
      if (index) return element("td", { class: classOf(column) }, text);
      const button = { type: "button", class: "open", "aria-label": `Open ${pairName(pair)}`, onclick: () => this.open(pair, this.kept) };
      return element("td", {}, element("button", button, text));
    });
    return element("tr", {}, ...cells);
  }
}

class Lists {
  constructor(open) {
    const all = Array.from({ length: N_PAIRS }, (_, pair) => pair);
    // Before verification, the notebook's two tables.
    const parts = VERIFICATION_RAN
      ? [["Verified", (pair) => verdictOf(pair) === "verified"], ["All others", (pair) => verdictOf(pair) !== "verified"]]
      : [["Similarity of 50 % or more", (pair) => value("similarity_pct", pair) >= 50], ["Similarity below 50 %", (pair) => !(value("similarity_pct", pair) >= 50)]];
    this.tables = parts.map(([title, holds]) => new PairTable(title, all.filter(holds), open));
    byId("lists").append(...this.tables.map((table) => table.root));
    this.form = byId("filters");
    const tiles = [...new Set(SCENES.map((scene) => scene.tile))].filter(Boolean).sort();
    const verdicts = Object.keys(VERDICT_COLOURS).filter((name) => all.some((pair) => verdictOf(pair) === name));
    const across = tiles.length > 1 ? [["across", "two different tiles"]] : [];
    this.options("tile", [["", "all"], ...tiles.map((tile) => [tile, `${tile} only`]), ...across]);
    this.options("verdict", [["", "all"], ...verdicts.map((name) => [name, name])]);
    this.form.addEventListener("change", () => this.filter());
    this.form.addEventListener("reset", () => { this.scene = null; setTimeout(() => this.filter()); });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    byId("pairs-csv").addEventListener("click", () => save(csv(this.rows()), "pairs.csv"));
  }

  options(name, choices) {
    this.form.elements[name].append(...choices.map(([key, text]) => element("option", { value: key }, text)));
  }

  // The filtered pairs in the order shown, with their scenes' ids and all their numbers.
  rows() {
    const columns = Object.keys(PAIRS).filter((name) => !["query", "train"].includes(name));
    const pairs = this.tables.flatMap((table) => table.kept);
    return [["query", "train", ...columns], ...pairs.map((pair) => [SCENES[PAIRS.query[pair]].scene_id, SCENES[PAIRS.train[pair]].scene_id, ...columns.map((name) => PAIRS[name][pair])])];
  }

  // Shows the pairs of one scene only.
  only(scene) {
    this.scene = scene;
    this.filter();
    byId("pairs").scrollIntoView();
  }

  filter() {
    const [tile, from, to, verdict] = ["tile", "from", "to", "verdict"].map((name) => this.form.elements[name].value);
    const keeps = (pair) => {
      const scenes = [SCENES[PAIRS.query[pair]], SCENES[PAIRS.train[pair]]];
      if (this.scene && !scenes.includes(this.scene)) return false;
      if (tile === "across" ? scenes[0].tile === scenes[1].tile : tile && scenes.some((scene) => scene.tile !== tile)) return false;
      if (scenes.some(({ date }) => (from && date < from) || (to && date > to))) return false;
      return !verdict || verdictOf(pair) === verdict;
    };
    for (const table of this.tables) table.filter(keeps);
  }
}
