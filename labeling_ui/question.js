// The question on screen: its texts, the ways of showing them, and the bar of choices.

const KINDS = { pair, ranking, rating, thumbs, edit: writing, demonstration: writing };
let ask = null; // what is asked and was said about it so far

function questionScreen({ question }) {
  const draft = { ...question.draft, ...stored(question.key) };
  const why = el("input", {
    class: "why",
    "aria-label": "why?",
    placeholder: "why? (optional)",
    value: draft.rationale ?? "",
    autocomplete: "off",
    oninput: typed,
  });
  ask = {
    question,
    shownAt: null, // when it was painted
    stirredAt: performance.now(),
    pending: null, // the answer that is under way: { id, choice }
    panel: null, // choices in place of the usual ones: { title, actions, at }
    draft,
    draftTimer: null,
    why,
    kind: null,
    choices: el("div", { class: "choices", role: "group", "aria-label": "answer" }),
    tools: el("div", { class: "tools" }),
    order: el("div", { class: "order", "aria-live": "polite" }),
    turns: question.turns.map(() => el("div", { class: "slot" })), // the places of passages
    texts: [],
  };
  ask.kind = KINDS[question.kind](question);
  const turn = ({ role }, place) => el("div", { class: "turn" }, el("div", { class: "role" }, role), ask.turns[place]);
  const nodes = [
    el("div", { class: "prompt", role: "region", "aria-label": "prompt", tabindex: 0 }, question.turns.map(turn)),
    el("div", { class: "line" }, ask.order, ask.tools),
    ask.kind.body,
    el("div", { class: "bar" }, ask.choices, why),
  ];
  fillTexts();
  redraw();
  painted(() => seen(question.key));
  return { nodes, actions: questionActions, update: updateQuestion };
}

// The question is on screen from now on. Its bar says when answers begin to count.
function seen(key) {
  const still = () => ask?.question.key === key;
  if (!still()) return;
  ask.shownAt = performance.now();
  setTimeout(() => {
    if (!still()) return;
    ask.choices.setAttribute("data-open", "");
    ask.kind.open?.();
  }, sheet.constants.minimumMs);
}

function updateQuestion({ question }) {
  const texts = ({ turns, texts }) => JSON.stringify([turns, texts]);
  const changed = texts(question) !== texts(ask.question);
  ask.question = question;
  if (ask.pending && !outbox.waiting.some(({ id }) => id === ask.pending.id)) ask.pending = null; // it was refused
  if (changed) fillTexts();
  redraw();
}

function leaveQuestion() {
  if (ask?.draftTimer) sendDraft();
  ask = null;
}

function fillTexts() {
  const { turns, texts } = ask.question;
  turns.forEach((turn, place) => ask.turns[place].replaceChildren(passage(turn), ...rest(turn)));
  texts.forEach((text, place) => ask.texts[place]?.replaceChildren(passage(text), ...rest(text)));
}

// The button that shows the rest of a long text, or hides it again.
function rest({ length, whole }) {
  if (length === null) return [];
  const label = whole ? "show less" : `show all ${number(length)} characters`;
  return [el("button", { type: "button", class: "rest", onclick: showWhole }, label)];
}

function redraw() {
  const chosen = ask.pending?.choice ?? ask.question.before;
  const choice = (action) => button(action, { class: action.choice && action.choice === chosen ? "chosen" : null });
  const groups = ask.panel ? [ask.panel.actions] : [...ask.kind.groups(), ALWAYS];
  const title = ask.panel ? [el("span", { class: "title" }, ask.panel.title)] : [];
  ask.choices.replaceChildren(
    ...title,
    ...groups.map((group) => el("div", { class: "group" }, group.map(choice))),
  );
  ask.choices.classList.toggle("pending", ask.pending !== null);
  ask.tools.replaceChildren(...viewActions().map((view) => button(view, { "aria-pressed": String(view.on) })));
  ask.kind.redraw?.();
}

function questionActions() {
  if (ask.panel) return ask.panel.actions;
  return [...ask.kind.groups().flat(), ...(ask.kind.more ?? []), ...ALWAYS, ...viewActions(), WHY];
}

// --- ways of showing the texts

function viewActions() {
  const { mode, texts, turns } = ask.question;
  const toggle = (other) => () => view(mode === other ? "plain" : other, showsWhole());
  const long = [...texts, ...turns].some(({ length }) => length !== null);
  const differences = {
    id: "differences", keys: ["d"], label: "differences", on: mode === "differences", run: toggle("differences"),
    says: "mark the words that only one of the answers has",
  };
  const rendered = {
    id: "rendered", keys: ["r"], label: "rendered", on: mode === "rendered", run: toggle("rendered"),
    says: "show Markdown, code and LaTeX rendered, without images and links",
  };
  const apart = {
    id: "apart", keys: ["a"], label: "scroll apart", on: sheet.apart, run: scrollApart,
    says: "scroll the answers apart or together",
  };
  const whole = {
    id: "whole", keys: ["x"], label: "show all", on: showsWhole(), run: showWhole,
    says: "show long texts in full",
  };
  return [texts.length === 2 && differences, rendered, texts.length > 1 && apart, long && whole].filter(Boolean);
}

function view(mode, whole) {
  say("view", { mode, whole });
}

const showsWhole = () => [...ask.question.texts, ...ask.question.turns].some(({ length, whole }) => length && whole);

function showWhole() {
  view(ask.question.mode, !showsWhole());
}

function scrollApart() {
  sheet.apart = !sheet.apart;
  redraw();
}
