// The picture of the graph.

const PALETTE = ["#46739e", "#7a9e3f", "#a0628d", "#c08a2e", "#3f8f8a", "#8a6d5a", "#6a67b0", "#b0606a", "#5c8f5c", "#7d7d7d"];
const groups = [...new Set(partsOf.map((parts) => parts[0]))];
const groupColour = (node) => PALETTE[groups.indexOf(nameOf(node).split("|")[0]) % PALETTE.length];

let cy = null;

function pictureStyle() {
  return [
    {
      selector: "node",
      style: {
        width: "data(size)", height: "data(size)", "background-color": data.types.parts > 1 ? "data(tint)" : colour("node"),
        label: "data(label)", color: colour("ink"), "font-size": "data(font)", "min-zoomed-font-size": 9,
        "text-valign": "bottom", "text-margin-y": 3, "text-outline-color": colour("halo"), "text-outline-width": 2.5,
        "text-outline-opacity": 0.9, "text-wrap": "ellipsis", "text-max-width": "data(reach)",
      },
    },
    { selector: "node[kind = 'group']", style: { shape: "round-rectangle", "border-width": 3, "border-style": "double", "border-color": colour("ink") } },
    {
      selector: "edge",
      style: {
        width: "data(width)", "line-color": colour("more"), "target-arrow-color": colour("more"), "target-arrow-shape": "triangle",
        "arrow-scale": 0.9, "curve-style": "bezier", opacity: 0.62, "loop-direction": "-45deg", "loop-sweep": "50deg",
      },
    },
    { selector: "edge[sign = 'less']", style: { "line-color": colour("less"), "target-arrow-color": colour("less"), "line-style": "dashed" } },
    { selector: "edge[?doubtful]", style: { "target-arrow-fill": "hollow", "line-style": "dotted" } },
    { selector: "edge.many", style: { opacity: 0.32 } },
    { selector: "edge[?candidate]", style: { opacity: 0.25 } },
    { selector: ".faded", style: { opacity: 0.18, "text-opacity": 0.3 } },
    { selector: "edge.near", style: { opacity: 0.95 } },
    { selector: "node.picked", style: { "border-width": 5, "border-color": colour("pick"), "border-style": "solid", "font-weight": "bold", "z-index": 10, "min-zoomed-font-size": 0 } },
    { selector: "node.near", style: { "min-zoomed-font-size": 0 } },
    { selector: "edge.picked", style: { "line-color": colour("pick"), "target-arrow-color": colour("pick"), opacity: 1, "z-index": 10 } },
  ];
}

function startPicture() {
  cy = cytoscape({ container: $("graph"), style: pictureStyle(), minZoom: 0.03, maxZoom: 4, hideEdgesOnViewport: nLinks > 4000 });
  cy.on("tap", "node", (event) => pick({ node: event.target.id() }));
  cy.on("tap", "edge", (event) => pick({ link: event.target.data("row") }));
  cy.on("tap", (event) => event.target === cy && pick(null));
  cy.on("dbltap", "node", (event) => (typeOf(event.target.id()) === null ? expand(event.target.id()) : focusOn(event.target.id())));
  cy.on("mouseover", "node, edge", (event) => tip(event.target.data("tip"), event.originalEvent));
  cy.on("mouseout viewport", () => tip(null));
  cy.on("dragfree", "node", (event) => state.focus === null && places.set(event.target.id(), { ...event.target.position() }));
}

/** Draw what `edges` says; arrange it when most of it is new, or when asked to. */
function drawPicture(edges, { column = null, fresh = false } = {}) {
  const strongest = Math.max(1e-12, ...edges.map((edge) => edge.strength));
  const ids = [...new Set([...edges.flatMap((edge) => [edge.cause, edge.effect]), ...(state.picked?.node ? [state.picked.node] : []), ...(column ? column.keys() : [])])];
  const counts = new Map(ids.map((id) => [id, countOf(id)]));
  const most = Math.max(1, ...counts.values());
  const nodes = ids.sort().map((id) => ({
    group: "nodes",
    data: {
      id, label: nameOf(id), kind: typeOf(id) === null ? "group" : "type", tint: groupColour(id), font: 12, reach: 170,
      size: 14 + (column ? 20 : 36) * Math.sqrt(counts.get(id) / most),
      tip: `${nameOf(id)}\n${plural(counts.get(id), "event")}${typeOf(id) === null ? ` of ${plural(membersOf(id).length, "type")}` : ""}`,
    },
  }));
  const drawn = edges.map((edge) => ({
    group: "edges",
    data: {
      id: edge.id, source: edge.cause, target: edge.effect, row: edge.rows[0], sign: edge.gain >= 0 ? "more" : "less",
      doubtful: edge.doubtful, candidate: edge.rows.every((row) => !isLink(row)), width: 1.4 + 6 * Math.sqrt(edge.strength / strongest),
      tip: `${nameOf(edge.cause)} → ${nameOf(edge.effect)}\nstrength ${show(edge.strength)} nats, ${edge.gain >= 0 ? "makes it more likely" : "makes it less likely"}${edge.rows.length > 1 ? `\n${edge.rows.length} links` : ""}`,
    },
  }));
  cy.startBatch();
  cy.elements().remove();
  cy.add([...nodes, ...drawn]);
  if (drawn.length > 600) cy.edges().addClass("many");
  cy.endBatch();
  if (column) {
    placeColumns(cy, column);
  } else {
    const newcomers = cy.nodes().filter((node) => !places.has(node.id()));
    if (fresh || newcomers.length > 0.3 * cy.nodes().length) {
      arrange(cy, $("layout").value);
    } else {
      cy.nodes().difference(newcomers).forEach((node) => {
        node.position({ ...places.get(node.id()) }); // (a callback that returned false would end the loop)
      });
      placeNewcomers(cy, newcomers);
      fitAll();
    }
  }
  enlargeLabels();
  markPicked();
}

/** Where the whole graph is small on the screen, label what matters most in letters that can be read and do not overlap. */
function enlargeLabels() {
  const font = Math.max(12, Math.min(11 / cy.zoom(), 60));
  const ranked = cy.nodes().sort((a, b) => b.degree() - a.degree() || b.data("size") - a.data("size") || (a.id() < b.id() ? -1 : 1));
  const taken = [];
  cy.batch(() =>
    ranked.forEach((node) => {
      const { x, y } = node.position();
      const half = Math.min(7 * font, 0.3 * font * node.data("label").length);
      const top = y + node.data("size") / 2;
      const free = taken.every((box) => Math.abs(box.x - x) > box.half + half || Math.abs(box.top - top) > 1.4 * font);
      if (free && taken.length < 60) taken.push({ x, half, top });
      node.data({ font: free ? font : 12, reach: 14 * (free ? font : 12) });
    }),
  );
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
  if (found && found.id) pick({ node: found.id() });
}

const byWidth = (a, b) => b.data("width") - a.data("width");

function beside(here, step) {
  const ordered = cy.nodes().sort((a, b) => b.data("size") - a.data("size") || (a.id() < b.id() ? -1 : 1));
  const at = here.nonempty() ? ordered.toArray().findIndex((node) => node.id() === here.id()) : step > 0 ? -1 : 0;
  return ordered[(at + step + ordered.length) % ordered.length];
}
