// Where the nodes stand: causes left, effects right; groups without a link between them side by side.

const places = new Map(); // node id -> {x, y}, kept while filters change

/** Lay out each connected group by itself, then put the groups on shelves that fill the picture's shape. */
function arrange() {
  const box = $("graph").getBoundingClientRect();
  const aspect = Math.max(0.5, (box.width || 1000) / Math.max(300, box.height || 600));
  const groups = cy.elements().components().map((group) => {
    group.layout({ name: "dagre", rankDir: "LR", nodeSep: 12, edgeSep: 8, rankSep: 60, acyclicer: "greedy", animate: false, fit: false }).run();
    return { group, box: group.nodes().boundingBox({ includeLabels: false }) };
  });
  groups.sort((a, b) => b.group.edges().length - a.group.edges().length || b.box.w * b.box.h - a.box.w * a.box.h);
  const gap = 34;
  const area = groups.reduce((sum, one) => sum + (one.box.w + gap) * (one.box.h + gap), 0);
  const readable = ((box.width || 1000) - 32) / SMALLEST; // wider, and names at the edge are cut
  const width = Math.max(...groups.map((one) => one.box.w), Math.min(Math.sqrt(area * aspect) * 1.1, readable));
  const taken = [];
  for (const { group, box: own } of groups) {
    const at = freePlace(own, taken, width, gap);
    taken.push({ ...at, w: own.w, h: own.h });
    group.nodes().forEach((node) => {
      const old = node.position();
      node.position({ x: old.x - own.x1 + at.x, y: old.y - own.y1 + at.y });
    });
  }
  cy.nodes().forEach((node) => {
    places.set(node.id(), { ...node.position() });
  });
  fitAll();
}

/** The highest free place for a box, then the leftmost, right of or below what is placed. */
function freePlace(box, taken, width, gap) {
  const corners = [{ x: 0, y: 0 }, ...taken.flatMap((one) => [{ x: one.x + one.w + gap, y: one.y }, { x: one.x, y: one.y + one.h + gap }, { x: 0, y: one.y + one.h + gap }])];
  const isFree = (at) =>
    (at.x === 0 || at.x + box.w <= width) &&
    taken.every((one) => at.x >= one.x + one.w + gap || at.x + box.w + gap <= one.x || at.y >= one.y + one.h + gap || at.y + box.h + gap <= one.y);
  return corners.filter(isFree).sort((a, b) => a.y - b.y || a.x - b.x)[0];
}

/** Put nodes without a place beside a neighbour that has one: effects to the right, causes to the left. */
function placeNewcomers(newcomers) {
  const taken = new Set([...places.values()].map((at) => `${Math.round(at.x)},${Math.round(at.y)}`));
  newcomers.forEach((node) => {
    const cause = node.incomers("node").filter((other) => places.has(other.id()));
    const effect = node.outgoers("node").filter((other) => places.has(other.id()));
    const beside = cause.nonempty() ? places.get(cause[0].id()) : effect.nonempty() ? places.get(effect[0].id()) : { x: 0, y: 0 };
    const at = { x: beside.x + (cause.nonempty() ? 200 : effect.nonempty() ? -200 : 0), y: beside.y };
    while (taken.has(`${Math.round(at.x)},${Math.round(at.y)}`)) at.y += 46;
    taken.add(`${Math.round(at.x)},${Math.round(at.y)}`);
    node.position(at);
    places.set(node.id(), { ...at });
  });
}

/** Columns around the node in focus: causes to the left, effects to the right. */
function placeColumns(column) {
  const columns = new Map();
  cy.nodes().forEach((node) => {
    const x = column.get(node.id());
    columns.set(x, [...(columns.get(x) ?? []), node]);
  });
  const widths = new Map([...columns].map(([x, nodes]) => [x, Math.max(...nodes.map((node) => node.data("w")))]));
  const ordered = [...columns.keys()].sort((a, b) => a - b);
  let x = 0;
  const centre = new Map();
  for (const key of ordered) {
    centre.set(key, x + widths.get(key) / 2);
    x += widths.get(key) + 70;
  }
  for (const [key, nodes] of columns) {
    const gap = 14;
    let y = -nodes.reduce((sum, node) => sum + node.data("h") + gap, -gap) / 2;
    for (const node of nodes) {
      node.position({ x: centre.get(key) - centre.get(0), y: y + node.data("h") / 2 });
      y += node.data("h") + gap;
    }
  }
  fitAll();
}

const SMALLEST = 0.7; // names are 12 px high: below this nobody can read them

/** Show everything as far as it can be read; the picture is as high as it needs to be. */
function fitAll() {
  if ($("types").hidden || cy.nodes().empty()) return;
  const box = cy.elements().boundingBox();
  const width = $("graph").clientWidth;
  const zoom = Math.min(1.15, Math.max(SMALLEST, (width - 32) / Math.max(1, box.w)));
  const most = window.innerWidth < 700 ? 460 : 640;
  $("graph").style.height = `${Math.round(Math.min(most, Math.max(180, box.h * zoom + 48)))}px`;
  cy.resize();
  cy.fit(cy.elements(), 16);
  if (cy.zoom() > 1.15) {
    cy.zoom(1.15);
    cy.center(cy.elements());
  } else if (cy.zoom() < SMALLEST) {
    cy.zoom(SMALLEST);
    const middle = state.focus === null ? null : cy.getElementById(state.focus);
    if (middle && middle.nonempty()) cy.center(middle);
    else cy.pan({ x: 16 - box.x1 * SMALLEST, y: 16 - box.y1 * SMALLEST });
  }
}

/** Bring a node into view, and no more than that. */
function reveal(node) {
  if (node.empty()) return;
  const at = node.renderedPosition();
  const [width, height] = [$("graph").clientWidth, $("graph").clientHeight];
  if (at.x < 60 || at.y < 30 || at.x > width - 60 || at.y > height - 30) cy.center(node);
}
