// Why an event of a case happened: its root causes, and the chain from the main one to it.

const openCase = { index: 0, kept: [], picked: null };
const theCase = () => data.cases[openCase.index];

const isKept = (one, i) => (one.pointwise_nats[i] ?? 0) > 0 && one.counted[i] === 1;

/** Edges into each event that made it more likely, of those that are kept. */
function causesByEvent(one, kept) {
  const into = new Map();
  for (const i of kept) {
    if ((one.pointwise_nats[i] ?? 0) <= 0) continue;
    if (!into.has(one.effect[i])) into.set(one.effect[i], []);
    into.get(one.effect[i]).push(i);
  }
  return into;
}

/**
 * Where the chain of causes of an event begins: each event passes its share on to the causes that made it more likely,
 * in proportion to their gains. The same as `root_causes` of the library.
 */
function rootsOf(position, kept) {
  const one = theCase();
  const into = causesByEvent(one, kept);
  const share = new Map([[position, 1]]);
  const steps = new Map([[position, 0]]);
  const roots = [];
  const edges = [];
  for (let at = position; at >= 0; at -= 1) {
    if (!share.has(at)) continue;
    const causes = into.get(at) ?? [];
    if (!causes.length) roots.push({ position: at, share: share.get(at), steps: steps.get(at) });
    const total = causes.reduce((sum, i) => sum + one.pointwise_nats[i], 0);
    for (const i of causes) {
      edges.push(i);
      share.set(one.cause[i], (share.get(one.cause[i]) ?? 0) + (share.get(at) * one.pointwise_nats[i]) / total);
      steps.set(one.cause[i], Math.min(steps.get(one.cause[i]) ?? Infinity, steps.get(at) + 1));
    }
  }
  roots.sort((a, b) => b.share - a.share || a.position - b.position);
  return { roots, edges, into, positions: new Set(share.keys()) };
}

/** Edges of the way along which most of the main root's share reaches the event, from the root on. */
function mainChain(position, found) {
  const one = theCase();
  const root = found.roots[0].position;
  const reach = new Map([[root, 1]]); // how much of an event comes from the root
  for (const at of [...found.positions].sort((a, b) => a - b)) {
    const causes = found.into.get(at) ?? [];
    const total = causes.reduce((sum, i) => sum + one.pointwise_nats[i], 0);
    if (causes.length) reach.set(at, causes.reduce((sum, i) => sum + (one.pointwise_nats[i] / total) * (reach.get(one.cause[i]) ?? 0), 0));
  }
  const chain = [];
  for (let at = position; at !== root; at = one.cause[chain[0]]) {
    const flow = (i) => one.pointwise_nats[i] * (reach.get(one.cause[i]) ?? 0);
    chain.unshift(found.into.get(at).reduce((best, i) => (flow(i) > flow(best) ? i : best)));
  }
  return chain;
}

/** The last event that has a cause, else the last event. */
function lastCaused(one, kept) {
  const caused = kept.filter((i) => (one.pointwise_nats[i] ?? 0) > 0).map((i) => one.effect[i]);
  return caused.length ? caused.reduce((a, b) => Math.max(a, b)) : null;
}

/** The story of an event in one sentence, as nodes. */
function storyWords(position, found, chain) {
  const one = theCase();
  const when = one.times ? ` (${timeBeside(one, position, found.roots[0].position)})` : "";
  if (!chain.length) return [chip(one.events[position]), `${when} has no cause in this log: nothing earlier in the case made it more likely.`];
  const way = chain.flatMap((i, step) => (step ? [make("span", { class: "arrow" }, isUndirectedEdge(one, chain[step - 1]) ? " – " : " → "), chip(one.events[one.cause[i]])] : [chip(one.events[one.cause[i]])]));
  const sure = one.confidence ? chain.reduce((product, i) => product * (one.confidence[i] ?? NaN), 1) : NaN;
  const share = found.roots[0].share;
  return [
    chip(one.events[position]), `${when} was caused by `, ...way, Number.isNaN(sure) ? "" : ` (confidence ${sure.toFixed(2)})`, ".",
    share < 0.75 ? ` It explains ${percent(share)}; ${found.roots.length - 1 === 1 ? "another root cause" : "other root causes"} the rest.` : "",
    chain.some((i) => isUndirectedEdge(one, i)) ? " Where there is no arrow, the direction is not known." : "",
  ];
}

const isUndirectedEdge = (one, i) => one.directed?.[i] === false;

const timeAt = (one, position) => one.start + one.times[position];

/** A time as people read it: date and time where it can be one, else a duration from the start of the log. */
function clock(seconds) {
  return seconds > 1e8 ? new Date(Math.round(seconds * 1000)).toISOString().slice(0, 19).replace("T", " ") : duration(seconds);
}

/** The time of an event beside another: without the date where both are of one day. */
function timeBeside(one, position, other) {
  const [now, then] = [clock(timeAt(one, position)), clock(timeAt(one, other))];
  return one.start > 1e8 && now.slice(0, 10) === then.slice(0, 10) ? now.slice(11) : now;
}

function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (Math.abs(seconds) >= 2 * size) return `${show(Number((seconds / size).toPrecision(3)))} ${unit}`;
  }
  return `${show(Number(seconds.toPrecision(3)))} s`;
}
