// One case: its events in time, arcs from cause to effect, and for a picked event the chain of causes to the roots.

const STEP = 30; // pixels from event to event
const LINE = 400; // height of the line of events
const timeline = { index: 0, picked: null, axis: null, strength: 0, slider: null };
const theCase = () => data.cases[timeline.index];

function startTimeline() {
  data.cases.forEach((one, i) => $("case").append(make("option", { value: i }, `${one.name || "the case"} (${plural(one.n_events, "event")}, ${plural(one.n_edges, "edge")})`)));
  $("case").addEventListener("change", () => openCase(Number($("case").value)));
  $("axis").addEventListener("change", () => drawTimeline());
  $("case-strength").addEventListener("input", () => drawTimeline());
  $("case-search").addEventListener("change", findInCase);
  $("case-svg").addEventListener("click", () => saveSvg(standaloneTimeline(), `-${theCase().name}.svg`));
  $("case-bar").addEventListener("submit", (event) => event.preventDefault());
  openCase(0);
}

function openCase(index) {
  timeline.index = index;
  timeline.picked = null;
  $("case").value = index;
  const one = theCase();
  timeline.slider = new Quantiles($("case-strength"), $("case-strength-out"), one.cmi_nats);
  $("case-strength").value = 0;
  for (const option of $("axis").options) option.disabled = option.value !== "order" && one.times === null;
  if (one.times === null) $("axis").value = "order";
  drawTimeline();
}

/** Rows of edges that are strong enough. */
function caseEdges() {
  const one = theCase();
  return one.cause.map((_, i) => i).filter((i) => (one.cmi_nats[i] ?? 0) >= timeline.strength);
}

/** Where each event stands, left to right. */
function eventPlaces(one) {
  const n = one.events.length;
  if ($("axis").value === "order") return Array.from({ length: n }, (_, i) => 24 + STEP * i);
  const width = STEP * Math.max(1, n - 1);
  if ($("axis").value === "time") {
    const span = one.times[n - 1] - one.times[0] || 1;
    return one.times.map((time) => 24 + (width * (time - one.times[0])) / span);
  }
  const gaps = one.times.map((time, i) => (i === 0 ? 0 : Math.log1p(Math.max(0, time - one.times[i - 1]))));
  const total = gaps.reduce((sum, gap) => sum + gap, 0) || 1;
  let x = 24;
  return gaps.map((gap, i) => (x += i === 0 ? 0 : 5 + ((width - 5 * n) * gap) / total));
}

function drawTimeline() {
  const one = theCase();
  timeline.strength = timeline.slider.value;
  const x = eventPlaces(one);
  const kept = caseEdges();
  const strongest = Math.max(1e-12, ...kept.map((i) => one.cmi_nats[i] ?? 0));
  const widest = Math.max(1, ...kept.map((i) => x[one.effect[i]] - x[one.cause[i]]));
  const arcs = makeSvg("g");
  const hits = makeSvg("g");
  for (const i of kept) {
    const [from, to] = [x[one.cause[i]], x[one.effect[i]]];
    const height = 34 + (LINE - 70) * Math.sqrt((to - from) / widest);
    const d = `M ${from} ${LINE - 7} C ${from} ${LINE - height} ${to} ${LINE - height} ${to} ${LINE - 7}`;
    const more = (one.pointwise_nats[i] ?? 0) >= 0;
    arcs.append(makeSvg("path", { d, class: `arc ${more ? "more" : "less"}`, "data-edge": i, "stroke-width": 0.8 + 4 * Math.sqrt((one.cmi_nats[i] ?? 0) / strongest), "marker-end": `url(#arrow-${more ? "more" : "less"})` }));
    hits.append(makeSvg("path", { d, class: "arc hit", onpointermove: (event) => tip(edgeWords(i), event), onpointerleave: () => tip(null), onclick: () => pickEvent(one.effect[i]) }));
  }
  const events = makeSvg("g");
  one.events.forEach((type, i) => {
    const label = names[type].length > 22 ? `${names[type].slice(0, 21)}…` : names[type];
    events.append(
      makeSvg(
        "g", {
          class: "event", "data-position": i, tabindex: i === 0 ? 0 : -1, role: "button", "aria-label": `${i}: ${names[type]}`,
          onclick: () => pickEvent(i), onkeydown: (event) => walkTimeline(event, i),
          onpointermove: (event) => tip(eventWords(i), event), onpointerleave: () => tip(null),
        },
        makeSvg("circle", { cx: x[i], cy: LINE, r: 7 }),
        makeSvg("text", { x: x[i], y: LINE + 18, transform: `rotate(60 ${x[i]} ${LINE + 18})` }, label),
      ),
    );
  });
  const width = Math.max(...x) + 140;
  const longest = Math.min(22, Math.max(...one.events.map((type) => names[type].length)));
  const height = LINE + 36 + 6.5 * longest;
  const svg = makeSvg("svg", { width, height, viewBox: `0 0 ${width} ${height}` }, arrowHeads(), axisTicks(one, x), arcs, hits, events);
  $("timeline").replaceChildren(svg);
  const cuts = [];
  if (one.events.length < one.n_events) cuts.push(`the first ${whole.format(one.events.length)} events are shown`);
  if (one.cause.length < one.n_edges_here) cuts.push(`the ${whole.format(one.cause.length)} strongest edges of these are in this page`);
  $("case-counts").textContent = `${whole.format(kept.length)} of ${plural(one.n_edges, "edge")} between ${plural(one.n_events, "event")}${cuts.length ? ` (${cuts.join("; ")})` : ""}.`;
  markCase();
}

