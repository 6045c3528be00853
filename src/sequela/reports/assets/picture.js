// The picture of the graph: boxes with whole names, arrows from cause to effect.

const groupColour = (node) => componentColour(typeOf(node) === null ? node.slice(2).split("|")[0] : componentsOf[typeOf(node)][0]);

let cy = null;

function pictureStyle() {
  return [
    {
      selector: "node",
      style: {
        shape: "round-rectangle", width: "data(w)", height: "data(h)", "background-color": colour("box"), "border-width": 2,
        "border-color": hasComponents ? "data(tint)" : colour("node"), label: "data(text)", color: colour("ink"), "font-size": 12,
        "font-family": "system-ui, sans-serif", "text-valign": "center", "text-halign": "center", "text-wrap": "wrap", "text-max-width": 1000,
      },
    },
    { selector: "node[kind = 'group']", style: { "border-width": 5, "border-style": "double" } },
    {
      selector: "edge",
      style: {
        width: "data(width)", "line-color": colour("more"), "target-arrow-color": colour("more"), "target-arrow-shape": "triangle",
        "arrow-scale": 0.9, "curve-style": "bezier", opacity: 0.7, "loop-direction": "-45deg", "loop-sweep": "50deg",
      },
    },
    { selector: "edge[sign = 'less']", style: { "line-color": colour("less"), "target-arrow-color": colour("less"), "line-style": "dashed" } },
    { selector: "edge[?undirected]", style: { "target-arrow-shape": "none" } },
    { selector: "edge[?doubtful]", style: { "target-arrow-fill": "hollow", "line-style": "dotted" } },
    { selector: "edge[?candidate]", style: { opacity: 0.3 } },
    { selector: ".faded", style: { opacity: 0.2 } },
    { selector: "edge.near", style: { opacity: 0.95 } },
    { selector: "node.picked", style: { "border-width": 4, "border-color": colour("pick"), "border-style": "solid", "font-weight": "bold", "z-index": 10 } },
    { selector: "edge.picked", style: { "line-color": colour("pick"), "target-arrow-color": colour("pick"), opacity: 1, "z-index": 10 } },
  ];
}

function startPicture() {
  const touch = window.matchMedia("(pointer: coarse)").matches;
  cy = cytoscape({ container: $("graph"), style: pictureStyle(), minZoom: 0.1, maxZoom: 3, userZoomingEnabled: touch });
  cy.on("tap", "node", (event) => pick({ node: event.target.id() }));
  cy.on("tap", "edge", (event) => pick({ link: event.target.data("row") }));
  cy.on("tap", (event) => event.target === cy && pick(null));
  cy.on("dbltap", "node", (event) => (typeOf(event.target.id()) === null ? expand(event.target.id()) : focusOn(event.target.id())));
  cy.on("mouseover", "node, edge", (event) => readout("readout", event.target.data("tip")));
  cy.on("mouseout", () => readout("readout", null));
  cy.on("dragfree", "node", (event) => {
    if (state.focus === null) places.set(event.target.id(), { ...event.target.position() });
  });
}

const LINE_LENGTH = 22;

/** Break a name into lines, at spaces where there are any: nothing is cut off. */
function linesOf(name) {
  const lines = [];
  let line = "";
  for (const word of name.split(/(?<=[\s_/.-])/)) {
    if (line && (line + word).trimEnd().length > LINE_LENGTH) {
      lines.push(line.trimEnd());
      line = "";
    }
    line += word;
    while (line.length > 1.5 * LINE_LENGTH) {
      lines.push(line.slice(0, LINE_LENGTH));
      line = line.slice(LINE_LENGTH);
    }
  }
  return [...lines, line.trimEnd()].filter((text) => text !== "");
}

const pen = document.createElement("canvas").getContext("2d");

function boxOf(name) {
  const lines = linesOf(name);
  pen.font = "12px system-ui, sans-serif";
  return { text: lines.join("\n"), lines, w: Math.ceil(Math.max(30, ...lines.map((line) => pen.measureText(line).width)) + 18), h: 15 * lines.length + 13 };
}

