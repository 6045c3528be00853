// One case: its events from top to bottom, arcs from cause to effect beside them, the chain of a selected event lit.

function startTimeline() {
  for (const id of ["case-less", "case-weak", "only-story"]) $(id).addEventListener("input", () => drawTimeline());
  $("case-search").addEventListener("change", findInCase);
  $("case-svg").addEventListener("click", () => saveSvg(timelineSvg(), `-${theCase().name}.svg`));
  new ResizeObserver(() => $("cases").hidden || drawArcs()).observe($("events"));
}

/** Open a case with a story selected: that of an event, or of the last one that has a cause. */
function showCase(index, position = null) {
  openCase.index = index;
  const one = theCase();
  for (const id of ["case-less", "case-weak"]) $(id).checked = false;
  $("only-story").checked = window.innerWidth <= 600; // little room: the story first
  const count = (test) => one.cause.filter((_, i) => test(i)).length;
  const nLess = count((i) => (one.pointwise_nats[i] ?? 0) < 0);
  const nWeak = count((i) => (one.pointwise_nats[i] ?? 0) >= 0 && !one.has_evidence[i]);
  $("case-less-name").textContent = `less likely (${nLess})`;
  $("case-less-box").hidden = nLess === 0;
  $("case-weak-name").textContent = `${data.counts.has_evidence ? "without evidence" : "other edges"} (${nWeak})`;
  $("case-weak-box").hidden = nWeak === 0;
  $("case-name").textContent = one.name || "The case";
  openCase.picked = position ?? lastCaused(one, caseEdges());
  drawTimeline();
  reachPicked();
}

/** Rows of edges that pass the filters. */
function caseEdges() {
  const one = theCase();
  const [less, weak] = [$("case-less").checked, $("case-weak").checked];
  return one.cause.map((_, i) => i).filter((i) => {
    const isLess = (one.pointwise_nats[i] ?? 0) < 0;
    return isLess ? less : weak || one.has_evidence[i] === 1;
  });
}

function drawTimeline() {
  const one = theCase();
  openCase.kept = caseEdges();
  const list = $("events");
  list.replaceChildren(...moments(one).flatMap((moment) => momentItems(one, moment)));
  markCase();
  const cuts = [];
  if (one.events.length < one.n_events) cuts.push(`the first ${whole.format(one.events.length)} events are in this page`);
  if (one.cause.length < one.n_edges_here) cuts.push(`the ${whole.format(one.cause.length)} strongest edges of these are in this page`);
  $("case-counts").textContent = `${plural(one.n_events, "event")}, ${whole.format(openCase.kept.length)} of ${plural(one.n_edges, "edge")} shown${one.times && !isDated(one) ? `, starts at ${duration(one.start)}` : ""}${cuts.length ? ` (${cuts.join("; ")})` : ""}.`;
}

/** Positions of events that happened at one time, together. */
function moments(one) {
  const found = [];
  one.events.forEach((_, i) => {
    if (i > 0 && one.times && one.times[i] === one.times[i - 1]) found.at(-1).push(i);
    else found.push([i]);
  });
  return found;
}

/** A moment, and before it the date where a day begins. */
function momentItems(one, positions) {
  const first = positions[0];
  const day = isDated(one) ? timeOf(one, first).slice(0, 10) : null;
  const isNew = day !== null && (first === 0 || timeOf(one, first - 1).slice(0, 10) !== day);
  const gap = one.times && first > 0 ? one.times[first] - one.times[first - 1] : 0;
  const when = one.times ? [make("span", { class: "when" }, timeBeside(one, first, first)), gap > 0 ? make("span", { class: "gap" }, ` + ${duration(gap)}`) : ""] : [];
  const moment = make(
    "li", { class: `moment${positions.length > 1 ? " together" : ""}` },
    make("div", { class: "time" }, ...when, positions.length > 1 ? make("span", { class: "hidden" }, `${positions.length} events at one time`) : ""),
    make("ul", {}, ...positions.map((i) => make("li", {}, eventButton(one, i)))),
  );
  return isNew ? [make("li", { class: "day" }, day), moment] : [moment];
}

function eventButton(one, i) {
  const type = one.events[i];
  return make(
    "button", {
      type: "button", class: "event", "data-position": i, tabindex: i === 0 ? 0 : -1, "aria-pressed": false,
      onclick: () => pickEvent(i), onkeydown: (event) => walkTimeline(event, i),
      onpointerenter: () => readout("case-readout", eventWords(i)), onpointerleave: () => readout("case-readout", null),
    },
    make("span", { class: "knot", style: hasComponents ? `background:${componentColour(componentsOf[type][0])}` : null, "aria-hidden": "true" }),
    make("span", { class: "label" }, eventName(one, i)),
  );
}

