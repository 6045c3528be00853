// What all files share: the data, the choices made so far, small helpers. Event names are only ever set as text.

const data = JSON.parse(document.getElementById("data").textContent);
const names = data.types.names;

const rawComponents = names.map((name) => name.split(/(?<!\\)\|/));
const componentsOf = rawComponents.map((own) => own.map((one) => one.replaceAll("\\|", "|")));

/** Event types as people read them: components side by side. */
const shownName = componentsOf.map((own) => own.join(" "));

const $ = (id) => document.getElementById(id);

/** Make an element: attributes, then children (text is text, never markup). */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const whole = new Intl.NumberFormat("en");

/** Write a number for people: three significant digits; "–" where there is none. */
function show(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return whole.format(value);
  const size = Math.abs(value);
  if (size >= 1000) return whole.format(Math.round(value));
  return size >= 0.001 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

function plural(count, noun) {
  return `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Tell a screen reader. */
function say(text) {
  $("say").textContent = text;
}

/** Order for lists: strongest first, ties by place. */
function byDescending(key) {
  return (a, b) => key(b) - key(a) || a - b;
}

/** A slider over the values that occur: its places are quantiles, so that every step changes something. */
class Quantiles {
  constructor(input, output, values) {
    this.input = input;
    this.output = output;
    this.sorted = Float64Array.from(values.filter((value) => value !== null)).sort();
  }

  /** The value at the slider's place. */
  get value() {
    const last = this.sorted.length - 1;
    const share = Number(this.input.value) / Number(this.input.max);
    const value = last < 0 ? 0 : this.sorted[Math.round(share * last)];
    this.output.textContent = show(value);
    return value;
  }
}

/** A share as a percentage, which no line breaks: 31 %, 4.2 %. */
function percent(share) {
  const value = 100 * share;
  return `${value >= 9.95 || value === 0 ? Math.round(value) : Number(value.toPrecision(2))}\u00a0%`;
}

/** A confidence: 0.94; nothing is certain. */
function sureWords(value) {
  return value >= 0.995 ? ">\u00a00.99" : value.toFixed(2);
}

const PALETTE = ["#2f7fc1", "#d9822b", "#3a9d5d", "#b5459b", "#c0392b", "#7a6ae0", "#8a6d3b", "#1c9aa0", "#d1568a", "#7f8f1f"];
const OTHER = "#8a929c";

/** Components by how often they occur, each with a colour of its own for as long as there are any. */
const components = (() => {
  const count = new Map();
  componentsOf.forEach((own, i) => count.set(own[0], (count.get(own[0]) ?? 0) + data.types.counts[i]));
  const ranked = [...count.keys()].sort((a, b) => count.get(b) - count.get(a) || (a < b ? -1 : 1));
  const own = ranked.length <= PALETTE.length ? ranked : ranked.slice(0, PALETTE.length - 1);
  return data.types.n_components > 1 ? new Map(own.map((name, i) => [name, PALETTE[i]])) : new Map();
})();
const hasComponents = components.size > 0;
const componentColour = (component) => (hasComponents ? (components.get(component) ?? OTHER) : colour("node"));

/** The name of an event type, with the colour of its component in front. */
function chip(type, attributes = {}, name = shownName[type]) {
  const dot = hasComponents ? make("span", { class: "dot", style: `background:${componentColour(componentsOf[type][0])}`, "aria-hidden": "true" }) : null;
  return make("span", { class: "chip", ...attributes }, dot, name);
}

const AT_NEIGHBOUR = /\(at a neighbour\)$/;

/** The case at which an event of a case happened, where that is a neighbour. */
const neighbourOf = (one, position) => (AT_NEIGHBOUR.test(shownName[one.events[position]]) ? (one.attributes?.neighbour?.[position] ?? null) : null);

/** The name of an event of a case: its type, and at which neighbour it happened. */
function eventName(one, position) {
  const [name, at] = [shownName[one.events[position]], neighbourOf(one, position)];
  return at === null ? name : name.replace(AT_NEIGHBOUR, () => `(at the neighbour ${at})`);
}

const eventChip = (one, position) => chip(one.events[position], {}, eventName(one, position));

/** Types as a chain: A → B → C. */
function chainWords(types) {
  return types.flatMap((type, i) => (i ? [make("span", { class: "arrow" }, " → "), chip(type)] : [chip(type)]));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Save text or a blob as a file. */
function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function fileName(ending) {
  return `${data.title.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "") || "report"}${ending}`;
}

/** Say what is under the pointer, in a line of its own that covers nothing. */
function readout(id, text) {
  $(id).textContent = text ?? "";
}
