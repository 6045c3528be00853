// The panel beside the picture: what is picked, in words and numbers.

const sign = (more) => make("span", { class: `sign ${more ? "more" : "less"}`, title: more ? "more likely" : "less likely" }, more ? "+" : "−");

function linkButton(edge, other) {
  return make(
    "li", {},
    make(
      "button", { type: "button", onclick: () => pick({ node: other }) },
      sign(edge.gain >= 0), make("span", { class: "what" }, nameOf(other)), make("span", { class: "number" }, `${show(edge.strength)} nats`),
    ),
  );
}

function linkList(title, edges, end) {
  const most = 12;
  const list = make("ol", { class: "list" }, ...edges.slice(0, most).map((edge) => linkButton(edge, edge[end])));
  const rest = edges.length > most ? make("p", { class: "quiet" }, `and ${edges.length - most} more: see the table`) : null;
  return [make("h3", {}, `${title} (${edges.length})`), edges.length ? list : make("p", { class: "quiet" }, "none that passes the filters"), ...(rest ? [rest] : [])];
}

function showDetails(all) {
  const panel = $("details");
  panel.replaceChildren();
  if (state.picked?.node) panel.append(...nodeDetails(state.picked.node, merged(all)));
  else if (state.picked) panel.append(...linkDetails(state.picked.link));
  else panel.append(...hints());
}

function hints() {
  return [
    make("p", { class: "name" }, "Select an event or a link"),
    make("p", {}, "Causes are left, effects right. The thicker a line, the stronger the link."),
    make("p", {}, make("span", { class: "key more" }), " solid: the cause makes the effect more likely"),
    make("p", {}, make("span", { class: "key less" }), " dashed: it makes it less likely"),
    ...(rows.some(isUndirected) ? [make("p", {}, "No arrow head: the direction is not known.")] : []),
    ...(value.mark ? [make("p", {}, "Hollow arrow, dotted: uncertain; select it to see why.")] : []),
  ];
}

function nodeDetails(node, edges) {
  const members = membersOf(node);
  const buttons = make("div", { class: "buttons" }, make("button", { type: "button", id: "focus", onclick: () => focusOn(node) }, "Focus"));
  if (typeOf(node) !== null && data.cases.length) buttons.append(make("button", { type: "button", id: "cases-of", onclick: () => casesWith(typeOf(node)) }, "Cases"));
  if (typeOf(node) === null) buttons.append(make("button", { type: "button", id: "expand", onclick: () => expand(node) }, "Expand"));
  for (const group of openGroups(node)) {
    buttons.append(make("button", { type: "button", class: "collapse", onclick: () => collapse(group) }, `Collapse ${nameOf(group)}`));
  }
  return [
    make("p", { class: "name" }, nameOf(node)),
    make("p", {}, `${plural(countOf(node), "event")}${typeOf(node) === null ? ` of ${plural(members.length, "type")}` : ""}`),
    buttons,
    ...linkList("Causes", edges.filter((edge) => edge.effect === node), "cause"),
    ...linkList("Effects", edges.filter((edge) => edge.cause === node), "effect"),
  ];
}

/** Groups that were opened to show this node. */
function openGroups(node) {
  return [...state.expanded].filter((group) => rawName(node).startsWith(`${group.slice(2)}|`));
}

function linkDetails(row) {
  const gain = value.pointwise_nats[row];
  const times = gain === null ? null : Math.exp(Math.abs(gain));
  const sentence = links.sentences && links.sentences[row];
  const words = sentence ?? (gain === null ? null : `${shownName[links.cause[row]]} makes ${shownName[links.effect[row]]} ${gain >= 0 ? "more" : "less"} likely, about ${show(times)} times in the (geometric) mean.`);
  const end = (type) => make("button", { type: "button", onclick: () => pick({ node: nodeOf(type) }) }, shownName[type]);
  return [
    make("p", { class: "name" }, shownName[links.cause[row]], isUndirected(row) ? " – " : " → ", shownName[links.effect[row]]),
    ...(words ? [make("p", {}, words)] : []),
    ...(value.is_edge && !isLink(row) ? [make("p", { class: "warning" }, "No evidence over cases for this link: too weak, too rare or not certain enough.")] : []),
    ...(isDoubtful(row) ? [make("p", { class: "warning" }, value.mark[row])] : []),
    make("dl", {}, ...links.columns.filter((column) => column.key !== "mark").flatMap((column) => [make("dt", { title: column.help }, column.label), make("dd", {}, show(value[column.key][row]))])),
    make("div", { class: "buttons" }, end(links.cause[row]), end(links.effect[row])),
  ];
}
