// Fills the page.

function fillHead() {
  document.title = `${DATA.name}: s2fast sweep`;
  byId("title").textContent = `Sweep: ${DATA.name}`;
  const times = DATA.timed ? "Seconds" : "Cases ran side by side, so that only CPU seconds were kept. They";
  byId("facts").textContent = `${DATA.facts.join("; ")}. ${times} include every stage that a case needs, computed in this case or shared with an earlier one.`;
  byId("best-list").append(...DATA.best.flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]));
  byId("best").hidden = !DATA.best.length;
  const meanings = COLUMNS.filter(({ meaning }) => meaning);
  byId("meanings").append(...meanings.flatMap(({ title, meaning }) => [element("dt", {}, title), element("dd", {}, meaning)]));
}

function fillNavigation() {
  for (const section of document.querySelectorAll("main > section")) {
    if (!section.hidden) byId("nav").append(element("a", { href: `#${section.id}` }, section.querySelector("h2").textContent));
  }
}

fillHead();
for (const plot of DATA.plots) new FrontPlot(byId("front-list"), plot);
byId("fronts").hidden = !DATA.plots.length;
showEffects();
const parallel = new ParallelPlot(byId("parallel-plot"));
byId("parallel").hidden = parallel.axes.length < 2;
new CaseTable();
new PairLists();
showAgainst();
fillNavigation();
document.documentElement.dataset.ready = "yes";
