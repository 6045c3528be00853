// What all parts share: the data, the choices made so far, small helpers. Event names are only ever set as text.

const data = JSON.parse(document.getElementById("data").textContent);
const names = data.types.names;

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

/** Show a line of text beside the pointer. */
function tip(text, event) {
  const box = $("tip");
  box.hidden = text === null;
  if (text === null) return;
  box.textContent = text;
  box.style.left = `${Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 8)}px`;
}
