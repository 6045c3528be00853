// Why an event of a case happened: its root causes, and the chain from the main one to it.

const openCase = { index: 0, kept: [], picked: null };
const theCase = () => data.cases[openCase.index];

/** Edges into each event that can explain it, of those that are kept. */
function causesByEvent(one, kept) {
  const into = new Map();
  for (const i of kept) {
    if (!one.explains[i]) continue;
    if (!into.has(one.effect[i])) into.set(one.effect[i], []);
    into.get(one.effect[i]).push(i);
  }
  return into;
}

/** The events that an event goes back to, effects before their causes (within one time, positions say nothing). */
function backwards(position, one, into) {
  const order = [];
  const seen = new Set([position]);
  const stack = [[position, 0]];
  while (stack.length) {
    const top = stack.at(-1);
    const causes = into.get(top[0]) ?? [];
    if (top[1] === causes.length) {
      order.unshift(stack.pop()[0]);
      continue;
    }
    const cause = one.cause[causes[top[1]]];
    top[1] += 1;
    if (!seen.has(cause)) {
      seen.add(cause);
      stack.push([cause, 0]);
    }
  }
  return order;
}

/**
 * Where the chain of causes of an event begins: each event passes its share on to the causes that made it more likely,
 * in proportion to their gains. The same as `root_causes` of the library.
 */
function rootsOf(position, kept) {
  const one = theCase();
  const into = causesByEvent(one, kept);
  const order = backwards(position, one, into);
  const share = new Map([[position, 1]]);
  const roots = [];
  const edges = [];
  for (const at of order) {
    const causes = into.get(at) ?? [];
    if (!causes.length) roots.push({ position: at, share: share.get(at) });
    const total = causes.reduce((sum, i) => sum + one.pointwise_nats[i], 0);
    for (const i of causes) {
      edges.push(i);
      share.set(one.cause[i], (share.get(one.cause[i]) ?? 0) + (share.get(at) * one.pointwise_nats[i]) / total);
    }
  }
  const rounded = (root) => Math.round(1e12 * root.share);
  roots.sort((a, b) => rounded(b) - rounded(a) || a.position - b.position);
  return { roots, edges, into, order, positions: new Set(order) };
}

/** Edges of the way along which most of the main root's share reaches the event, from the root on. */
function mainChain(position, found) {
  const one = theCase();
  const root = found.roots[0].position;
  const reach = new Map([[root, 1]]); // how much of an event comes from the root
  for (const at of [...found.order].reverse()) {
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
  const caused = kept.filter((i) => one.explains[i]).map((i) => one.effect[i]);
  return caused.length ? caused.reduce((a, b) => Math.max(a, b)) : null;
}

/** The story of an event in one sentence, as nodes. */
function storyWords(position, found, chain) {
  const one = theCase();
  const when = one.times ? ` (${timeBeside(one, position, found.roots[0].position)})` : "";
  const at = neighbourOf(one, position);
  if (at !== null) return [eventChip(one, position), `${when} happened in another case: what caused it is told by ${at}.`];
  if (!chain.length) return [chip(one.events[position]), `${when} has no known cause in this log: nothing earlier in the case made it more likely.`, ...besideWords(position)];
  const steps = chain.map((i) => eventChip(one, one.cause[i]));
  const shown = steps.length <= 8 ? steps : [...steps.slice(0, 4), `… ${steps.length - 7} more …`, ...steps.slice(-3)];
  const way = shown.flatMap((step, at) => [at ? make("span", { class: "arrow" }, " → ") : "", step]);
  const sure = one.confidence ? chain.reduce((product, i) => product * (one.confidence[i] ?? NaN), 1) : NaN;
  const share = found.roots[0].share;
  return [
    chip(one.events[position]), `${when} was caused by `, ...way, Number.isNaN(sure) ? "" : ` (confidence ${sureWords(sure)})`, ".",
    share < 0.75 ? ` It explains ${percent(share)}; ${found.roots.length - 1 === 1 ? "another root cause" : "other root causes"} the rest.` : "",
    ...besideWords(position),
  ];
}

/** What an event is linked with where the direction is not known. */
function besideWords(position) {
  const one = theCase();
  const edges = openCase.kept.filter((i) => isUndirectedEdge(one, i) && (one.cause[i] === position || one.effect[i] === position));
  const others = edges.map((i) => (one.cause[i] === position ? one.effect[i] : one.cause[i]));
  if (!others.length) return [];
  return [" Linked at the same time, direction not known: ", ...others.flatMap((other, i) => [i ? ", " : "", eventChip(one, other)]), "."];
}

const isUndirectedEdge = (one, i) => one.directed?.[i] === false;

/** Whether times are dates; else they count from the start of the log. */
const isDated = (one) => one.times !== null && one.start > 1e8;

/** The time of an event as people read it: date and time, or how long after the start of the case. */
function timeOf(one, position) {
  if (!isDated(one)) return duration(one.times[position]);
  return new Date(Math.round((one.start + one.times[position]) * 1000)).toISOString().slice(0, 19).replace("T", " ");
}

/** The time of an event beside another: without the date where both are of one day. */
function timeBeside(one, position, other) {
  const [now, then] = [timeOf(one, position), timeOf(one, other)];
  return isDated(one) && now.slice(0, 10) === then.slice(0, 10) ? now.slice(11) : now;
}

function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (Math.abs(seconds) >= 2 * size) return `${show(Number((seconds / size).toPrecision(3)))} ${unit}`;
  }
  const small = Math.abs(seconds) < 1 && seconds;
  return small ? `${show(Number((1000 * seconds).toPrecision(3)))} ms` : `${show(Number(seconds.toPrecision(3)))} s`;
}
