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

function tellCounts(focus, view) {
  const nNodes = new Set(view.edges.flatMap((edge) => [edge.cause, edge.effect])).size;
  const between = `between ${plural(nNodes, state.level > 0 ? "group" : "event type")}`;
  const all = rows.filter((row) => state.candidates || isLink(row)).length;
  const passed = `${whole.format(current.length)} of ${plural(all, state.candidates ? "pair" : "link")} pass the filters`;
  const missing = links.n_links > rows.filter(isLink).length ? ` (${whole.format(links.n_links)} were found; the strongest are in this page)` : "";
  const merging = view.n < current.length ? `, merged into ${whole.format(view.n)} by parts` : "";
  let drawn = `; all are drawn, ${between}.`;
  if (focus) drawn = `; around ${nameOf(state.focus)}: ${plural(nNodes, "event type")}${focus.nLeft ? `, ${whole.format(focus.nLeft)} on weaker links left out` : ""}.`;
  else if (view.n > view.edges.length) drawn = `; the strongest ${whole.format(view.edges.length)} are drawn, ${between}. Draw more with the number above.`;
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
  const type = names.indexOf(name) >= 0 ? names.indexOf(name) : names.findIndex((other) => other.toLowerCase().includes(name.toLowerCase()));
  if (type < 0) {
    say("no event of that name");
    return;
  }
  while (typeOf(nodeOf(type)) === null) state.expanded.add(nodeOf(type));
  if (state.focus !== null) state.focus = nodeOf(type);
  state.picked = { node: nodeOf(type) };
  update();
  cy.animate({ center: { eles: cy.getElementById(nodeOf(type)) }, duration: 200 });
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
  state.more = $("more").checked;
  state.less = $("less").checked;
  state.candidates = $("candidates").checked;
  state.limit = Math.max(1, Math.floor(Number($("limit").value)) || 1);
}

function startFilters() {
  const labels = Object.fromEntries(links.columns.map((column) => [column.key, column.label]));
  for (const key of links.measures) $("measure").append(make("option", { value: key }, key.endsWith("_total") ? "summed over places" : "mean of places"));
  $("measure-box").hidden = links.measures.length < 2;
  sliders.strength = new Quantiles($("strength"), $("strength-out"), value[state.measure]);
  sliders.support = new Quantiles($("support"), $("support-out"), value[links.support]);
  sliders.lag = new Quantiles($("lag"), $("lag-out"), value[links.lag]);
  $("support-name").textContent = labels[links.support] === "cases" ? "In cases, at least" : "Places, at least";
  if (links.q === null) $("q-box").hidden = true;
  else sliders.q = new Quantiles($("q"), $("q-out"), value[links.q]);
  $("candidates-box").hidden = !(value.is_edge ?? []).includes(false);
  $("level").append(make("option", { value: 0 }, "whole events"));
  for (let level = 1; level < data.types.parts; level += 1) {
    $("level").append(make("option", { value: level }, level === 1 ? "first part only" : `first ${level} parts`));
  }
  $("level-box").hidden = data.types.parts < 2;
  $("limit").value = state.limit;
  for (const [key, label] of Object.entries(LAYOUTS)) $("layout").append(make("option", { value: key }, label));
  $("names").append(...[...names].sort().slice(0, 5000).map((name) => make("option", { value: name })));
  let waiting = 0;
  $("filters").addEventListener("input", (event) => {
    if (event.target.id === "search" || event.target.id === "level") return;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      readFilters();
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
    $("limit").value = Math.min(300, Math.max(1, nLinks));
    readFilters();
    update();
  }));
}

function startButtons() {
  $("layout").addEventListener("change", () => update({ fresh: true }));
  $("arrange").addEventListener("click", () => update({ fresh: true }));
  $("fit").addEventListener("click", fitAll);
  $("unfocus").addEventListener("click", () => focusOn(null));
  $("hops").addEventListener("input", () => {
    state.hops = Math.min(6, Math.max(1, Number($("hops").value) || 1));
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
    if (timeline.slider) drawTimeline();
  };
  $("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  dark.addEventListener("change", () => set(dark.matches));
  // Paper is white.
  let before = false;
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

function startTabs() {
  const tabs = [$("tab-types"), $("tab-cases")];
  const open = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", isChosen);
      tab.setAttribute("tabindex", isChosen ? 0 : -1);
      $(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    if (chosen === tabs[0]) {
      cy.resize();
      fitAll();
      enlargeLabels();
    }
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      const other = tabs[1 - tabs.indexOf(tab)];
      if (other.hidden) return;
      open(other);
      other.focus();
    });
  }
  $("tab-cases").hidden = data.cases.length === 0;
  if (data.cases.length === 1 && data.title.startsWith("Case")) open(tabs[1]);
}

state.limit = Math.min(state.limit, Math.max(1, nLinks));
startTheme();
startPicture();
startTable();
startFilters();
startButtons();
readFilters();
update();
if (data.cases.length) startTimeline();
startTabs();
document.documentElement.dataset.ready = "yes";
