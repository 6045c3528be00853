// What happens when: choices change the state, the state is drawn.

let current = []; // rows that pass the filters, strongest first
const sliders = {};

/** Draw everything that follows from the state. */
function update({ fresh = false } = {}) {
  current = passing();
  const focus = state.focus === null ? null : neighbourhood(current);
  const view = focus ?? overview(current);
  drawPicture(view.edges, { column: focus?.column ?? null, fresh });
  tellCounts(focus, view);
  fillTable(current);
  showDetails(current);
  $("focus-tools").hidden = state.focus === null;
}

const linkNoun = () => (data.counts.has_evidence && !state.candidates ? "link with evidence" : state.candidates ? "pair" : "link");

function tellCounts(focus, view) {
  const nNodes = new Set(view.edges.flatMap((edge) => [edge.cause, edge.effect])).size;
  const between = `between ${plural(nNodes, state.level > 0 ? "group" : "event type")}`;
  const all = rows.filter((row) => state.candidates || isLink(row)).length;
  const noun = linkNoun();
  const passed = `${whole.format(current.length)} of ${noun === "link with evidence" ? `${whole.format(all)} links with evidence` : plural(all, noun)} pass the filters`;
  const missing = links.n_links > rows.filter(isLink).length ? ` (${whole.format(links.n_links)} were found; the strongest are in this page)` : "";
  const merging = view.n < current.length ? `, merged into ${whole.format(view.n)} by components` : "";
  let drawn = `; all are drawn, ${between}.`;
  if (focus) drawn = `; around ${nameOf(state.focus)}: ${plural(nNodes, "event type")}${focus.nLeft ? `, ${whole.format(focus.nLeft)} on weaker links left out` : ""}.`;
  else if (view.n > view.edges.length) {
    const more = data.types.n_components > 1 && state.level === 0 ? "; group by component to see the whole" : "";
    drawn = `; the strongest ${whole.format(view.edges.length)} are drawn, ${between}. The table has all${more}.`;
  }
  $("counts").textContent = passed + missing + merging + drawn;
}

/** Pick an event, a link, or nothing. */
function pick(what, { from = "picture" } = {}) {
  state.picked = what;
  const hidden = what?.node ? cy.getElementById(what.node).empty() : what && cy.edges().every((edge) => !edgeHolds(edge, what.link));
  if (hidden) update();
  else {
    markPicked();
    showDetails(current);
    fillTable(current);
  }
  if (what?.link !== undefined && from !== "table") turnTo(what.link);
  if (what?.node) say(`${nameOf(what.node)} selected`);
}

function focusOn(node) {
  state.focus = node;
  state.picked = node === null ? state.picked : { node };
  update();
  say(node === null ? "all links" : `focus on ${nameOf(node)}`);
}

function expand(group) {
  state.expanded.add(group);
  state.picked = null;
  if (state.focus === group) state.focus = null;
  update();
  say(`${nameOf(group)} expanded`);
}

function collapse(group) {
  for (const open of [...state.expanded]) if (open === group || open.startsWith(`${group}|`)) state.expanded.delete(open);
  state.picked = { node: group };
  state.focus = null;
  update();
}

/** Show an event wherever it is: open what hides it. */
function find(name) {
  const exact = Math.max(names.indexOf(name), shownName.indexOf(name));
  const type = exact >= 0 ? exact : names.findIndex((_, i) => named(i, name.toLowerCase()));
  if (type < 0) {
    say("no event of that name");
    return;
  }
  while (typeOf(nodeOf(type)) === null) state.expanded.add(nodeOf(type));
  if (state.focus !== null) state.focus = nodeOf(type);
  state.picked = { node: nodeOf(type) };
  update();
  reveal(cy.getElementById(nodeOf(type)));
}

function readFilters() {
  const previous = state.measure;
  state.measure = $("measure").value;
  if (previous !== state.measure) {
    sliders.strength = new Quantiles($("strength"), $("strength-out"), value[state.measure]);
    $("strength").value = 0;
  }
  const low = (id) => (Number($(id).value) === 0 ? (sliders[id].value, -Infinity) : sliders[id].value);
  const high = (id) => (Number($(id).value) === Number($(id).max) ? (sliders[id].value, Infinity) : sliders[id].value);
  state.strength = low("strength");
  state.support = low("support");
  state.lag = high("lag");
  state.q = links.q === null ? Infinity : high("q");
  state.less = $("less").checked;
  state.single = $("single").checked;
  state.candidates = $("candidates").checked;
  state.limit = Math.min(MOST_LINKS, Math.max(1, Math.floor(Number($("limit").value)) || 1));
}

const MOST_LINKS = 250; // more cannot be laid out at once, nor read
const DRAWN_FIRST = data.counts.has_evidence ? 80 : 40; // links with evidence are few and seldom cross

/** Say on what the graph rests, and how much is not shown. */
function tellBasis() {
  const count = (test) => rows.filter(test).length;
  const nLess = count((row) => (isLink(row) || state.candidates) && !isMore(row));
  const nSingle = count((row) => isSingle(row) && isMore(row));
  const nWeak = value.is_edge ? count((row) => !isLink(row)) : 0;
  $("less-name").textContent = `less likely (${whole.format(nLess)})`;
  $("less-box").hidden = nLess === 0;
  $("single-name").textContent = `seen in one case only (${whole.format(nSingle)})`;
  $("single-box").hidden = !hasSingles;
  $("candidates-name").textContent = `without evidence (${whole.format(nWeak)})`;
  $("candidates-box").hidden = nWeak === 0;
  const words = [];
  if (nLinks && !data.counts.has_evidence) words.push("These links have no evidence over cases (the command sequela population gathers it): the strongest are shown, and some may be false.");
  if (nLess) words.push(`${plural(nLess, "link")} that ${nLess === 1 ? "makes its effect" : "make their effects"} less likely ${nLess === 1 ? "is" : "are"} ${state.less ? "shown" : "hidden"}.`);
  $("basis").textContent = words.join(" ");
  $("basis").hidden = words.length === 0;
}

