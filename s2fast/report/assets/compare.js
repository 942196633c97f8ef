// Both scenes of a pair on the query's grid, to be compared by a line that moves or by turns; zoomed and moved.

const FLICKER_MS = 700;

// Length of the displacement that nine of ten do not exceed.
const ARROW_PX = 36;

const LEGEND_PX = { margin: 8, height: 24 };

class Compare {
  constructor() {
    this.canvas = byId("compare-canvas");
    this.turn = 0;
    const redraw = () => this.draw();
    byId("compare-mode").addEventListener("change", () => { this.stop(); redraw(); });
    for (const id of ["compare-at", "compare-shift", "compare-arrows"]) byId(id).addEventListener("input", redraw);
    byId("compare-flicker").addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    byId("compare-whole").addEventListener("click", () => { this.whole(); redraw(); });
    this.canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY); }, { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); this.from = [event.offsetX, event.offsetY]; });
    this.canvas.addEventListener("pointermove", (event) => this.drag(event));
    this.canvas.addEventListener("pointerup", () => { this.from = null; });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // Shows a pair; hides itself if the scenes lie on different maps.
  async open(pair, matches, isCurrent) {
    this.stop();
    const scenes = [SCENES[PAIRS.query[pair]], SCENES[PAIRS.train[pair]]];
    byId("pair-compare").hidden = scenes[0].map !== scenes[1].map;
    if (byId("pair-compare").hidden) return;
    const images = await Promise.all(scenes.map((scene) => picture(scene, "colour")));
    if (!isCurrent()) return;
    Object.assign(this, { pair, scenes, images, matches });
    this.whole();
    this.draw();
  }

  whole() { [this.scale, this.left, this.top] = [1, 0, 0]; }

  zoom(factor, x, y) {
    const scale = Math.min(40, Math.max(1, this.scale * factor));
    const ratio = scale / this.scale;
    [this.left, this.top, this.scale] = [x - ratio * (x - this.left), y - ratio * (y - this.top), scale];
    this.draw();
  }

  drag(event) {
    if (!this.from) return;
    this.left += event.offsetX - this.from[0];
    this.top += event.offsetY - this.from[1];
    this.from = [event.offsetX, event.offsetY];
    this.draw();
  }

  key(event) {
    const step = 40;
    const moves = { ArrowUp: [0, step], ArrowDown: [0, -step], ArrowLeft: [step, 0], ArrowRight: [-step, 0] };
    const middle = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    if (event.key === "+" || event.key === "=") this.zoom(1.25, ...middle);
    else if (event.key === "-") this.zoom(0.8, ...middle);
    else if (event.key in moves && this.scale > 1) {
      this.left += moves[event.key][0];
      this.top += moves[event.key][1];
      this.draw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  start() {
    byId("compare-mode").value = "flicker";
    byId("compare-flicker").setAttribute("aria-pressed", "true");
    this.timer = setInterval(() => { this.turn = 1 - this.turn; this.draw(); }, FLICKER_MS);
    this.draw();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.turn = 0;
    byId("compare-flicker").setAttribute("aria-pressed", "false");
  }

  // Draws the scenes again; `matches`, if given, are other ones of the same pair.
  draw(matches = this.matches) {
    if (!this.scenes) return;
    this.matches = matches;
    const [query, train] = this.scenes;
    const width = this.canvas.parentElement.clientWidth;
    const height = Math.min((width * query.rows) / query.cols, Math.max(320, window.innerHeight * 0.7));
    const context = sized(this.canvas, width, height);
    const mode = byId("compare-mode").value;
    byId("compare-slider").hidden = mode !== "swipe";
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    // From the query's pixels to the canvas.
    const fit = Math.min(width / query.cols, height / query.rows) * this.scale;
    const place = [fit, 0, this.left + ((width - query.cols * (fit / this.scale)) / 2) * this.scale, 0, fit, this.top + ((height - query.rows * (fit / this.scale)) / 2) * this.scale];
    const onTrain = composed(place, composed(inverse(query.transform), this.trainOnGround(train)));
    const line = (Number(byId("compare-at").value) / 1000) * width;
    if (mode === "swipe" || this.turn === 0) this.paint(context, this.images[0], query, place, [0, mode === "swipe" ? line : width], height);
    if (mode === "swipe" || this.turn === 1) this.paint(context, this.images[1], train, onTrain, [mode === "swipe" ? line : 0, width], height);
    if (mode === "swipe") {
      context.fillStyle = "#e69f00";
      context.fillRect(line - 1, 0, 2, height);
    }
    const scale = byId("compare-arrows").checked ? this.arrows(context, place, query) : null;
    if (scale) this.legend(context, scale, height);
    this.tell(mode, scale !== null);
  }

  // The train's grid on the ground, moved back by the measured shift if that is wanted.
  trainOnGround(train) {
    const east = value("dx_m", this.pair);
    const ground = [...train.transform];
    if (!byId("compare-shift").checked || !isKnown(east) || !train.metres_per_unit) return ground;
    ground[2] -= east / train.metres_per_unit;
    ground[5] -= value("dy_m", this.pair) / train.metres_per_unit;
    return ground;
  }

  paint(context, image, scene, place, [left, right], height) {
    const [a, b, c, d, e, f] = composed(place, [scene.cols / image.width, 0, 0, 0, scene.rows / image.height, 0]);
    context.save();
    context.beginPath();
    context.rect(left, 0, Math.max(0, right - left), height);
    context.clip();
    context.transform(a, d, b, e, c, f);
    context.drawImage(image, 0, 0);
    context.restore();
  }

  // Draws the displacements of the inliers, enlarged; returns the pixels of a metre, or null if there are none.
  arrows(context, place, query) {
    const { matches } = this;
    const rows = matches ? Array.from({ length: matches.count }, (_, row) => row).filter((row) => matches.kind[row] === INLIER) : [];
    if (!rows.length) return null;
    const lengths = rows.map((row) => Math.hypot(matches.dx[row], matches.dy[row])).sort((a, b) => a - b);
    const scale = ARROW_PX / (lengths[Math.floor((lengths.length - 1) * 0.9)] || 1);
    drawArrows(context, rows.map((row) => [
      place[0] * matches.queryX[row] * query.cols + place[2], place[4] * matches.queryY[row] * query.rows + place[5],
      matches.dx[row] * scale, -matches.dy[row] * scale,
    ]));
    return scale;
  }

  // Draws an arrow of a round length, with that length, in the lower left corner.
  legend(context, scale, height) {
    const longest = ARROW_PX / scale;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].map((times) => times * power).find((size) => size <= longest);
    const text = `${number(length, Math.max(0, -Math.floor(Math.log10(power) + 1e-9)))} ${UNIT}`;
    const { margin, height: tall } = LEGEND_PX;
    const middle = height - margin - tall / 2;
    context.font = '13px system-ui, "DejaVu Sans", sans-serif';
    context.fillStyle = "rgb(0 0 0 / 75%)";
    context.fillRect(margin, middle - tall / 2, length * scale + context.measureText(text).width + 28, tall);
    drawArrows(context, [[margin + 10, middle, length * scale, 0]]);
    context.fillStyle = "#fff";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(text, margin + 18 + length * scale, middle);
    this.legendText = text;
  }

  tell(mode, withArrows) {
    const [query, train] = this.scenes.map((scene) => scene.label);
    const shown = mode === "swipe" ? `${query} on the left of the line, ${train} on the right` : `${this.turn ? train : query} is shown`;
    const arrows = withArrows ? `; the arrow in the corner is a displacement of ${this.legendText}` : "";
    byId("compare-caption").textContent = `Both on the query's grid, at the size of the page's pictures: ${shown}${arrows}. Wheel or + and - zoom, drag or arrows move.`;
    this.canvas.setAttribute("aria-label", byId("compare-caption").textContent);
  }
}

// Draws arrows from [x, y] by [right, down], blue with a dark edge.
function drawArrows(context, arrows) {
  for (const [style, lineWidth] of [["rgb(0 0 0 / 70%)", 3.4], [INLIER_COLOUR, 1.6]]) {
    context.strokeStyle = style;
    context.lineWidth = lineWidth;
    for (const [x, y, right, down] of arrows) {
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x + right, y + down);
      const turn = Math.atan2(down, right);
      for (const side of [2.6, -2.6]) {
        context.moveTo(x + right, y + down);
        context.lineTo(x + right + 7 * Math.cos(turn + side), y + down + 7 * Math.sin(turn + side));
      }
      context.stroke();
    }
  }
}

// Affine maps as [a, b, c, d, e, f]: x' = a x + b y + c, y' = d x + e y + f.
function composed([a, b, c, d, e, f], [g, h, i, j, k, l]) {
  return [a * g + b * j, a * h + b * k, a * i + b * l + c, d * g + e * j, d * h + e * k, d * i + e * l + f];
}

function inverse([a, b, c, d, e, f]) {
  const det = a * e - b * d;
  return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
}
