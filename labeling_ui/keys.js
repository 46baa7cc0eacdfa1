// Keys and clicks become acts. One press is one act, about the question that was on screen: a held key repeats and a
// finger bounces, so what weighs counts only when the question has been visible for the minimum time and nothing was
// said about it yet.
//
// An action is { id, keys, label, says, run, weighs }: `keys` as KeyboardEvent.key names them, `says` for the overview,
// `weighs` when it is an answer or a part of one, `choice` the answer that it is.

const FIELD = 'textarea, input:not([type="radio"])';
const SUBMIT = "Control+Enter";
const KEY_NAMES = {
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Backspace: "⌫", Escape: "Esc",
  [SUBMIT]: "Ctrl+Enter",
};
const SHORTCUT_NAMES = { "=": "Equal", "?": "Shift+Slash" }; // where ARIA has another name
const keyName = (key) => KEY_NAMES[key] ?? key;

function actions() {
  return [...(sheet.screen?.actions() ?? []), ...sheet.common];
}

function perform(action) {
  if (!action.weighs || mayAnswer()) action.run();
}

function onKeyDown(event) {
  if (event.isComposing) return;
  if (sheet.root.querySelector("dialog[open]")) return onKeyInDialog(event);
  const target = event.composedPath()[0];
  const modified = event.ctrlKey || event.metaKey;
  const submits = event.key === "Enter" && modified;
  if (target.closest?.(FIELD) && !submits) return onKeyInField(event, target);
  if (target.closest?.("button") && (event.key === "Enter" || event.key === " ") && !submits) return; // presses it
  if ((modified && !submits) || event.altKey) return;
  const shifted = event.shiftKey && !/^[\d?=]$/.test(event.key); // some layouts have these on the upper row
  const key = submits ? SUBMIT : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = shifted ? undefined : actions().find((known) => known.keys.includes(key));
  if (action) {
    event.preventDefault();
    event.stopImmediatePropagation(); // the app around has keys of its own
    if (!event.repeat) perform(action);
  } else if (target === document.body || target.closest?.(".desk")) {
    scroll(event);
  }
}

function onKeyInField(event, field) {
  event.stopImmediatePropagation();
  if (event.key === "Escape" || (event.key === "Enter" && field.matches(".why"))) {
    event.preventDefault();
    toDesk();
  }
}

function onKeyInDialog(event) {
  event.stopImmediatePropagation();
  if (event.key === "?" || event.key === "Escape") {
    event.preventDefault();
    sheet.root.querySelector("dialog[open]").close();
  }
}

// The keys that scroll a page scroll the answers, wherever the focus is.
const SCROLLS = { PageDown: 0.85, PageUp: -0.85, " ": 0.85, ArrowDown: 0.1, ArrowUp: -0.1, Home: -1e6, End: 1e6 };
function scroll(event) {
  const area = sheet.root.querySelector(".answers");
  if (!area || !(event.key in SCROLLS)) return;
  event.preventDefault();
  const places = area.classList.contains("apart") ? area.children : [area];
  for (const place of places) place.scrollBy({ top: SCROLLS[event.key] * place.clientHeight });
}

// A button for the action. A click with the mouse leaves the focus where keys are heard.
function button(action, attributes = {}) {
  const onclick = (event) => {
    if (event.detail > 1 && action.weighs) return; // the second click of a double click
    perform(action);
    if (event.detail > 0 && sheet.root.activeElement?.matches("button")) toDesk();
  };
  const shortcuts = action.keys.map((key) => SHORTCUT_NAMES[key] ?? key).join(" ");
  return el(
    "button",
    {
      type: "button",
      "data-act": action.id,
      "aria-keyshortcuts": shortcuts || null,
      title: action.says,
      onclick,
      ...attributes,
    },
    el("span", {}, action.label),
    action.keys.length > 0 && el("kbd", { "aria-hidden": "true" }, keyName(action.keys[0])),
  );
}

// Where the focus is when it is nowhere in particular.
function toDesk() {
  sheet.frame.desk.focus({ preventScroll: true });
}

function showKeys() {
  const rows = actions()
    .filter(({ keys }) => keys.length > 0)
    .map(({ keys, says }) => [
      el("dt", {}, keys.map((key) => el("kbd", {}, keyName(key)))),
      el("dd", {}, says),
    ]);
  openDialog(
    "Keys",
    el("dl", { class: "keys" }, rows),
    el("p", { class: "quiet" }, "Keys typed in a field choose nothing; Esc leaves the field."),
  );
}

function openDialog(title, ...content) {
  const close = el(
    "button",
    { type: "button", onclick: () => dialog.close() },
    el("span", {}, "close"),
    el("kbd", { "aria-hidden": "true" }, "Esc"),
  );
  const closed = () => {
    dialog.remove();
    toDesk();
  };
  const beside = (event) => event.target === dialog && dialog.close();
  const dialog = el(
    "dialog",
    { "aria-label": title, onclose: closed, onclick: beside },
    el("div", { class: "in-dialog" }, el("h2", {}, title), content, close),
  );
  sheet.root.append(dialog);
  dialog.showModal();
}
