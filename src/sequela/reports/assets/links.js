// The links between event types: which pass the filters, which are drawn, and how they look when types are collapsed.

const links = data.links;
const value = links.values;
const nLinks = links.cause.length;
const rows = Array.from({ length: nLinks }, (_, i) => i);

const state = {
  measure: links.measures[0],
  strength: -Infinity,
  support: -Infinity,
  lag: Infinity,
  q: Infinity,
  more: true,
  less: false,
  single: false,
  candidates: false,
  limit: 40,
  level: 0, // 0: whole types; k: the first k components
  expanded: new Set(), // collapsed groups that were opened
  picked: null, // {node: id} or {link: row}
  focus: null, // id of the node in the middle, or null
  hops: 2,
};

const isMore = (row) => value.pointwise_nats[row] === null || value.pointwise_nats[row] >= 0;
const isLink = (row) => !value.is_edge || value.is_edge[row];
const strengthOf = (row) => value[state.measure][row] ?? 0;
const isSingle = (row) => !value.is_edge && value.n_cases !== undefined && value.n_cases[row] < 2;
const hasSingles = rows.some(isSingle) && !rows.every(isSingle);
const isUndirected = (row) => value.directed?.[row] === false;
const isDoubtful = (row) => Boolean(value.mark && value.mark[row]);

function passes(row) {
  if (!state.candidates && !isLink(row)) return false;
  if (!(isMore(row) ? state.more : state.less)) return false;
  if (hasSingles && !state.single && isSingle(row)) return false;
  if (strengthOf(row) < state.strength) return false;
  if ((value[links.support][row] ?? 0) < state.support) return false;
  if ((value[links.lag][row] ?? 0) > state.lag) return false;
  return links.q === null || (value[links.q][row] ?? 1) <= state.q;
}

/** Rows that pass the filters, strongest first. */
function passing() {
  return rows.filter(passes).sort(byDescending(strengthOf));
}

/** The node that stands for an event type: itself, or the group it is collapsed into. */
function nodeOf(type) {
  const own = rawComponents[type];
  for (let level = state.level; level > 0 && level < own.length; level += 1) {
    const group = `g:${own.slice(0, level).join("|")}`;
    if (!state.expanded.has(group)) return group;
  }
  return `t:${type}`;
}

const typeOf = (node) => (node.startsWith("t:") ? Number(node.slice(2)) : null);
const rawName = (node) => (node.startsWith("t:") ? names[typeOf(node)] : node.slice(2));
const nameOf = (node) => (node.startsWith("t:") ? shownName[typeOf(node)] : node.slice(2).replaceAll("|", " "));

/** Event types that a node stands for. */
function membersOf(node) {
  const type = typeOf(node);
  if (type !== null) return [type];
  return names.flatMap((name, i) => (name.startsWith(`${node.slice(2)}|`) ? [i] : []));
}

/**
 * Merge rows into links between nodes.
 * Strength: summed for totals, otherwise the mean weighted by places; sign by the summed gain.
 */
function merged(chosen) {
  const found = new Map();
  for (const row of chosen) {
    const cause = nodeOf(links.cause[row]);
    const effect = nodeOf(links.effect[row]);
    if (cause === effect && state.level > 0 && typeOf(cause) === null) continue; // inside a collapsed group
    const key = `${cause}>${effect}`;
    const weight = value[links.weight][row] ?? 1;
    const link = found.get(key) ?? { id: key, cause, effect, rows: [], weight: 0, sum: 0, mean: 0, gain: 0, doubtful: true, undirected: true };
    link.rows.push(row);
    link.weight += weight;
    link.sum += strengthOf(row);
    link.mean += weight * strengthOf(row);
    link.gain += weight * (value.pointwise_nats[row] ?? 0);
    link.doubtful &&= isDoubtful(row);
    link.undirected &&= isUndirected(row);
    found.set(key, link);
  }
  const isTotal = state.measure.endsWith("_total");
  for (const link of found.values()) link.strength = isTotal ? link.sum : link.mean / Math.max(link.weight, 1e-12);
  return [...found.values()].sort((a, b) => b.strength - a.strength || (a.id < b.id ? -1 : 1));
}

/** What is drawn when nothing is in focus: the strongest links, and the picked one. */
function overview(all) {
  const edges = merged(all);
  const drawn = edges.slice(0, state.limit);
  const picked = state.picked?.link;
  if (picked !== undefined && !drawn.some((edge) => edge.rows.includes(picked))) {
    drawn.push(...(edges.some((edge) => edge.rows.includes(picked)) ? edges.filter((edge) => edge.rows.includes(picked)) : merged([picked])));
  }
  return { edges: drawn, n: edges.length };
}

const MOST_A_HOP = 12;

/**
 * What is drawn around a node in focus: causes to the left (columns -1, -2 …), effects to the right (1, 2 …). A node that
 * is both stands on the side of its stronger link.
 */
function neighbourhood(all) {
  const edges = merged(all);
  const column = new Map([[state.focus, 0]]);
  const left = new Set();
  for (let hop = 1; hop <= state.hops; hop += 1) {
    const room = { [-hop]: MOST_A_HOP, [hop]: MOST_A_HOP };
    const reached = new Map(column);
    for (const edge of edges) {
      for (const [from, to, side] of [["effect", "cause", -1], ["cause", "effect", 1]]) {
        const isNext = reached.get(edge[from]) === side * (hop - 1);
        if (!isNext || column.has(edge[to])) continue;
        if (room[side * hop] === 0) {
          left.add(edge[to]);
          continue;
        }
        room[side * hop] -= 1;
        column.set(edge[to], side * hop);
      }
    }
  }
  const nLeft = [...left].filter((node) => !column.has(node)).length;
  return { edges: edges.filter((edge) => column.has(edge.cause) && column.has(edge.effect)), column, nLeft };
}

/** Occurrences of a node. */
function countOf(node) {
  return membersOf(node).reduce((sum, type) => sum + data.types.counts[type], 0);
}
