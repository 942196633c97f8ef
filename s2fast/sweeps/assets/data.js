// The sweep's results, written by page_data.py, and what the parts of the page share.

const DATA = JSON.parse(byId("data").textContent);
byId("data").remove();
const ROWS = DATA.rows;
const COLUMNS = DATA.columns;
const COLUMN_AT = new Map(COLUMNS.map(({ name }, at) => [name, at]));

const valueOf = (row, name) => ROWS[row].values[COLUMN_AT.get(name)];
const textOf = (row, name) => ROWS[row].texts[COLUMN_AT.get(name)];
const titleOf = (name) => COLUMNS[COLUMN_AT.get(name)].title;
const isBetter = (name) => COLUMNS[COLUMN_AT.get(name)].better;
const caseName = (row) => `#${row + 1} ${ROWS[row].label}`;
const shortKey = (key) => key.split(".").pop();

// Four significant digits.
function figure(value) {
  if (!isKnown(value)) return "–";
  return Math.abs(value) >= 1000 ? number(value) : String(Number(value.toPrecision(4)));
}

// A value that parts of the page share; listeners are called when it changes.
class Shared {
  constructor(value) {
    this.value = value;
    this.listeners = [];
  }

  listen(listener) { this.listeners.push(listener); }

  set(value) {
    this.value = value;
    for (const listener of this.listeners) listener(value);
  }
}

const kept = new Shared(new Set(ROWS.keys()));
const picked = new Shared(null);

function describe(row, names = COLUMNS.map(({ name }) => name)) {
  const figures = names.filter((name) => textOf(row, name)).map((name) => `${titleOf(name)}: ${textOf(row, name)}`);
  return [caseName(row), ...figures].join("\n");
}

function option(value, text) { return element("option", { value }, text); }
