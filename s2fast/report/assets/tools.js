// Numbers and colours of the report.

// Metres with two decimals below 100, without decimals from 100.
const metres = (value) => number(value, !isKnown(value) || Math.abs(value) < 100 ? 2 : 0);

// Matplotlib's viridis in ten steps: its brightness rises evenly, also for colour-blind readers.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"]
  .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

function viridis(share) {
  const at = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = VIRIDIS[low].map((value, band) => Math.round(value + (VIRIDIS[low + 1][band] - value) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}

// Palettes of Okabe and Ito and of Tol; all verdicts differ for colour-blind readers (tests/report/test_page.py).
const INLIER_COLOUR = "#56b4e9";
const OUTLIER_COLOUR = "#e69f00";
const VERDICT_COLOURS = {
  "verified": "#0072b2",
  "not verified": "#b3bac2",
  "prior suspect": "#e69f00",
  "ambiguous": "#882255",
  "not enough ground": "#8c6d31",
  "no common ground": "#f4f1e6",
  "not run": "#ffffff",
};
// What says nothing does not shine on a dark screen.
const FAINT = { "no common ground": "#3a372c", "not run": "#2a323a" };
const onDark = () => window.matchMedia("(prefers-color-scheme: dark)").matches;
const verdictColour = (verdict) => (onDark() && FAINT[verdict]) || VERDICT_COLOURS[verdict];

// What draws on a canvas, to be drawn again when the colours change.
const onColours = [];
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => onColours.forEach((draw) => draw()));

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A spreadsheet runs a cell that begins like a formula.
const cell = (value) => {
  const text = isKnown(value) ? String(value) : "";
  const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
};

const csv = (rows) => new Blob([rows.map((row) => row.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" });
