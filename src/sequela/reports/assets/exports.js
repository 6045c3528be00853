// Taking things along: CSV, clipboard, PNG, SVG.

/** A cell that a spreadsheet would take for a formula gets an apostrophe in front. */
function safeCell(content) {
  const text = content === null || content === undefined ? "" : String(content);
  return typeof content === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

function csvText(separator, quote) {
  const keys = ["cause", "effect", ...links.columns.map((column) => column.key)];
  const line = (cells) => cells.map((cell) => quote(safeCell(cell))).join(separator);
  return [line(keys), ...table.rows.map((row) => line(keys.map((key) => cellOf(row, key))))].join("\r\n") + "\r\n";
}

function saveCsv() {
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  download(fileName("-links.csv"), csvText(",", quote), "text/csv;charset=utf-8");
}

async function copyTable() {
  const text = csvText("\t", (cell) => cell.replace(/[\t\r\n]+/g, " "));
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${plural(table.rows.length, "link")} copied`);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

async function savePng() {
  const box = cy.elements().boundingBox();
  const scale = Math.min(2, 8000 / Math.max(box.w, box.h, 1));
  download(fileName(".png"), await cy.png({ output: "blob-promise", full: true, scale, bg: colour("paper") }));
}

/** The picture as drawn, as vectors; text stays text. */
function pictureSvg() {
  const box = cy.elements().boundingBox();
  const pad = 20;
  const svg = makeSvg("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: Math.ceil(box.w + 2 * pad), height: Math.ceil(box.h + 2 * pad),
    viewBox: `${box.x1 - pad} ${box.y1 - pad} ${box.w + 2 * pad} ${box.h + 2 * pad}`, "font-family": "system-ui, sans-serif",
  });
  svg.append(makeSvg("rect", { x: box.x1 - pad, y: box.y1 - pad, width: "100%", height: "100%", fill: colour("paper") }));
  cy.edges().forEach((edge) => svg.append(...edgeSvg(edge)));
  cy.nodes().forEach((node) => {
    const { x, y } = node.position();
    const { w, h, lines, kind } = node.data();
    const top = y - (15 * (lines.length - 1)) / 2 + 4;
    svg.append(
      makeSvg("rect", { class: "node", x: x - w / 2, y: y - h / 2, width: w, height: h, rx: 5, fill: colour("box"), stroke: hasComponents ? node.data("tint") : colour("node"), "stroke-width": kind === "group" ? 4 : 2 }),
      makeSvg("text", { "text-anchor": "middle", "font-size": 12, fill: colour("ink") }, ...lines.map((line, i) => makeSvg("tspan", { x, y: top + 15 * i }, line))),
    );
  });
  return svg;
}

function edgeSvg(edge) {
  const [start, end] = [edge.sourceEndpoint(), edge.targetEndpoint()];
  if (!start || !end || Number.isNaN(start.x) || Number.isNaN(end.x)) return [];
  const control = edge.controlPoints()?.[0];
  const middle = control ?? { x: (start.x + end.x) / 2, y: (start.y + end.y) / 2 };
  const second = edge.controlPoints()?.[1];
  const path = second ? `C ${middle.x} ${middle.y} ${second.x} ${second.y} ${end.x} ${end.y}` : `Q ${middle.x} ${middle.y} ${end.x} ${end.y}`;
  const line = edge.data("sign") === "more" ? colour("more") : colour("less");
  const from = second ?? middle;
  const angle = Math.atan2(end.y - from.y, end.x - from.x);
  const size = 5 + 1.5 * edge.data("width");
  const corner = (turn) => `${end.x - size * Math.cos(angle + turn)},${end.y - size * Math.sin(angle + turn)}`;
  return [
    makeSvg("path", { d: `M ${start.x} ${start.y} ${path}`, fill: "none", stroke: line, "stroke-width": edge.data("width"), "stroke-dasharray": edge.data("sign") === "more" ? null : "6 4", opacity: 0.65 }),
    ...(edge.data("undirected") ? [] : [makeSvg("polygon", { points: `${end.x},${end.y} ${corner(0.4)} ${corner(-0.4)}`, fill: edge.data("doubtful") ? "none" : line, stroke: line })]),
  ];
}

function saveSvg(svg, ending) {
  download(fileName(ending), new XMLSerializer().serializeToString(svg), "image/svg+xml");
}