function startFilters() {
  for (const key of links.measures) $("measure").append(make("option", { value: key }, key.endsWith("_total") ? "summed over places" : "mean of places"));
  $("measure-box").hidden = links.measures.length < 2;
  sliders.strength = new Quantiles($("strength"), $("strength-out"), value[state.measure]);
  sliders.support = new Quantiles($("support"), $("support-out"), value[links.support]);
  sliders.lag = new Quantiles($("lag"), $("lag-out"), value[links.lag]);
  $("support-name").textContent = "In cases, at least";
  if (links.q === null) $("q-box").hidden = true;
  else sliders.q = new Quantiles($("q"), $("q-out"), value[links.q]);
  tellBasis();
  $("level").append(make("option", { value: 0 }, "whole events"));
  for (let level = 1; level < data.types.n_components; level += 1) {
    $("level").append(make("option", { value: level }, level === 1 ? "first component" : `first ${level} components`));
  }
  $("level-box").hidden = data.types.n_components < 2;
  $("limit").value = state.limit;
  $("names").append(...[...shownName].sort().slice(0, 2000).map((name) => make("option", { value: name })));
  let waiting = 0;
  $("filters").addEventListener("input", (event) => {
    if (event.target.id === "search" || event.target.id === "level") return;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      readFilters();
      tellBasis();
      update();
    });
  });
  $("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("search").value) find($("search").value);
  });
  $("search").addEventListener("change", () => $("search").value && find($("search").value));
  $("level").addEventListener("change", () => {
    state.level = Number($("level").value);
    state.expanded.clear();
    state.picked = null;
    state.focus = null;
    update();
  });
  $("filters").addEventListener("reset", () => setTimeout(() => {
    Object.assign(state, { picked: null, focus: null, level: 0 });
    state.expanded.clear();
    $("limit").value = Math.min(DRAWN_FIRST, Math.max(1, nLinks));
    readFilters();
    tellBasis();
    update();
  }));
}

function startButtons() {
  $("arrange").addEventListener("click", () => update({ fresh: true }));
  $("fit").addEventListener("click", fitAll);
  const zoom = (factor) => cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
  $("closer").addEventListener("click", () => zoom(1.3));
  $("farther").addEventListener("click", () => zoom(1 / 1.3));
  $("unfocus").addEventListener("click", () => focusOn(null));
  $("hops").addEventListener("input", () => {
    state.hops = Math.min(8, Math.max(1, Number($("hops").value) || 1));
    update();
  });
  $("png").addEventListener("click", savePng);
  $("svg").addEventListener("click", () => saveSvg(pictureSvg(), ".svg"));
  $("csv").addEventListener("click", saveCsv);
  $("copy").addEventListener("click", copyTable);
  $("graph").addEventListener("keydown", walk);
}

function startTheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const set = (isDark) => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    $("theme").textContent = isDark ? "Light" : "Dark";
    if (cy) cy.style(pictureStyle());
    if (openCase.lit) markCase();
  };
  $("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  dark.addEventListener("change", () => set(dark.matches));
  let before = false; // paper is white
  window.addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme === "dark";
    if (before) set(false);
    $("trust").open = true;
    if (!$("types").hidden) $("paper").replaceChildren(pictureSvg()); // a canvas would be cut off
  });
  window.addEventListener("afterprint", () => {
    $("paper").replaceChildren();
    if (before) set(true);
  });
  set(dark.matches);
}

const TABS = ["tab-findings", "tab-types", "tab-cases", "tab-outcomes"];

function openTab(chosen) {
  for (const id of TABS) {
    const isChosen = id === chosen;
    $(id).setAttribute("aria-selected", isChosen);
    $(id).setAttribute("tabindex", isChosen ? 0 : -1);
    $($(id).getAttribute("aria-controls")).hidden = !isChosen;
  }
  document.body.dataset.view = $(chosen).getAttribute("aria-controls");
  if (chosen === "tab-types") openGraph();
  if (chosen === "tab-cases" && data.cases.length) {
    drawArcs();
    reachPicked();
  }
}

let graphIsOpen = false;

/** The graph is laid out when it is first looked at. */
function openGraph() {
  if (!graphIsOpen) {
    graphIsOpen = true;
    startPicture();
    drawLegend();
    update();
  }
  fitAll();
}

function startTabs() {
  const tabs = TABS.map($);
  for (const tab of tabs) {
    tab.addEventListener("click", () => openTab(tab.id));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const open = tabs.filter((other) => !other.hidden);
      const other = open[(open.indexOf(tab) + by + open.length) % open.length];
      openTab(other.id);
      other.focus();
    });
  }
  $("tab-outcomes").hidden = data.outcomes === null;
  $("tab-cases").hidden = data.cases.length === 0;
  if (data.counts.is_one_case && data.cases.length) openTab("tab-cases");
}

state.limit = Math.min(DRAWN_FIRST, Math.max(1, nLinks));
startTheme();
startTable();
startFilters();
startButtons();
readFilters();
startFindings();
if (data.cases.length) startCases();
if (data.outcomes !== null) startOutcomes();
startTabs();
document.documentElement.dataset.ready = "yes";