const knotOf = (position) => document.querySelector(`.event[data-position="${position}"]`);

/** Arcs beside the events, from what is laid out. */
function drawArcs() {
  const [box, svg] = [$("timeline"), $("arcs")];
  if (!data.cases.length || $("cases").hidden) return;
  const one = theCase();
  const frame = $("events").getBoundingClientRect(); // moves with the scrolling
  svg.replaceChildren();
  svg.setAttribute("width", frame.width);
  svg.setAttribute("height", $("events").offsetHeight);
  const at = new Map();
  for (const node of box.querySelectorAll(".event")) {
    if (node.closest("[hidden]")) continue;
    const knot = node.firstChild.getBoundingClientRect();
    at.set(Number(node.dataset.position), [knot.left - frame.left, knot.top - frame.top + knot.height / 2]);
  }
  const shown = openCase.kept.filter((i) => at.has(one.cause[i]) && at.has(one.effect[i]));
  const strongest = Math.max(1e-12, ...shown.map((i) => one.cmi_nats[i] ?? 0));
  const apart = (i) => at.get(one.effect[i])[1] - at.get(one.cause[i])[1];
  const widest = Math.max(1, ...shown.map((i) => Math.abs(apart(i))));
  const room = Math.min(...[...at.values()].map(([x]) => x)) - Math.max(0, ...[...box.querySelectorAll(".time")].map((node) => node.offsetWidth)) - 12;
  const [arcs, hits] = [makeSvg("g"), makeSvg("g")];
  for (const i of shown) {
    const [[x1, y1], [x2, y2]] = [at.get(one.cause[i]), at.get(one.effect[i])];
    const bulge = (4 / 3) * (12 + (room - 16) * Math.sqrt(Math.abs(apart(i)) / widest));
    const d = `M ${x1} ${y1} C ${x1 - bulge} ${y1} ${x2 - bulge} ${y2} ${x2 - 1} ${y2}`;
    const kind = (one.pointwise_nats[i] ?? 0) >= 0 ? "more" : "less";
    const width = 1.5 + 3 * Math.sqrt((one.cmi_nats[i] ?? 0) / strongest);
    arcs.append(makeSvg("path", { d, class: `arc ${kind}`, "data-edge": i, "stroke-width": width, "marker-end": isUndirectedEdge(one, i) ? null : `url(#arrow-${kind})` }));
    hits.append(makeSvg("path", { d, class: "hit", onpointerenter: () => readout("case-readout", edgeWords(i)), onpointerleave: () => readout("case-readout", null), onclick: () => pickEvent(one.effect[i]) }));
  }
  svg.append(arrowHeads(), arcs, hits);
  lightArcs();
}

