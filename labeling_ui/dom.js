// Elements are made one by one and a string is only ever text: nothing that somebody wrote is parsed as HTML.

// An element with attributes (`on…` is a listener; false, null and undefined leave it out) and children, lists too.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  const there = (child) => child !== null && child !== undefined && child !== false;
  element.append(...children.flat(Infinity).filter(there));
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Calls back when what was drawn just now has been painted.
function painted(then) {
  requestAnimationFrame(() => requestAnimationFrame(then));
}

const number = (value) => value.toLocaleString("en-US");
const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
const seconds = (ms) => (ms < 9950 ? `${(ms / 1000).toFixed(1)} s` : `${number(Math.round(ms / 1000))} s`);
