// The list of cases: search, order, open.

const CASES_AT_ONCE = 50;
const caseList = { found: [], shown: CASES_AT_ONCE };

function startCases() {
  for (const id of ["case-find", "case-field", "case-sort"]) {
    $(id).addEventListener("input", () => {
      caseList.shown = CASES_AT_ONCE;
      fillCases();
    });
  }
  $("case-bar").addEventListener("submit", (event) => event.preventDefault());
  $("case-more").addEventListener("click", () => {
    caseList.shown += 4 * CASES_AT_ONCE;
    fillCases();
  });
  $("case-back").addEventListener("click", () => {
    $("cases").classList.remove("open");
    document.querySelector("#case-items [aria-current]")?.focus();
  });
  $("case-items").addEventListener("keydown", walkCases);
  $("case-previous").addEventListener("click", () => step(-1));
  $("case-next").addEventListener("click", () => step(1));
  $("case-list").hidden = data.cases.length < 2;
  for (const id of ["case-back", "case-previous", "case-next"]) $(id).classList.toggle("none", data.cases.length < 2);
  startTimeline();
  fillCases();
  showCase(caseList.found[0] ?? 0);
  markOpen();
}

/** Whether a case matches: by its name, one of its events, or one of its root causes. */
function caseMatches(one, words, field) {
  if (!words) return true;
  if ((field === "any" || field === "name") && one.name.toLowerCase().includes(words)) return true;
  if ((field === "any" || field === "root") && one.roots.some((type) => matching.has(type))) return true;
  return (field === "any" || field === "event") && one.events.some((type) => matching.has(type));
}

let matching = new Set(); // event types whose name contains what is searched for

function fillCases() {
  const words = $("case-find").value.trim().toLowerCase();
  const field = $("case-field").value;
  matching = new Set(words ? names.flatMap((_, type) => (named(type, words) ? [type] : [])) : []);
  const key = { effects: (one) => -one.n_caused, events: (one) => -one.n_events, name: () => 0 }[$("case-sort").value];
  const order = new Intl.Collator("en", { numeric: true });
  caseList.found = data.cases
    .map((_, i) => i)
    .filter((i) => caseMatches(data.cases[i], words, field))
    .sort((a, b) => key(data.cases[a]) - key(data.cases[b]) || order.compare(data.cases[a].name, data.cases[b].name));
  const [n, total] = [data.cases.length, data.counts.n_cases];
  const holds = n < total ? [`This page embeds ${whole.format(n)} of ${plural(total, "case")}; `, make("code", {}, "sequela serve"), " has all."] : [`All ${plural(total, "case")} are in this page.`];
  $("case-found").replaceChildren(words ? `${plural(caseList.found.length, "case")} found. ` : "", ...holds);
  $("case-items").replaceChildren(...caseList.found.slice(0, caseList.shown).map(caseItem));
  $("case-more").hidden = caseList.found.length <= caseList.shown;
  markOpen();
}

/** Walk along the list with the arrow keys: it is one stop of the Tab key. */
function walkCases(event) {
  const buttons = [...document.querySelectorAll("#case-items button")];
  const here = buttons.indexOf(event.target);
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  buttons[Math.min(Math.max(0, next), buttons.length - 1)].focus();
}

function caseItem(i) {
  const one = data.cases[i];
  return make(
    "li", {},
    make(
      "button", { type: "button", "data-case": i, onclick: () => chooseCase(i) },
      make("span", { class: "case-title" }, one.name || "The case"),
      make("span", { class: "quiet" }, `${plural(one.n_events, "event")}, ${whole.format(one.n_caused)} with a cause`),
      one.roots.length ? make("span", { class: "case-root" }, "root cause ", chip(one.roots[0])) : null,
    ),
  );
}

/** Open a case from the list; where there is no room for both, it takes the list's place. */
function chooseCase(i, position = null) {
  $("cases").classList.add("open");
  showCase(i, position);
  markOpen();
  if (window.innerWidth < 900) $("one-case").scrollIntoView({ block: "start" });
}

function markOpen() {
  for (const node of document.querySelectorAll("#case-items button")) {
    const isOpen = Number(node.dataset.case) === openCase.index;
    if (isOpen) node.setAttribute("aria-current", "true");
    else node.removeAttribute("aria-current");
    node.setAttribute("tabindex", isOpen ? 0 : -1);
  }
  if (!document.querySelector("#case-items [tabindex='0']")) document.querySelector("#case-items button")?.setAttribute("tabindex", 0);
  const at = caseList.found.indexOf(openCase.index);
  $("case-previous").disabled = at <= 0;
  $("case-next").disabled = at < 0 || at >= caseList.found.length - 1;
}

function step(by) {
  const at = caseList.found.indexOf(openCase.index) + by;
  if (at >= 0 && at < caseList.found.length) {
    chooseCase(caseList.found[at]);
    say(`case ${theCase().name}`);
  }
}

/** Show the cases that hold an event type, with that event's story selected. */
function casesWith(type) {
  openTab("tab-cases");
  $("case-find").value = shownName[type];
  $("case-field").value = "event";
  caseList.shown = CASES_AT_ONCE;
  fillCases();
  if (caseList.found.length) chooseCase(caseList.found[0], data.cases[caseList.found[0]].events.lastIndexOf(type));
}
