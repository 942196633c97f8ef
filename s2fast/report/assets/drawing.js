// Pictures of a pair: two scenes side by side with lines between matches, and the plot of displacements.

const GAP_PX = 14;

const loaded = new Map();

const LARGE = new Map(DATA.beside.scenes);

// Returns a picture of a scene: the large one from beside the page, if there is one, or that of the page.
function picture(scene, kind) {
  const name = `${kind} ${scene.scene_id}`;
  if (!loaded.has(name)) {
    loaded.set(name, (async () => {
      const file = LARGE.get(SCENES.indexOf(scene));
      const large = file ? await fromBeside(file) : null;
      const image = new Image();
      image.src = large?.[kind] || scene[kind];
      if (file && !large) loaded.delete(name);
      await image.decode();
      return image;
    })());
  }
  return loaded.get(name);
}

// Draws both scenes on one canvas; returns the rectangle of each.
async function drawScenes(canvas, scenes, kind, isCurrent) {
  const images = await Promise.all(scenes.map((scene) => picture(scene, kind)));
  if (!isCurrent()) return null;
  const width = canvas.parentElement.clientWidth;
  const side = (width - GAP_PX) / 2;
  const boxes = scenes.map((scene, index) => {
    const scale = side / Math.max(scene.rows, scene.cols);
    return { x: index * (side + GAP_PX), y: 18, width: scene.cols * scale, height: scene.rows * scale };
  });
  const context = sized(canvas, width, 18 + Math.max(...boxes.map((box) => box.height)));
  context.font = '12px system-ui, "DejaVu Sans", sans-serif';
  context.fillStyle = ink("ink");
  context.imageSmoothingQuality = "high";
  boxes.forEach((box, index) => {
    context.fillText(`${index ? "train" : "query"} ${scenes[index].label}`, box.x, 12, side);
    context.drawImage(images[index], box.x, box.y, box.width, box.height);
  });
  return { context, boxes };
}

