// The table of all cases: it sorts, and its filters apply to the plots as well.

const ROWS_AT_ONCE = 200;

// Columns as the table has them: number, settings, results, and why a case failed.
function tableColumns() {
  const settings = DATA.settings.map(({ key, values }, at) => {
    const isNumber = values.every((value) => value !== "" && !Number.isNaN(Number(value)));
    const text = (row) => ROWS[row].set[at];
    return { title: shortKey(key), meaning: key, isNumber, text, value: (row) => (isNumber ? Number(text(row)) : text(row)) };
  });
  const label = { title: "case", meaning: "", isNumber: false, text: (row) => ROWS[row].label, value: (row) => ROWS[row].label };
  const results = COLUMNS.map(({ name, title, meaning, better }, at) => ({
    title, meaning, better, isNumber: true, text: (row) => ROWS[row].texts[at], value: (row) => ROWS[row].values[at], isBest: (row) => ROWS[row].best[at],
  }));
  const runs = ROWS.some(({ runs: count }) => count > 1)
    ? [{ title: "runs", meaning: "How often the case ran.", isNumber: true, text: (row) => String(ROWS[row].runs), value: (row) => ROWS[row].runs }] : [];
  const failures = ROWS.some(({ failed }) => failed)
    ? [{ title: "failure", meaning: "Why the case has no result.", isNumber: false, isLong: true, text: (row) => ROWS[row].reason, value: (row) => ROWS[row].reason }] : [];
  return [
    { title: "#", meaning: "The case's number in the plots.", isNumber: true, text: (row) => String(row + 1), value: (row) => row + 1 },
    ...(settings.length ? settings : [label]), ...results, ...runs, ...failures,
  ];
}

// Returns a test of a cell for what was typed into a filter; null if it is empty.
function filterOf(typed, column) {
  const text = typed.trim().toLowerCase();
  if (!text) return null;
  const span = text.match(/^(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)$/);
  if (column.isNumber && span) return (row) => isKnown(column.value(row)) && column.value(row) >= Number(span[1]) && column.value(row) <= Number(span[2]);
  const bound = text.match(/^(<=|>=|<|>|=|≤|≥)\s*(-?[\d.]+)$/);
  if (column.isNumber && bound) {
    const limit = Number(bound[2]);
    const test = { "<": (value) => value < limit, ">": (value) => value > limit, "=": (value) => value === limit };
    const least = { "<=": (value) => value <= limit, "≤": (value) => value <= limit, ">=": (value) => value >= limit, "≥": (value) => value >= limit };
    return (row) => isKnown(column.value(row)) && (test[bound[1]] || least[bound[1]])(column.value(row));
  }
  return (row) => column.text(row).toLowerCase().includes(text);
}

class CaseTable {
  constructor() {
    this.columns = tableColumns();
    this.sorted = { column: 0, descending: false };
    this.most = ROWS_AT_ONCE;
    this.heads = this.columns.map((column, at) => element("th", { scope: "col", class: column.isNumber ? "number" : null, title: column.meaning || null },
      element("button", { type: "button", onclick: () => this.sort(at) }, column.title)));
    this.filters = this.columns.map((column) => element("input", { type: "text", "aria-label": `Filter ${column.title}`, placeholder: "filter", oninput: () => this.filter() }));
    const boxes = this.filters.map((input, at) => element("th", {}, at ? input : ""));
    const table = byId("case-table");
    table.tHead.append(element("tr", {}, ...this.heads), element("tr", {}, ...boxes));
    this.body = table.tBodies[0];
    byId("show-all").addEventListener("click", () => {
      for (const input of this.filters) input.value = "";
      this.filter();
    });
    byId("more-cases").addEventListener("click", () => { this.most += 5 * ROWS_AT_ONCE; this.draw(); });
    picked.listen((row) => this.mark(row));
    this.filter();
  }

  sort(at) {
    const again = this.sorted.column === at;
    this.sorted = { column: at, descending: again ? !this.sorted.descending : this.columns[at].better > 0 };
    this.draw();
  }

  filter() {
    const tests = this.filters.map((input, at) => filterOf(input.value, this.columns[at])).filter(isKnown);
    const rows = [...ROWS.keys()].filter((row) => tests.every((test) => test(row)));
    this.most = ROWS_AT_ONCE;
    kept.set(new Set(rows));
    this.draw();
  }

  draw() {
    const { value } = this.columns[this.sorted.column];
    const turn = this.sorted.descending ? -1 : 1;
    const isGiven = (cell) => isKnown(cell) && cell !== "";
    // Missing values are last in either direction.
    const rows = [...kept.value].sort((first, second) => {
      const [a, b] = [value(first), value(second)];
      if (!isGiven(a) || !isGiven(b)) return isGiven(b) - isGiven(a) || first - second;
      return turn * (a < b ? -1 : a > b ? 1 : 0) || first - second;
    });
    this.heads.forEach((head, at) => {
      const state = at === this.sorted.column ? (this.sorted.descending ? "descending" : "ascending") : "none";
      head.setAttribute("aria-sort", state);
      head.firstChild.textContent = this.columns[at].title + { none: "", ascending: " ▲", descending: " ▼" }[state];
    });
    byId("kept-count").textContent = `${rows.length} of ${ROWS.length} cases`;
    this.body.replaceChildren(...rows.slice(0, this.most).map((row) => this.row(row)));
    const left = rows.length - this.most;
    byId("more-cases").hidden = left <= 0;
    byId("more-cases").textContent = `Show more (${number(left)} left)`;
    this.mark(picked.value);
  }

  row(row) {
    const cells = this.columns.map((column) => {
      const kind = [column.isNumber ? "number" : "", column.isBest && column.isBest(row) ? "best" : "", column.isLong ? "why" : ""].filter(Boolean).join(" ");
      return element("td", { class: kind || null }, column.text(row));
    });
    return element("tr", { "data-row": row, class: ROWS[row].failed ? "failed" : null, onclick: () => picked.set(row === picked.value ? null : row) }, ...cells);
  }

  mark(row) {
    for (const line of this.body.rows) line.classList.toggle("picked", Number(line.dataset.row) === row && row !== null);
  }
}
