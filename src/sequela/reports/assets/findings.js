// The first screen: the root causes of the log, those that explain most, and most surely, first.

const FIRST_ROOTS = 8;

function startFindings() {
  const found = data.findings;
  if (found === null) return linkFindings();
  const { n_cases: nCases, is_one_case: isOne } = data.counts;
  const [best] = found.roots;
  if (!best) {
    $("answer").textContent = "No root cause found in this log.";
    if (found.n_undirected) $("answer").textContent = "No root cause can be named in this log: the direction of its links is not known.";
    $("answer-note").textContent = found.n_undirected ? "Only events that happened at one time are linked. The cases show which." : found.n_single
      ? `${plural(found.n_single, "event type")} began a chain of causes, each in one case only: that is no finding. The cases show them.`
      : "No event made a later one more likely, as far as this log and its model can tell.";
  } else {
    const asked = `${plural(found.n_caused, "event")} that ${found.n_usual ? "did not go as usual and " : ""}${found.n_caused === 1 ? "has" : "have"} a cause`;
    const word = found.roots.some((root) => root.share > 1.1 * best.share) ? "surest" : "main";
    $("answer").replaceChildren(
      chip(best.type),
      best.share > 0.995
        ? ` is the root cause of all ${asked}.`
        : ` is the ${word} root cause: it explains ${percent(best.share)} of the ${asked}.`,
    );
    $("answer-note").textContent = `${plural(found.n_roots, "root cause")}${isOne ? "" : ` in ${plural(nCases, "case")}`}, those that explain most, and most surely, first.`;
  }
  const draw = (all) => {
    $("roots-of-log").replaceChildren(...found.roots.slice(0, all ? undefined : FIRST_ROOTS).map(rootCard));
    $("more-roots").hidden = all || found.roots.length <= FIRST_ROOTS;
  };
  draw(false);
  $("more-roots").textContent = `Show all ${whole.format(found.roots.length)}`;
  $("more-roots").addEventListener("click", () => {
    draw(true);
    document.querySelectorAll("#roots-of-log .show-graph")[FIRST_ROOTS].focus();
  });
  const left = [];
  if (found.n_usual) left.push(`${plural(found.n_usual, "event")} in the most common state of what acted (as usual) ${found.n_usual === 1 ? "is" : "are"} not counted: the graph and the cases show what led to ${found.n_usual === 1 ? "it" : "them"}`);
  if (found.n_roots > found.roots.length) left.push(`the ${whole.format(found.n_roots - found.roots.length)} smallest are not in this page`);
  if (best && found.n_single) left.push(`${plural(found.n_single, "root cause")} seen in one case only ${found.n_single === 1 ? "is" : "are"} not listed`);
  if (found.n_undirected) left.push(`${plural(found.n_undirected, "edge")} between events at one time ${found.n_undirected === 1 ? "has" : "have"} no known direction and ${found.n_undirected === 1 ? "is" : "are"} not counted`);
  $("not-shown").textContent = left.length ? `${left.join("; ")}.`.replace(/^./, (first) => first.toUpperCase()) : "";
}

function rootCard(root, i) {
  const found = data.findings;
  const facts = [];
  if (!data.counts.is_one_case) facts.push(["in", `${whole.format(root.n_cases)} of ${plural(data.counts.n_cases, "case")}`]);
  facts.push(["explains", `${show(Math.round(root.n_explained))} of ${plural(found.n_caused, "later event")}`]);
  if (root.confidence !== null) facts.push(["confidence", sureWords(root.confidence)]);
  else if (root.q_value !== null) facts.push(["evidence", `q ${show(root.q_value)}`]);
  else if (!data.counts.has_evidence) facts.push(["evidence", "none over cases"]);
  const [example] = root.examples;
  return make(
    "li", { class: "card" },
    make("span", { class: "rank", "aria-hidden": "true" }, String(i + 1)),
    make(
      "div", { class: "finding" },
      make("h3", { class: "chain" }, ...chainWords(root.chain)),
      make("p", { class: "plain quiet" }, plainWords(root)),
      root.others.length ? make("p", { class: "plain quiet" }, "Also leads to ", ...root.others.flatMap(([type, count], at) => [at ? ", " : "", chip(type), ` (${plural(count, "time")})`]), ".") : null,
      make("ul", { class: "facts" }, ...facts.map(([what, much]) => make("li", {}, `${what} `, make("b", {}, much)))),
    ),
    make("div", { class: "share" }, make("b", {}, percent(root.share)), make("span", { class: "bar-back" }, make("span", { class: "bar-fill", style: `width:${Math.min(100, 100 * root.share)}%` })), make("span", { class: "quiet" }, "explained")),
    make(
      "div", { class: "buttons" },
      make("button", { type: "button", class: "show-graph", "aria-label": `Graph of ${shownName[root.type]}`, onclick: () => showInGraph(root) }, "Graph"),
      example ? make("button", { type: "button", class: "show-case", "aria-label": `Example case of ${shownName[root.type]}`, onclick: () => showExample(example) }, "Example case") : null,
    ),
  );
}

