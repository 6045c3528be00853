// The table of links: everything that passes the filters, a page at a time.

const PAGE = 50;
const table = { rows: [], page: 0, sort: null, down: true };

const textOf = { cause: (row) => names[links.cause[row]], effect: (row) => names[links.effect[row]] };
const readOf = { cause: (row) => shownName[links.cause[row]], effect: (row) => shownName[links.effect[row]] };

function cellOf(row, key) {
  return textOf[key] ? textOf[key](row) : value[key][row];
}

const shownColumns = [
  { key: "cause", label: "cause", help: "The earlier event", numeric: false },
  { key: "effect", label: "effect", help: "The later event", numeric: false },
  ...links.columns.filter((column) => column.key !== "is_edge" || (value.is_edge ?? []).includes(false)),
];

function startTable() {
  const head = make("tr");
  for (const column of shownColumns) {
    head.append(
      make(
        "th", { scope: "col", class: column.numeric ? "numeric" : null, "data-key": column.key },
        make("button", { type: "button", title: column.help, onclick: () => sortBy(column.key) }, column.label),
      ),
    );
  }
  document.querySelector("#links thead").append(head);
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  for (const id of ["words", "only"]) $(id).addEventListener("input", () => fillTable(current, { first: true }));
}

function sortBy(key) {
  const numeric = shownColumns.find((column) => column.key === key).numeric;
  table.down = table.sort === key ? !table.down : numeric;
  table.sort = key;
  fillTable(current, { first: true });
  say(`sorted by ${key}, ${table.down ? "largest" : "smallest"} first`);
}

function turn(step) {
  table.page += step;
  drawTable();
}

/** Whether the name of an event type, as written or as shown, contains some text (lower case). */
function named(type, words) {
  return names[type].toLowerCase().includes(words) || shownName[type].toLowerCase().includes(words);
}

/** Choose and order the rows. */
function fillTable(all, { first = false } = {}) {
  const words = $("words").value.trim().toLowerCase();
  const members = $("only").checked && state.picked?.node ? new Set(membersOf(state.picked.node)) : null;
  table.rows = all.filter(
    (row) =>
      (!words || named(links.cause[row], words) || named(links.effect[row], words)) &&
      (!members || members.has(links.cause[row]) || members.has(links.effect[row])),
  );
  if (table.sort !== null) {
    const factor = table.down ? -1 : 1;
    const lowest = table.down ? -Infinity : Infinity;
    const text = !shownColumns.find((column) => column.key === table.sort).numeric;
    table.rows = [...table.rows].sort((a, b) => {
      const [left, right] = [cellOf(a, table.sort), cellOf(b, table.sort)];
      const order = text ? String(left ?? "").localeCompare(String(right ?? "")) : (left ?? lowest) - (right ?? lowest);
      return factor * order || a - b;
    });
  }
  if (first) table.page = 0;
  drawTable();
}

function drawTable() {
  const last = Math.max(0, Math.ceil(table.rows.length / PAGE) - 1);
  table.page = Math.min(Math.max(0, table.page), last);
  const from = table.page * PAGE;
  document.querySelector("#links tbody").replaceChildren(...table.rows.slice(from, from + PAGE).map(tableRow));
  for (const head of document.querySelectorAll("#links th")) {
    const sorted = head.dataset.key === table.sort;
    head.setAttribute("aria-sort", sorted ? (table.down ? "descending" : "ascending") : "none");
    head.firstChild.textContent = shownColumns.find((column) => column.key === head.dataset.key).label + (sorted ? (table.down ? " ▼" : " ▲") : "");
  }
  const end = Math.min(from + PAGE, table.rows.length);
  $("page").textContent = table.rows.length ? `${whole.format(from + 1)}–${whole.format(end)} of ${plural(table.rows.length, "link")}` : "no link passes";
  $("previous").disabled = table.page === 0;
  $("next").disabled = table.page === last;
}

function tableRow(row) {
  const line = make("tr", { "data-row": row, class: state.picked?.link === row ? "picked" : null });
  for (const column of shownColumns) {
    const content = readOf[column.key] ? readOf[column.key](row) : show(cellOf(row, column.key));
    const cell = make("td", { class: column.numeric ? "numeric" : null });
    if (column.key === "cause") cell.append(make("button", { type: "button", onclick: () => pick({ link: row }, { from: "table" }) }, content));
    else cell.append(content);
    line.append(cell);
  }
  line.addEventListener("click", (event) => event.target.tagName !== "BUTTON" && pick({ link: row }, { from: "table" }));
  return line;
}

/** Turn to the page that holds a row. */
function turnTo(row) {
  const at = table.rows.indexOf(row);
  if (at >= 0) table.page = Math.floor(at / PAGE);
  drawTable();
  const [line, box] = [document.querySelector("#links tr.picked"), document.querySelector("#table .scroll")];
  if (line && (line.offsetTop < box.scrollTop || line.offsetTop > box.scrollTop + box.clientHeight - 40)) box.scrollTop = line.offsetTop - 60;
}