/** Draw what `edges` says; arrange it when most of it is new, or when asked to. */
function drawPicture(edges, { column = null, fresh = false } = {}) {
  const strongest = Math.max(1e-12, ...edges.map((edge) => edge.strength));
  const ids = [...new Set([...edges.flatMap((edge) => [edge.cause, edge.effect]), ...(state.picked?.node ? [state.picked.node] : []), ...(column ? column.keys() : [])])];
  const nodes = ids.sort().map((id) => ({
    group: "nodes",
    data: {
      id, label: nameOf(id), ...boxOf(nameOf(id)), kind: typeOf(id) === null ? "group" : "type", tint: groupColour(id), count: countOf(id),
      tip: `${nameOf(id)}: ${plural(countOf(id), "event")}${typeOf(id) === null ? ` of ${plural(membersOf(id).length, "type")}` : ""}`,
    },
  }));
  const drawn = edges.map((edge) => ({
    group: "edges",
    data: {
      id: edge.id, source: edge.cause, target: edge.effect, row: edge.rows[0], sign: edge.gain >= 0 ? "more" : "less", undirected: edge.undirected,
      doubtful: edge.doubtful, candidate: edge.rows.every((row) => !isLink(row)), width: 1.4 + 5 * Math.sqrt(edge.strength / strongest),
      tip: `${nameOf(edge.cause)} ${edge.undirected ? "–" : "→"} ${nameOf(edge.effect)}: strength ${show(edge.strength)} nats, ${edge.gain >= 0 ? "more likely" : "less likely"}${edge.undirected ? ", direction unknown" : ""}${edge.rows.length > 1 ? `, ${edge.rows.length} links` : ""}`,
    },
  }));
  cy.startBatch();
  cy.elements().remove();
  cy.add([...nodes, ...drawn]);
  cy.endBatch();
  if (column) {
    placeColumns(column);
  } else {
    const newcomers = cy.nodes().filter((node) => !places.has(node.id()));
    if (fresh || newcomers.length > 0.3 * cy.nodes().length) {
      arrange();
    } else {
      cy.nodes().difference(newcomers).forEach((node) => {
        node.position({ ...places.get(node.id()) }); // (a callback that returned false would end the loop)
      });
      placeNewcomers(newcomers);
      fitAll();
    }
  }
  markPicked();
}

function drawLegend() {
  const key = (tint, words) => make("li", {}, make("span", { class: "dot", style: `background:${tint}`, "aria-hidden": "true" }), words);
  const all = new Set(componentsOf.map((own) => own[0]));
  const rest = [...all].filter((name) => !components.has(name)).length;
  $("legend").replaceChildren(...[...components].map(([name, tint]) => key(tint, name)), ...(hasComponents && rest ? [key(OTHER, plural(rest, "other component"))] : []));
  $("legend").hidden = !hasComponents;
}

/** Show what is picked, and what touches it. */
function markPicked() {
  cy.batch(() => {
    cy.elements().removeClass("picked near faded");
    const picked = state.picked === null ? cy.collection() : state.picked.node ? cy.getElementById(state.picked.node) : cy.edges().filter((edge) => edgeHolds(edge, state.picked.link));
    if (picked.empty()) return;
    const near = picked.isNode() ? picked.closedNeighborhood() : picked.union(picked.connectedNodes());
    if (state.focus === null || state.focus !== state.picked.node) cy.elements().not(near).addClass("faded");
    near.addClass("near");
    picked.addClass("picked");
  });
}

const edgeHolds = (edge, row) => edge.source().id() === nodeOf(links.cause[row]) && edge.target().id() === nodeOf(links.effect[row]);

/** Walk with the arrow keys. */
function walk(event) {
  const here = state.picked?.node ? cy.getElementById(state.picked.node) : cy.collection();
  const next = {
    ArrowLeft: () => here.incomers("edge").sort(byWidth).sources()[0],
    ArrowRight: () => here.outgoers("edge").sort(byWidth).targets()[0],
    ArrowDown: () => beside(here, 1),
    ArrowUp: () => beside(here, -1),
    Enter: () => here.nonempty() && (typeOf(here.id()) === null ? expand(here.id()) : focusOn(here.id())),
    Escape: () => (state.focus === null ? pick(null) : focusOn(null)),
  }[event.key];
  if (!next) return;
  event.preventDefault();
  const found = next();
  if (found && found.id) {
    pick({ node: found.id() });
    reveal(cy.getElementById(found.id()));
  }
}

const byWidth = (a, b) => b.data("width") - a.data("width");

function beside(here, step) {
  const ordered = cy.nodes().sort((a, b) => b.data("count") - a.data("count") || (a.id() < b.id() ? -1 : 1));
  if (ordered.empty()) return null;
  const at = here.nonempty() ? ordered.toArray().findIndex((node) => node.id() === here.id()) : step > 0 ? -1 : 0;
  return ordered[(at + step + ordered.length) % ordered.length];
}
