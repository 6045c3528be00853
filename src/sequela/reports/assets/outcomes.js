// The tab of outcomes: for each label its causes, sets of causes that suffice, and pairs that act together.

const percentage = (value) => `${(100 * value).toFixed(1)} %`;
const signed = (value) => `${value >= 0 ? "+" : "−"}${percentage(Math.abs(value))}`;

/** A table with a caption; cells are text. */
function plainTable(caption, heads, lines) {
  const cells = (tag, line) => line.map((text, i) => make(tag, { class: i === 0 ? null : "number" }, String(text)));
  return make(
    "table", { class: "plain" }, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...cells("th", heads))),
    make("tbody", {}, ...lines.map((line) => make("tr", {}, ...cells("td", line)))),
  );
}

const plainName = (name) => name.split(/(?<!\\)\|/).map((one) => one.replaceAll("\\|", "|")).join(" ");

function showOutcome(label) {
  const { causes, sets, pairs, n_cases: n } = label;
  const about = `${plural(n, "case")} of ${whole.format(data.outcomes.n_cases)} ${n === 1 ? "has" : "have"} this outcome. A cause has evidence over cases at a false discovery rate of ${data.outcomes.fdr} and a mean effect of at least ${percentage(data.outcomes.delta)}, all other event types known.`;
  const tables = [];
  if (causes.length) tables.push(plainTable("Causes", ["event", "change of the probability", "cases affected", "cases with it", "log10 e"],
    causes.map((row) => [plainName(row.event), signed(row.effect), whole.format(row.n_affected), whole.format(row.n_cases), row.log10_e.toFixed(1)])));
  else tables.push(make("p", {}, "No event type has evidence enough to be called a cause."));
  if (sets.length) tables.push(plainTable("Sets that suffice: none of their causes could be left out", ["causes", "cases", "probability"],
    sets.map((row) => [row.causes.map(plainName).join(" and "), whole.format(row.n_cases), percentage(row.probability)])));
  if (pairs.length) tables.push(plainTable("Causes that act together: above 0 they need each other, below 0 one is enough", ["pair", "interaction", "cases with both"],
    pairs.map((row) => [`${plainName(row.cause_a)}, ${plainName(row.cause_b)}`, signed(row.interaction), whole.format(row.n_cases)])));
  $("outcome-shown").replaceChildren(make("p", { class: "quiet" }, about), ...tables);
}

function startOutcomes() {
  const { labels } = data.outcomes;
  $("outcome").append(...labels.map((label, i) => make("option", { value: i }, label.label)));
  $("outcome").addEventListener("change", () => showOutcome(labels[Number($("outcome").value)]));
  if (labels.length) showOutcome(labels[0]);
}