function arrowHeads() {
  const head = (kind) =>
    makeSvg("marker", { id: `arrow-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, makeSvg("path", { d: "M 0 0 L 8 4 L 0 8 z", fill: colour(kind) }));
  return makeSvg("defs", {}, head("more"), head("less"));
}

function axisTicks(one, x) {
  const ticks = makeSvg("g", { class: "tick" });
  if (one.times === null) return ticks;
  let last = -Infinity;
  one.times.forEach((time, i) => {
    if (x[i] - last < 150) return;
    last = x[i];
    ticks.append(makeSvg("line", { x1: x[i], x2: x[i], y1: 14, y2: LINE }), makeSvg("text", { x: x[i] + 3, y: 12 }, clock(time)));
  });
  return ticks;
}

/** A time as people read it: a date where it can be one. */
function clock(seconds) {
  return seconds > 1e8 ? new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") : duration(seconds);
}

function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (Math.abs(seconds) >= 2 * size) return `${show(Number((seconds / size).toPrecision(3)))} ${unit}`;
  }
  return `${show(Number(seconds.toPrecision(3)))} s`;
}

function eventWords(i) {
  const one = theCase();
  return `${i}: ${names[one.events[i]]}${one.times ? `\n${clock(one.times[i])}` : ""}`;
}

function edgeWords(i) {
  const one = theCase();
  const [from, to] = [one.cause[i], one.effect[i]];
  const apart = one.times ? `, ${duration(one.times[to] - one.times[from])}` : "";
  const gain = one.pointwise_nats[i];
  return `${from}: ${names[one.events[from]]} → ${to}: ${names[one.events[to]]}\nstrength ${show(one.cmi_nats[i])} ± ${show(one.std_error[i])} nats (standard error)\nmakes it ${show(Math.exp(Math.abs(gain ?? 0)))} times ${(gain ?? 0) >= 0 ? "more" : "less"} likely\nlag ${plural(to - from, "event")}${apart}`;
}

function findInCase() {
  const words = $("case-search").value.toLowerCase();
  const at = theCase().events.findIndex((type, i) => i > (timeline.picked ?? -1) && names[type].toLowerCase().includes(words));
  if (words && at < 0) say("no later event of that name");
  if (words && at >= 0) pickEvent(at);
}

function walkTimeline(event, i) {
  const next = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: theCase().events.length - 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") pickEvent(i);
  else if (event.key === "Escape") pickEvent(null);
  else if (next !== undefined && next >= 0 && next < theCase().events.length) document.querySelector(`.event[data-position="${next}"]`).focus();
  else return;
  event.preventDefault();
}

/**
 * Where the chain of causes of an event begins: each event passes its share on to the causes that made it more likely,
 * in proportion to their gains. The same as `sequela.graphs.root_causes.root_causes`.
 */
function rootsOf(position, kept) {
  const one = theCase();
  const into = new Map();
  for (const i of kept) {
    if ((one.pointwise_nats[i] ?? 0) > 0) into.set(one.effect[i], [...(into.get(one.effect[i]) ?? []), i]);
  }
  const share = new Map([[position, 1]]);
  const steps = new Map([[position, 0]]);
  const roots = [];
  const edges = [];
  for (let at = position; at >= 0; at -= 1) {
    if (!share.has(at)) continue;
    const causes = into.get(at) ?? [];
    if (!causes.length) roots.push({ position: at, share: share.get(at), steps: steps.get(at) });
    const total = causes.reduce((sum, i) => sum + one.pointwise_nats[i], 0);
    for (const i of causes) {
      edges.push(i);
      share.set(one.cause[i], (share.get(one.cause[i]) ?? 0) + (share.get(at) * one.pointwise_nats[i]) / total);
      steps.set(one.cause[i], Math.min(steps.get(one.cause[i]) ?? Infinity, steps.get(at) + 1));
    }
  }
  roots.sort((a, b) => b.share - a.share || a.position - b.position);
  return { roots, edges, positions: new Set(share.keys()) };
}

function pickEvent(position) {
  timeline.picked = position;
  markCase();
  if (position === null) return;
  const node = document.querySelector(`.event[data-position="${position}"]`);
  node.focus({ preventScroll: true });
  const box = $("timeline");
  const at = Number(node.querySelector("circle").getAttribute("cx"));
  if (at < box.scrollLeft + 60 || at > box.scrollLeft + box.clientWidth - 60) box.scrollLeft = at - box.clientWidth * 0.7;
}

function markCase() {
  const box = $("timeline");
  const panel = $("case-details");
  const picked = timeline.picked;
  box.classList.toggle("picking", picked !== null);
  for (const node of box.querySelectorAll(".on, .root, .picked")) node.classList.remove("on", "root", "picked");
  if (picked === null) {
    panel.replaceChildren(
      make("p", { class: "name" }, "Why did it happen?"),
      make("p", {}, "Click an event to see the chain of its causes back to the roots."),
      make("p", {}, make("span", { class: "key more" }), " solid: the cause made the event more likely"),
      make("p", {}, make("span", { class: "key less" }), " dashed: it made it less likely"),
      make("p", { class: "quiet" }, "Thicker: stronger. Point at an arc for its numbers."),
    );
    return;
  }
  const one = theCase();
  const kept = caseEdges();
  const chain = rootsOf(picked, kept);
  const roots = new Set(chain.roots.map((root) => root.position));
  const out = kept.filter((i) => one.cause[i] === picked);
  const edges = new Set([...chain.edges, ...out]);
  const lit = new Set([...chain.positions, ...out.map((i) => one.effect[i])]);
  for (const arc of box.querySelectorAll(".arc[data-edge]")) arc.classList.toggle("on", edges.has(Number(arc.dataset.edge)));
  for (const node of box.querySelectorAll(".event")) {
    const i = Number(node.dataset.position);
    node.classList.toggle("on", lit.has(i));
    node.classList.toggle("root", roots.has(i) && i !== picked);
    node.classList.toggle("picked", i === picked);
    node.setAttribute("tabindex", i === picked ? 0 : -1);
  }
  panel.replaceChildren(...caseDetails(picked, kept, chain));
  say(`${names[one.events[picked]]}: ${plural(chain.roots.length, "root")}`);
}

function caseDetails(picked, kept, chain) {
  const one = theCase();
  const button = (i, ...rest) => make("button", { type: "button", onclick: () => pickEvent(i) }, ...rest);
  const what = (i) => make("span", { class: "what" }, `${i}: ${names[one.events[i]]}`);
  const rootItem = (root) =>
    make("li", {}, button(root.position, what(root.position), make("span", { class: "number" }, `${show(Number((100 * root.share).toPrecision(3)))} %`)), make("span", { class: "meter", style: `width:${100 * root.share}%` }));
  const edgeItem = (end) => (i) =>
    make("li", {}, button(one[end][i], sign((one.pointwise_nats[i] ?? 0) >= 0), what(one[end][i]), make("span", { class: "number", title: `± ${show(one.std_error[i])} (standard error)` }, show(one.cmi_nats[i]))));
  const strongest = (list) => list.sort((a, b) => one.cmi_nats[b] - one.cmi_nats[a] || a - b);
  const causes = strongest(kept.filter((i) => one.effect[i] === picked));
  const effects = strongest(kept.filter((i) => one.cause[i] === picked));
  const isOwnRoot = chain.roots.length === 1 && chain.roots[0].position === picked;
  return [
    make("p", { class: "name" }, `${picked}: ${names[one.events[picked]]}`),
    ...(one.times ? [make("p", { class: "quiet" }, clock(one.times[picked]))] : []),
    make("h3", {}, "Where it began"),
    isOwnRoot
      ? make("p", { class: "quiet" }, "No earlier event in this graph made it more likely.")
      : make("ol", { class: "list", id: "roots" }, ...chain.roots.slice(0, 12).map(rootItem)),
    ...(chain.roots.length > 12 ? [make("p", { class: "quiet" }, `and ${chain.roots.length - 12} smaller ones`)] : []),
    make("h3", {}, `Direct causes (${causes.length})`),
    make("ul", { class: "list" }, ...causes.slice(0, 20).map(edgeItem("cause"))),
    make("h3", {}, `Direct effects (${effects.length})`),
    make("ul", { class: "list" }, ...effects.slice(0, 20).map(edgeItem("effect"))),
  ];
}

/** The timeline as a file of its own: colours written out. */
function standaloneTimeline() {
  const svg = $("timeline").querySelector("svg").cloneNode(true);
  svg.setAttribute("font-family", "system-ui, sans-serif");
  svg.setAttribute("font-size", "12");
  for (const hit of svg.querySelectorAll(".hit")) hit.remove();
  for (const arc of svg.querySelectorAll(".arc")) {
    fill(arc, { fill: "none", stroke: colour(arc.classList.contains("less") ? "less" : "more"), opacity: 0.65, "stroke-dasharray": arc.classList.contains("less") ? "5 3" : null }, []);
  }
  for (const circle of svg.querySelectorAll("circle")) circle.setAttribute("fill", colour("node"));
  for (const text of svg.querySelectorAll("text")) text.setAttribute("fill", colour("ink"));
  for (const line of svg.querySelectorAll(".tick line")) line.setAttribute("stroke", colour("line"));
  return svg;
}
