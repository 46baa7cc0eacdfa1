// Texts that somebody else wrote: plain, with what differs marked, or rendered from the nodes that the server made of
// Markdown and LaTeX (rendering.py). Only tags of this list are made, and none of them with an address.

const RENDERED_TAGS = new Set(
  "p ul ol li blockquote strong em s table thead tbody tr th td hr br code pre h1 h2 h3 h4 h5 h6".split(" "),
);
const PIECE = 4000; // characters; the browser lays out only the pieces of a long text that are on screen
const FORMULA = { output: "mathml", trust: false, maxExpand: 200, maxSize: 3, strict: "ignore" }; // of KaTeX

function passage({ text, runs, nodes }) {
  if (!text.trim()) return el("div", { class: "text empty" }, "(empty)");
  if (nodes) return el("div", { class: "text rendered", dir: "auto" }, nodes.map(rendered));
  const words = runs ? runs.map(([only, part]) => (only ? el("mark", {}, part) : part)) : pieces(text);
  return el("div", { class: "text", dir: "auto" }, words);
}

// A long text in pieces, cut behind line ends where there are some: each begins a line of its own.
function pieces(text) {
  if (text.length <= PIECE) return text;
  const found = [];
  for (let start = 0; start < text.length; ) {
    const line = text.lastIndexOf("\n", start + PIECE);
    const end = start + PIECE >= text.length ? text.length : line > start ? line + 1 : start + PIECE;
    found.push(el("div", { class: "piece" }, text.slice(start, end).replace(/\n$/, "")));
    start = end;
  }
  return found;
}

function rendered(node) {
  if (typeof node === "string") return node;
  if (node.tag === "math" || node.tag === "display") return formula(node);
  const children = (node.children ?? []).map(rendered);
  if (node.tag === "link" || node.tag === "image") return el("span", { class: node.tag }, children);
  if (!RENDERED_TAGS.has(node.tag)) return el("span", {}, children);
  if (/^h\d$/.test(node.tag)) return el("p", { class: "heading" }, children); // the page has headings of its own
  if (node.tag === "table") return el("div", { class: "wide" }, el("table", {}, children));
  return el(node.tag, node.tag === "ol" ? { start: node.start } : {}, children);
}

// MathML by the KaTeX that Streamlit brings; the source where that is missing or the formula is not LaTeX.
function formula({ tag, tex }) {
  const displayMode = tag === "display";
  const place = el(displayMode ? "div" : "span", { class: "formula" }, tex);
  katex()
    .then((library) => {
      const made = el("span");
      library.render(tex, made, { ...FORMULA, displayMode });
      place.replaceChildren(...made.childNodes);
    })
    .catch(() => place.classList.add("source"));
  return place;
}

let katexLoaded = null;
function katex() {
  const { katex: file } = sheet.constants;
  if (!file) return Promise.reject(new Error("this Streamlit brings no KaTeX"));
  const url = new URL(`static/js/${file}`, document.baseURI);
  katexLoaded ??= import(url).then((module) => module.default);
  return katexLoaded;
}
