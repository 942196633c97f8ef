// Pictures of a pair: two scenes side by side with lines between matches, and the plot of displacements.

const GAP_PX = 14;

const loaded = new Map();

function picture(scene, kind) {
  const name = `${kind} ${scene.scene_id}`;
  if (!loaded.has(name)) {
    const image = new Image();
    image.src = scene[kind];
    loaded.set(name, image.decode().then(() => image));
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

function range(matches, rows, pair) {
  const centre = isKnown(value("dx_m", pair)) ? [value("dx_m", pair), value("dy_m", pair)] : [0, 0];
  const judged = rows.filter((row) => matches.kind[row] === INLIER);
  const far = (judged.length ? judged : rows)
    .map((row) => Math.max(Math.abs(matches.dx[row] - centre[0]), Math.abs(matches.dy[row] - centre[1])))
    .sort((a, b) => a - b);
  const most = far.length ? far[Math.floor((far.length - 1) * (judged.length ? 1 : 0.8))] : 1;
  // Keep the origin (zero shift) inside the plot unless it is far away.
  const origin = Math.max(...centre.map(Math.abs));
  const rival = isKnown(value("rival_dx_m", pair)) ? [value("rival_dx_m", pair), value("rival_dy_m", pair)] : centre;
  const away = Math.max(Math.abs(rival[0] - centre[0]), Math.abs(rival[1] - centre[1]));
  const half = Math.max(most * 1.25, away * 1.15, 1e-3);
  return { centre, half: origin < 6 * half ? Math.max(half, origin * 1.15) : half };
}

const SQUARE = { ...FRAME, width: 420, height: 394 };

// Plots the displacements of matches, train minus query; returns the number of points outside the plot.
function drawPlot(figure, matches, rows, pair) {
  const { centre, half } = range(matches, rows, pair);
  const limits = centre.map((at) => [at - half, at + half]);
  const drawn = chart({ x: limits[0], y: limits[1], equal: 1, titleX: `shift ${TO}${EAST} [${UNIT}]`, titleY: `shift ${TO}${NORTH} [${UNIT}]`, frame: SQUARE, label: "Displacements of the matches" });
  const { inside, x, y, low, high } = drawn;
  let outside = 0;
  for (const row of [...rows].reverse()) {
    const at = [matches.dx[row], matches.dy[row]];
    if (at.some((part, axis) => part < low[axis] || part > high[axis])) outside += 1;
    else inside.append((matches.kind[row] === INLIER ? dot : cross)(x(at[0]), y(at[1]), null, 3.5));
  }
  const ce90 = value("ce90_m", pair);
  if (isKnown(ce90)) inside.append(vector("circle", { class: "ring", cx: x(0), cy: y(0), r: x(ce90) - x(0) }));
  if (isKnown(value("rival_dx_m", pair))) {
    const at = [x(value("rival_dx_m", pair)), y(value("rival_dy_m", pair))];
    inside.append(vector("path", { class: "strong", d: `M${at[0]} ${at[1] - 9}l9 9l-9 9l-9 -9z` }));
  }
  if (isKnown(value("dx_m", pair))) {
    const at = [x(centre[0]), y(centre[1])];
    inside.append(vector("path", { class: "strong", d: `M${at[0] - 9} ${at[1]}h18M${at[0]} ${at[1] - 9}v18` }));
    const radius = x(value("shift_error_m", pair) || 0) - x(0);
    if (radius > 2) inside.append(vector("circle", { class: "strong", cx: at[0], cy: at[1], r: radius }));
  }
  const second = isKnown(value("rival_dx_m", pair)) ? ", diamond the second shift" : "";
  const circle = isKnown(ce90) ? `, dashed circle CE90 about no shift, ${metres(ce90)} ${UNIT}` : "";
  const kinds = VERIFICATION_RAN ? `dots inliers, crosses outliers, + the estimated shift${second}${circle}` : "crosses good matches";
  const some = rows.length < value("n_good", pair) ? ` of the ${number(rows.length)} nearest matches of ${number(value("n_good", pair))}` : " of each match";
  show(figure, drawn.root, `Displacement${some}, train minus query: ${kinds}${outside ? `; ${outside} more are outside the plot` : ""}`, "displacements");
}
