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
  context.fillStyle = "#1b1f24";
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

// Plots the displacements of matches, train minus query; returns the number of points outside the plot.
function drawPlot(canvas, matches, rows, pair) {
  const width = canvas.parentElement.clientWidth;
  const frame = { x: 64, y: 8, side: width - 64 - 14 };
  const context = sized(canvas, width, frame.side + frame.y + 46);
  const { centre, half } = range(matches, rows, pair);
  const toX = (east) => frame.x + ((east - centre[0]) / half + 1) * (frame.side / 2);
  const toY = (north) => frame.y + (1 - (north - centre[1]) / half) * (frame.side / 2);
  context.font = '12px system-ui, "DejaVu Sans", sans-serif';
  context.strokeStyle = "#d0d7de";
  context.fillStyle = "#1b1f24";
  context.lineWidth = 1;
  context.strokeRect(frame.x, frame.y, frame.side, frame.side);
  axis(context, frame, [centre[0] - half, centre[0] + half], toX, true);
  axis(context, frame, [centre[1] - half, centre[1] + half], toY, false);
  context.save();
  context.beginPath();
  context.rect(frame.x, frame.y, frame.side, frame.side);
  context.clip();
  let outside = 0;
  for (const row of [...rows].reverse()) {
    const [x, y] = [toX(matches.dx[row]), toY(matches.dy[row])];
    if (x < frame.x || x > frame.x + frame.side || y < frame.y || y > frame.y + frame.side) outside += 1;
    else point(context, x, y, matches.kind[row]);
  }
  if (isKnown(value("rival_dx_m", pair))) diamond(context, toX(value("rival_dx_m", pair)), toY(value("rival_dy_m", pair)));
  if (isKnown(value("dx_m", pair))) estimate(context, toX(centre[0]), toY(centre[1]), ((value("shift_error_m", pair) || 0) / half) * (frame.side / 2));
  context.restore();
  return outside;
}

function axis(context, frame, [low, high], toPosition, across) {
  const { values, digits } = ticks(low, high, 5);
  for (const at of values) {
    const position = toPosition(at);
    context.strokeStyle = at === 0 ? "#57606a" : "#e3e7eb";
    context.beginPath();
    context.moveTo(...(across ? [position, frame.y] : [frame.x, position]));
    context.lineTo(...(across ? [position, frame.y + frame.side] : [frame.x + frame.side, position]));
    context.stroke();
    context.textAlign = across ? "center" : "right";
    context.textBaseline = across ? "top" : "middle";
    context.fillText(number(at, digits), ...(across ? [position, frame.y + frame.side + 5] : [frame.x - 6, position]));
  }
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  if (across) context.fillText("shift to the east [m]", frame.x + frame.side / 2, frame.y + frame.side + 36);
  else {
    context.save();
    context.translate(14, frame.y + frame.side / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("shift to the north [m]", 0, 0);
    context.restore();
  }
}

function point(context, x, y, kind) {
  context.lineWidth = 1.5;
  context.beginPath();
  if (kind === INLIER) {
    context.fillStyle = "rgb(0 114 178 / 70%)";
    context.arc(x, y, 3.5, 0, 2 * Math.PI);
    context.fill();
  } else {
    context.strokeStyle = "#b36b00";
    context.moveTo(x - 3.5, y - 3.5);
    context.lineTo(x + 3.5, y + 3.5);
    context.moveTo(x - 3.5, y + 3.5);
    context.lineTo(x + 3.5, y - 3.5);
    context.stroke();
  }
}

function diamond(context, x, y) {
  context.strokeStyle = "#000";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x, y - 9);
  for (const [dx, dy] of [[9, 0], [0, 9], [-9, 0]]) context.lineTo(x + dx, y + dy);
  context.closePath();
  context.stroke();
}

function estimate(context, x, y, radius) {
  context.strokeStyle = "#000";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - 9, y);
  context.lineTo(x + 9, y);
  context.moveTo(x, y - 9);
  context.lineTo(x, y + 9);
  context.stroke();
  if (radius > 2) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}
