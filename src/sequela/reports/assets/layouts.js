// Where the nodes stand. Layouts draw their random numbers from one seed: the same page looks the same each time.

const places = new Map(); // node id -> {x, y}, kept while filters change

function seeded(run) {
  const random = Math.random;
  let seed = 20260201;
  Math.random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  try {
    run();
  } finally {
    Math.random = random;
  }
}

const LAYOUTS = {
  auto: "automatic",
  dagre: "causes left, effects right",
  fcose: "forces",
  circle: "circle",
};

function layoutFor(cy, name) {
  const n = cy.nodes().length;
  const common = { animate: false, fit: true, padding: 24 };
  const chosen = name === "auto" ? (n <= 60 && cy.edges().length <= 2.5 * n + 10 ? "dagre" : "fcose") : name;
  if (chosen === "dagre") {
    return { ...common, name: "dagre", rankDir: "LR", nodeSep: 22, rankSep: 110, acyclicer: "greedy", nodeDimensionsIncludeLabels: true };
  }
  if (chosen === "circle") return { ...common, name: "circle", sort: (a, b) => (a.data("label") < b.data("label") ? -1 : 1) };
  return {
    ...common,
    name: "fcose",
    quality: "default",
    nodeSeparation: 110,
    nodeRepulsion: () => (n > 100 ? 22000 : 14000),
    idealEdgeLength: () => (n > 100 ? 130 : 110),
    edgeElasticity: () => 0.15,
    gravity: 0.3,
    numIter: n > 300 ? 1200 : 2500,
    nodeDimensionsIncludeLabels: n <= 150,
  };
}

function arrange(cy, name) {
  seeded(() => cy.layout(layoutFor(cy, name)).run());
  cy.nodes().forEach((node) => places.set(node.id(), { ...node.position() }));
}

/** Put nodes without a place beside the mean of their neighbours that have one. */
function placeNewcomers(cy, newcomers) {
  newcomers.forEach((node, i) => {
    const known = node.neighborhood("node").filter((other) => places.has(other.id()));
    const angle = i * 2.4;
    const reach = 60 + 6 * Math.sqrt(i);
    let x = 0;
    let y = 0;
    known.forEach((other) => {
      x += places.get(other.id()).x / known.length;
      y += places.get(other.id()).y / known.length;
    });
    node.position({ x: x + reach * Math.cos(angle), y: y + reach * Math.sin(angle) });
    places.set(node.id(), { ...node.position() });
  });
}

/** Columns around the node in focus: causes to the left, effects to the right. */
function placeColumns(cy, column) {
  const width = 230;
  const columns = new Map();
  cy.nodes().forEach((node) => {
    const x = column.get(node.id());
    columns.set(x, [...(columns.get(x) ?? []), node]);
  });
  for (const [x, nodes] of columns) {
    nodes.forEach((node, i) => node.position({ x: x * width, y: (i - (nodes.length - 1) / 2) * 54 }));
  }
  fitAll();
}

/** Show everything, but do not blow up a few nodes. */
function fitAll() {
  cy.fit(cy.elements(), 24);
  if (cy.zoom() > 1.4) {
    cy.zoom(1.4);
    cy.center(cy.elements());
  }
}
