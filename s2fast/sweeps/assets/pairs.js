// The pairs that one case verifies and another does not, with both scenes and the matches that agree.

const CARDS_AT_ONCE = 8;

// Ends of the lines of a pair, as shares of the scenes' sides: query x, y, train x, y of each line.
function linesOf(packed) {
  const bytes = Uint8Array.from(atob(packed || ""), (letter) => letter.charCodeAt(0));
  const shares = Array.from(new Uint16Array(bytes.buffer), (share) => share / 65535);
  return Array.from({ length: shares.length / 4 }, (_, at) => shares.slice(4 * at, 4 * at + 4));
}

const pictures = new Map();

function pictureOf(name) {
  if (!pictures.has(name)) {
    const image = new Image();
    image.src = DATA.pairs.scenes[name].picture;
    pictures.set(name, image.decode().then(() => image));
  }
  return pictures.get(name);
}

async function drawCard(canvas, names, lines) {
  const scenes = names.map((name) => DATA.pairs.scenes[name]);
  if (!scenes.every(Boolean)) return;
  const images = await Promise.all(names.map(pictureOf));
  const width = canvas.parentElement.clientWidth;
  if (!width) return;
  const side = (width - 8) / 2;
  const boxes = scenes.map(({ rows, cols }, at) => {
    const scale = side / Math.max(rows, cols);
    return { x: at * (side + 8), width: cols * scale, height: rows * scale };
  });
  const context = sized(canvas, width, Math.max(...boxes.map(({ height }) => height)));
  context.imageSmoothingQuality = "high";
  boxes.forEach((box, at) => context.drawImage(images[at], box.x, 0, box.width, box.height));
  for (const [style, thick] of [["rgb(0 0 0 / 65%)", 3], ["#56b4e9", 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = thick;
    for (const [fromX, fromY, toX, toY] of lines) {
      context.beginPath();
      context.moveTo(boxes[0].x + fromX * boxes[0].width, fromY * boxes[0].height);
      context.lineTo(boxes[1].x + toX * boxes[1].width, toY * boxes[1].height);
      context.stroke();
    }
  }
}

class PairLists {
  constructor() {
    byId("pairs").hidden = !DATA.pairs;
    if (!DATA.pairs) return;
    const cases = Object.keys(DATA.pairs.cases).map(Number);
    const verified = (row) => DATA.pairs.cases[row].verified.reduce((sum, one) => sum + one, 0);
    for (const id of ["pairs-one", "pairs-other"]) {
      byId(id).append(...cases.map((row) => option(row, caseName(row))));
      byId(id).addEventListener("change", () => this.draw());
    }
    const first = (sign) => [...cases].sort((a, b) => sign * (verified(a) - verified(b)) || a - b)[0];
    byId("pairs-one").value = first(-1);
    byId("pairs-other").value = first(1);
    const { total, pairs } = DATA.pairs;
    const some = total > pairs.length ? ` The ${pairs.length} about which the cases are most divided are in this page.` : "";
    byId("pairs-note").textContent = `${number(total)} pairs are verified by some cases and not by others.${some} Lines: matches that agree with the shift.`;
    this.draw();
  }

  draw() {
    const [one, other] = ["pairs-one", "pairs-other"].map((id) => Number(byId(id).value));
    byId("pair-lists").replaceChildren(this.list(one, other), this.list(other, one));
  }

  list(by, not) {
    const { pairs, cases } = DATA.pairs;
    const found = [...pairs.keys()].filter((pair) => cases[by].verified[pair] && !cases[not].verified[pair]);
    const cards = element("ul", { class: "pair-cards" });
    const more = element("button", { type: "button", onclick: () => add() });
    const add = () => {
      const from = cards.children.length;
      for (const pair of found.slice(from, from + CARDS_AT_ONCE)) cards.append(this.card(pair, by, not));
      const left = found.length - cards.children.length;
      more.hidden = left <= 0;
      more.textContent = `Show more (${number(left)} left)`;
    };
    const root = element("section", {}, element("h3", {}, `Verified by ${caseName(by)}, not by #${not + 1}: ${number(found.length)}`), cards, more);
    requestAnimationFrame(add);
    return root;
  }

  card(pair, by, not) {
    const { pairs, cases } = DATA.pairs;
    const [yes, no] = [cases[by], cases[not]];
    const told = (held, column, digits) => (held[column] && isKnown(held[column][pair]) ? number(held[column][pair], digits) : "–");
    const agree = (held) => `${told(held, "n_inliers")} of ${told(held, "n_good")} ${told(held, "n_good") === "1" ? "match agrees" : "matches agree"}`;
    const canvas = element("canvas", { role: "img", "aria-label": `${pairs[pair][0]} beside ${pairs[pair][1]}` });
    const card = element("li", {}, canvas,
      element("p", {}, element("strong", {}, `${pairs[pair][0]} and ${pairs[pair][1]}`)),
      element("p", {}, `#${by + 1}: verified, ${agree(yes)}, ${told(yes, "dx_m", 2)} m east, ${told(yes, "dy_m", 2)} m north, error ${told(yes, "shift_error_m", 2)} m`),
      element("p", {}, `#${not + 1}: ${no.verdict[pair] || "not verified"}, ${agree(no)}`));
    requestAnimationFrame(() => drawCard(canvas, pairs[pair], linesOf(yes.lines[pair])));
    return card;
  }
}
