// The cases of this sweep beside equal cases of another one: other sources, other scenes, another file.

function showAgainst() {
  const choices = DATA.earlier.filter(({ cases }) => cases.length);
  byId("against").hidden = !choices.length;
  if (!choices.length) return;
  const select = byId("against-choice");
  select.append(...choices.map(({ name }, at) => option(at, name)));
  const show = () => {
    const { cases } = choices[Number(select.value)];
    const used = COLUMNS.map((column, at) => ({ ...column, at })).filter(({ at }) => cases.some(({ by }) => isKnown(by[at])));
    const head = [["#", ""], ["case", "", "words"], ...used.map(({ title, meaning }) => [title, meaning])];
    byId("against-table").tHead.replaceChildren(element("tr", {}, ...head.map(([title, meaning, kind = "number"]) => element("th", { scope: "col", class: kind, title: meaning || null }, title))));
    byId("against-table").tBodies[0].replaceChildren(...cases.map((one) => element("tr", { onclick: () => pick(one.index) },
      element("td", { class: "number" }, String(one.index + 1)), element("td", {}, ROWS[one.index].label),
      ...used.map(({ at, better }) => changeCell(one, at, better)))));
  };
  select.addEventListener("change", show);
  show();
}

function changeCell(one, at, better) {
  const by = one.by[at];
  const now = ROWS[one.index].texts[at] || "–";
  if (!isKnown(by)) return element("td", { class: "number" }, now);
  const before = one.values[at];
  const sign = by > 0 ? "+" : "−";
  const share = before ? `${sign}${Number(Math.abs((100 * by) / before).toPrecision(2))} %` : `${sign}${figure(Math.abs(by))}`;
  const kind = by && better ? (by * better > 0 ? "better" : "worse") : "";
  return element("td", { class: `number ${kind}`.trim(), title: `before: ${one.texts[at]}` }, `${now} (${by ? share : "="})`);
}