function arrowHeads() {
  const head = (kind) =>
    makeSvg("marker", { id: `arrow-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, makeSvg("path", { d: "M 0 0 L 8 4 L 0 8 z", fill: colour(kind) }));
  return makeSvg("defs", {}, head("more"), head("less"));
}

function eventWords(i) {
  const one = theCase();
  return `event ${i + 1}: ${eventName(one, i)}${one.times ? `, ${timeOf(one, i)}` : ""}`;
}

function edgeWords(i) {
  const one = theCase();
  const [from, to] = [one.cause[i], one.effect[i]];
  const later = one.times ? `, ${duration(one.times[to] - one.times[from])}` : "";
  const gain = one.pointwise_nats[i] ?? 0;
  const sure = one.confidence?.[i] ?? null;
  const [presence, state] = [one.presence_cmi_nats?.[i] ?? null, one.state_cmi_nats?.[i] ?? null];
  const kinds = presence === null && state === null ? "" : ` (presence ${show(presence)}, state ${show(state)})`;
  return `${eventName(one, from)} ${isUndirectedEdge(one, i) ? "–" : "→"} ${eventName(one, to)}: ${show(Math.exp(Math.abs(gain)))} times ${gain >= 0 ? "more" : "less"} likely; strength ${show(one.cmi_nats[i])} ± ${show(one.std_error[i])} nats${kinds}; lag ${plural(one.lag[i], "tick")}${later}${sure === null ? "" : `; confidence ${show(sure)}`}`;
}

function findInCase() {
  const words = $("case-search").value.trim().toLowerCase();
  const at = theCase().events.findIndex((type, i) => i > (openCase.picked ?? -1) && named(type, words));
  const again = at < 0 ? theCase().events.findIndex((type) => named(type, words)) : at;
  if (words && again < 0) say("no event of that name in this case");
  if (words && again >= 0) pickEvent(again);
}

function walkTimeline(event, i) {
  const visible = [...document.querySelectorAll("#events .event")].filter((node) => !node.closest("[hidden]")).map((node) => Number(node.dataset.position));
  const here = visible.indexOf(i);
  const next = { ArrowUp: visible[here - 1], ArrowLeft: visible[here - 1], ArrowDown: visible[here + 1], ArrowRight: visible[here + 1], Home: visible[0], End: visible.at(-1) }[event.key];
  if (event.key === "Escape") pickEvent(null);
  else if (next !== undefined) knotOf(next).focus();
  else return;
  event.preventDefault();
}

function pickEvent(position) {
  const had = openCase.picked;
  openCase.picked = position;
  markCase();
  if (position === null) knotOf(had ?? 0)?.focus({ preventScroll: true });
  else knotOf(position).focus({ preventScroll: true });
  reachPicked();
}

/** Scroll the list of events, not the page, to the selected event. */
function reachPicked() {
  const [box, node] = [$("timeline"), openCase.picked === null ? null : knotOf(openCase.picked)];
  if (!node) {
    box.scrollTop = 0;
    return;
  }
  const at = node.getBoundingClientRect().top - box.getBoundingClientRect().top;
  if (at < 20 || at > box.clientHeight - 60) box.scrollTop += at - box.clientHeight * 0.7;
}

function markCase() {
  const one = theCase();
  const picked = openCase.picked;
  $("timeline").classList.toggle("picking", picked !== null);
  const found = picked === null ? null : rootsOf(picked, openCase.kept);
  const chain = found === null ? [] : mainChain(picked, found);
  const touches = (i) => one.cause[i] === picked || (isUndirectedEdge(one, i) && one.effect[i] === picked);
  const out = picked === null ? [] : openCase.kept.filter(touches);
  const roots = new Set(found === null ? [] : found.roots.map((root) => root.position));
  const lit = new Set(found === null ? [] : [...found.positions, ...out.flatMap((i) => [one.cause[i], one.effect[i]])]);
  openCase.lit = new Set([...(found?.edges ?? []), ...out]);
  openCase.chain = new Set(chain);
  for (const node of document.querySelectorAll("#events .event")) {
    const i = Number(node.dataset.position);
    node.classList.toggle("on", lit.has(i));
    node.classList.toggle("root", roots.has(i) && i !== picked);
    node.classList.toggle("picked", i === picked);
    node.setAttribute("aria-pressed", i === picked);
    node.setAttribute("tabindex", i === (picked ?? 0) ? 0 : -1);
    node.parentNode.hidden = $("only-story").checked && picked !== null && !lit.has(i);
  }
  for (const moment of document.querySelectorAll("#events .moment")) moment.hidden = [...moment.querySelectorAll("li")].every((item) => item.hidden);
  for (const day of document.querySelectorAll("#events .day")) {
    let next = day.nextElementSibling;
    while (next?.classList.contains("moment") && next.hidden) next = next.nextElementSibling;
    day.hidden = !next?.classList.contains("moment");
  }
  $("only-story").disabled = picked === null;
  $("story").replaceChildren(...(picked === null ? ["No event of this case has a cause in this log. Select an event to see what it led to."] : storyWords(picked, found, chain)));
  $("case-details").replaceChildren(...(picked === null ? caseHints() : caseDetails(picked, found)));
  drawArcs();
}

function lightArcs() {
  for (const arc of document.querySelectorAll("#arcs .arc")) {
    arc.classList.toggle("on", openCase.lit.has(Number(arc.dataset.edge)));
    arc.classList.toggle("main", openCase.chain.has(Number(arc.dataset.edge)));
  }
}

function caseHints() {
  return [
    make("p", { class: "name" }, "Why did it happen?"),
    make("p", {}, "Select an event to see the chain of its causes back to the root causes."),
    make("p", {}, make("span", { class: "key more" }), " solid: the cause made the event more likely"),
    make("p", {}, make("span", { class: "key less" }), " dashed: it made it less likely"),
    make("p", { class: "quiet" }, "Thicker: stronger. Without arrow head: the direction is not known."),
  ];
}

function caseDetails(picked, found) {
  const one = theCase();
  const button = (i, ...rest) => make("button", { type: "button", onclick: () => pickEvent(i) }, ...rest);
  const what = (i) => make("span", { class: "what" }, eventChip(one, i), one.times ? make("span", { class: "quiet" }, ` ${timeBeside(one, i, picked)}`) : null);
  const rootItem = (root) =>
    make("li", {}, button(root.position, what(root.position), make("span", { class: "number" }, `${show(Number((100 * root.share).toPrecision(3)))} %`)), make("span", { class: "meter", style: `width:${100 * root.share}%` }));
  const edgeItem = (end) => (i) =>
    make("li", {}, button(one[end][i], sign((one.pointwise_nats[i] ?? 0) >= 0), what(one[end][i]), make("span", { class: "number", title: `± ${show(one.std_error[i])} (standard error)` }, `${show(one.cmi_nats[i])} nats`)));
  const strongest = (list) => list.sort((a, b) => one.cmi_nats[b] - one.cmi_nats[a] || a - b);
  const directed = openCase.kept.filter((i) => !isUndirectedEdge(one, i));
  const undirected = openCase.kept.filter((i) => isUndirectedEdge(one, i));
  const causes = strongest(directed.filter((i) => one.effect[i] === picked));
  const effects = strongest(directed.filter((i) => one.cause[i] === picked));
  const [before, after] = [undirected.filter((i) => one.effect[i] === picked), undirected.filter((i) => one.cause[i] === picked)];
  const isOwnRoot = found.roots.length === 1 && found.roots[0].position === picked;
  const list = (title, edges, end) => [
    make("h4", {}, `${title} (${edges.length})`),
    make("ul", { class: "list" }, ...edges.slice(0, 20).map(edgeItem(end))),
    ...(edges.length > 20 ? [make("p", { class: "quiet" }, `and ${edges.length - 20} weaker ones`)] : []),
  ];
  return [
    make("p", { class: "name" }, eventChip(one, picked)),
    make("p", { class: "quiet" }, `event ${picked + 1} of ${one.n_events}${one.times ? `, ${timeOf(one, picked)}${isDated(one) ? "" : " after the start of the case"}` : ""}`),
    ...Object.entries(one.attributes ?? {}).filter(([name, values]) => (name !== "neighbour" || neighbourOf(one, picked) === null) && values[picked] !== null).map(([name, values]) => make("p", { class: "quiet attribute" }, `${name}: ${values[picked]}`)),
    make("h4", {}, "Where it began"),
    isOwnRoot
      ? make("p", { class: "quiet" }, neighbourOf(one, picked) === null ? "No earlier event in this graph made it more likely." : "It happened in another case, which tells its causes.")
      : make("ol", { class: "list", id: "roots" }, ...found.roots.slice(0, 12).map(rootItem)),
    ...(found.roots.length > 12 ? [make("p", { class: "quiet" }, `and ${found.roots.length - 12} smaller ones`)] : []),
    ...list("Direct causes", causes, "cause"),
    ...list("Direct effects", effects, "effect"),
    ...(before.length + after.length ? [make("h4", {}, "At the same time, direction not known"), make("ul", { class: "list" }, ...before.map(edgeItem("cause")), ...after.map(edgeItem("effect")))] : []),
  ];
}

/** The case as a file of its own: whole names, colours written out. */
function timelineSvg() {
  const frame = $("events").getBoundingClientRect();
  const copy = $("arcs").cloneNode(true);
  for (const hit of copy.querySelectorAll(".hit")) hit.remove();
  for (const arc of copy.querySelectorAll(".arc")) {
    const less = arc.classList.contains("less");
    fill(arc, { fill: "none", stroke: colour(less ? "less" : "more"), opacity: openCase.picked === null || arc.classList.contains("on") ? 0.8 : 0.15, "stroke-dasharray": less ? "5 3" : null }, []);
  }
  const words = makeSvg("g");
  let widest = frame.width;
  const write = (node, text, tint, bold) => {
    const box = node.getBoundingClientRect();
    const x = box.left - frame.left;
    widest = Math.max(widest, x + 8 * text.length + 20);
    words.append(makeSvg("text", { x, y: box.top - frame.top + Math.min(box.height, 20) / 2 + 5, fill: tint, "font-size": 13, "font-weight": bold ? 700 : null }, text));
  };
  for (const node of document.querySelectorAll("#events .event")) {
    if (node.closest("[hidden]")) continue;
    const knot = node.firstChild.getBoundingClientRect();
    words.append(makeSvg("circle", { cx: knot.left - frame.left + knot.width / 2, cy: knot.top - frame.top + knot.height / 2, r: 6, fill: getComputedStyle(node.firstChild).backgroundColor }));
    write(node.lastChild, node.lastChild.textContent, colour("ink"), node.classList.contains("picked") || node.classList.contains("root"));
  }
  for (const node of document.querySelectorAll("#events .when, #events .gap")) if (!node.closest("[hidden]")) write(node, node.textContent, colour("quiet"), false);
  fill(copy, { xmlns: "http://www.w3.org/2000/svg", width: widest, viewBox: `0 0 ${widest} ${$("events").offsetHeight}`, "font-family": "system-ui, sans-serif" }, [words]);
  return copy;
}