// Inliers are solid and blue; outliers and unverified matches are dashed and orange.
function drawLines({ context, boxes: [left, right] }, matches, rows) {
  const dash = (kind) => (kind === INLIER ? [] : [5, 4]);
  const colour = (kind) => (kind === INLIER ? INLIER_COLOUR : OUTLIER_COLOUR);
  for (const row of rows) {
    const kind = matches.kind[row];
    const from = [left.x + matches.queryX[row] * left.width, left.y + matches.queryY[row] * left.height];
    const to = [right.x + matches.trainX[row] * right.width, right.y + matches.trainY[row] * right.height];
    // A dark edge keeps lines visible on bright ground.
    for (const [style, width] of [["rgb(0 0 0 / 65%)", 3.2], [colour(kind), 1.6]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.setLineDash(dash(kind));
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
      context.setLineDash([]);
      for (const end of [from, to]) {
        context.beginPath();
        context.arc(...end, 3.5, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }
}

// The middle of the plot, and how far it reaches.
function range(inliers, matches, rows, pair) {
  const centre = isKnown(value("dx_m", pair)) ? [value("dx_m", pair), value("dy_m", pair)] : [0, 0];
  const away = (dx, dy) => Math.max(Math.abs(dx - centre[0]), Math.abs(dy - centre[1]));
  const far = (inliers.length ? inliers.map(([dx, dy]) => away(dx, dy)) : rows.map((row) => away(matches.dx[row], matches.dy[row]))).sort((a, b) => a - b);
  const most = far.length ? far[Math.floor((far.length - 1) * (inliers.length ? 0.995 : 0.8))] : 1;
  // Keep the origin (zero shift) inside the plot unless it is far away.
  const origin = Math.max(...centre.map(Math.abs));
  const rival = isKnown(value("rival_dx_m", pair)) ? [value("rival_dx_m", pair), value("rival_dy_m", pair)] : centre;
  const half = Math.max(most * 1.25, away(...rival) * 1.15, 1e-3);
  return { centre, half: origin < 6 * half ? Math.max(half, origin * 1.15) : half };
}

const SQUARE = { ...FRAME, width: 420, height: 394 };

// Plots the displacements, train minus query: of all inliers where they are known, or of those among the nearest matches.
function drawPlot(figure, { matches, residuals }, pair) {
  const rows = matches ? Array.from({ length: matches.count }, (_, row) => row) : [];
  const shift = [value("dx_m", pair), value("dy_m", pair)];
  const others = rows.filter((row) => matches.kind[row] !== INLIER);
  const inliers = residuals
    ? Array.from(residuals.east, (east, at) => [east + shift[0], residuals.north[at] + shift[1]])
    : rows.filter((row) => matches.kind[row] === INLIER).map((row) => [matches.dx[row], matches.dy[row]]);
  figure.hidden = !inliers.length && !others.length;
  if (figure.hidden) return;
  const { centre, half } = range(inliers, matches, rows, pair);
  const limits = centre.map((at) => [at - half, at + half]);
  const drawn = chart({ x: limits[0], y: limits[1], equal: 1, titleX: `shift ${TO}${EAST} [${UNIT}]`, titleY: `shift ${TO}${NORTH} [${UNIT}]`, frame: SQUARE, label: "Displacements of the matches" });
  const { inside, x, y, low, high } = drawn;
  let outside = 0;
  const within = (points) => points.filter((at) => {
    const fits = at.every((part, axis) => part >= low[axis] && part <= high[axis]);
    outside += !fits;
    return fits;
  });
  inside.append(dots(within(inliers).map(([dx, dy]) => [x(dx), y(dy)]), inliers.length > 1000 ? 1.5 : 3));
  for (const at of within(others.map((row) => [matches.dx[row], matches.dy[row]]))) inside.append(cross(x(at[0]), y(at[1]), null, 3.5));
  const circle = residuals ? ce(residuals, 0.9) : value("ce90_m", pair);
  const middle = residuals ? shift : [0, 0];
  if (isKnown(circle)) inside.append(vector("circle", { class: "ring", cx: x(middle[0]), cy: y(middle[1]), r: x(circle) - x(0) }));
  if (isKnown(value("rival_dx_m", pair))) {
    const at = [x(value("rival_dx_m", pair)), y(value("rival_dy_m", pair))];
    inside.append(vector("path", { class: "strong", d: `M${at[0]} ${at[1] - 9}l9 9l-9 9l-9 -9z` }));
  }
  if (isKnown(shift[0])) {
    const at = [x(centre[0]), y(centre[1])];
    inside.append(vector("path", { class: "strong", d: `M${at[0] - 9} ${at[1]}h18M${at[0]} ${at[1] - 9}v18` }));
    const radius = x(value("shift_error_m", pair) || 0) - x(0);
    if (radius > 2) inside.append(vector("circle", { class: "strong", cx: at[0], cy: at[1], r: radius }));
  }
  const parts = [];
  if (inliers.length) parts.push(`dots: ${residuals && residuals.count === value("n_inliers", pair) ? "all " : ""}${number(inliers.length)} inliers`);
  if (others.length) parts.push(`crosses: the ${number(others.length)} nearest ${VERIFICATION_RAN ? "outliers" : `of ${number(value("n_good", pair))} good matches`}`);
  if (isKnown(shift[0])) parts.push("+: the estimated shift");
  if (isKnown(value("rival_dx_m", pair))) parts.push("diamond: the second shift");
  if (isKnown(circle)) parts.push(`dashed: CE90 about ${residuals ? "the shift" : "no shift, of all inliers"}, ${metres(circle)} ${UNIT}`);
  show(figure, drawn.root, `Displacement, train minus query; ${parts.join("; ")}${outside ? `; ${number(outside)} more are outside the plot` : ""}`, "displacements");
}

// The radius that holds this share of residuals, interpolated linearly.
function ce({ east, north }, share) {
  const lengths = Array.from(east, (at, index) => Math.hypot(at, north[index])).sort((a, b) => a - b);
  const rank = share * (lengths.length - 1);
  const [low, high] = [Math.floor(rank), Math.ceil(rank)];
  return lengths[low] + (lengths[high] - lengths[low]) * (rank - low);
}