/** How often the typical chain was seen, in one plain sentence. */
function plainWords(root) {
  const often = `Typical chain, seen ${plural(root.chain_count, "time")}${data.counts.is_one_case ? "" : ` in ${plural(root.chain_cases, "case")}`}`;
  return `${often}${root.seconds === null ? "" : root.seconds ? `, ${duration(root.seconds)} from first to last (median)` : ", mostly at one time"}.`;
}

function showInGraph(root) {
  openTab("tab-types");
  state.level = 0;
  $("level").value = 0;
  state.hops = Math.max(2, root.chain.length - 1);
  $("hops").value = state.hops;
  focusOn(nodeOf(root.type));
  $("graph").focus({ preventScroll: true });
}

function showExample([index, position]) {
  openTab("tab-cases");
  chooseCase(index, position);
  knotOf(position)?.focus({ preventScroll: true });
}

/** Where there are no single cases: the strongest links. */
function linkFindings() {
  const strongest = rows.filter((row) => isLink(row) && isMore(row) && !(hasSingles && isSingle(row))).sort(byDescending(strengthOf));
  const [best] = strongest;
  $("answer").replaceChildren(...(best === undefined ? ["No link found in this log."] : [...chainWords([links.cause[best], links.effect[best]]), " is the strongest link."]));
  $("answer-note").textContent = best === undefined ? "" : `This result holds links between event types${data.counts.has_evidence ? ", with evidence over cases" : ""}, and no single cases: root causes cannot be counted. The strongest first.`;
  const card = (row, i) =>
    make(
      "li", { class: "card" },
      make("span", { class: "rank", "aria-hidden": "true" }, String(i + 1)),
      make(
        "div", { class: "finding" },
        make("h3", { class: "chain" }, ...chainWords([links.cause[row], links.effect[row]])),
        make("ul", { class: "facts" }, ...linkFacts(row).map(([what, much]) => make("li", {}, `${what} `, make("b", {}, much)))),
      ),
      make("div", { class: "buttons" }, make("button", { type: "button", class: "show-graph", "aria-label": `Graph of ${shownName[links.cause[row]]}`, onclick: () => showInGraph({ type: links.cause[row], chain: [] }) }, "Graph")),
    );
  $("roots-of-log").replaceChildren(...strongest.slice(0, FIRST_ROOTS).map(card));
  $("more-roots").hidden = true;
  $("not-shown").textContent = strongest.length > FIRST_ROOTS ? `The other ${whole.format(strongest.length - FIRST_ROOTS)} are in the graph and its table.` : "";
}

function linkFacts(row) {
  const facts = [["strength", `${show(strengthOf(row))} nats`]];
  if (value[links.support]) facts.push(["in", plural(value[links.support][row], "case")]);
  if (value.pointwise_nats[row] !== null) facts.push(["makes it", `${show(Math.exp(value.pointwise_nats[row]))} times more likely`]);
  if (value.confidence?.[row] != null) facts.push(["confidence", sureWords(value.confidence[row])]);
  else if (links.q !== null) facts.push(["evidence", `q ${show(value.q_value[row])}`]);
  return facts;
}
