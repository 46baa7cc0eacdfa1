// The label page in the browser: one frame whose parts stay where they are, in it the screen that the server names.
//
// The code comes once, as a component that never changes; what changes (the news) comes by another one, as data.

const SCREENS = {
  start: startScreen, question: questionScreen, goal: goalScreen, nothing: nothingScreen, summary: summaryScreen,
  refused: refusedScreen,
};
const sheet = {
  root: null, // the shadow root
  frame: null, // the parts that stay
  constants: {},
  news: null, // the newest data
  key: null, // names the screen and the question on it
  screen: null, // { nodes, actions, update }
  common: [], // actions of the header
  apart: false, // whether the answers scroll each on its own
  told: "", // a note from here, not from the server
};

const KEYS = { id: "keys", keys: ["?"], label: "keys", says: "show the keys", run: showKeys };
const UNDO = { id: "undo", keys: ["u"], label: "undo", says: "change my last answer", run: () => say("change") };
const KEEP = {
  id: "keep", keys: ["u", "Escape"], label: "keep my answer", says: "leave the answer as it is", run: () => say("keep"),
};
const GUIDELINES = {
  id: "guidelines", keys: ["g"], label: "guidelines", says: "show the guidelines of this queue",
  run: () => openDialog("Guidelines", guidelinesOf(sheet.news.question)),
};
const END = {
  id: "end", keys: [], label: "finish", says: "end the session and see how it went", run: () => say("end"),
};
const CHOICE_NAMES = {
  left: "left", right: "right", tie: "tie", both_bad: "both bad", identical: "identical", ranked: "this order",
  rated: "these ratings", up: "good", down: "not good", written: "what you wrote", skip: "skip", flag: "flag",
};

function draw(news) {
  if (!sheet.root || !news) return;
  sheet.news = news;
  const done = heard(news.heard);
  if (done?.kind === "answer") forgetDraft(done);
  const key = `${news.annotator_id} ${news.screen} ${news.question?.key ?? ""}`;
  if (key === sheet.key) {
    sheet.screen.update(news);
  } else {
    leaveQuestion();
    Object.assign(sheet, { key, told: "", screen: SCREENS[news.screen](news) });
    const focused = sheet.root.activeElement;
    sheet.frame.desk.replaceChildren(...sheet.screen.nodes);
    if (!focused?.closest(".header")) toDesk();
  }
  drawHeader();
}

function drawHeader() {
  const { session, question } = sheet.news;
  const asked = question ? [question.replaces === null ? UNDO : KEEP, GUIDELINES, END] : [UNDO];
  sheet.common = session ? [KEYS, ...asked] : [KEYS];
  sheet.frame.tools.replaceChildren(...sheet.common.map((action) => button(action)));
  sheet.frame.where.replaceChildren(...(session ? whereabouts(sheet.news) : []));
  sheet.frame.goal.style.setProperty("--done", session ? Math.min(1, progress(session)) : 0);
  drawReceipt();
}

const progress = ({ goal_kind, goal, judgments, seconds: passed }) =>
  (goal_kind === "count" ? judgments : passed / 60) / goal;

function whereabouts({ session, queue }) {
  const { goal_kind, goal, judgments, seconds: passed, median_ms: median } = session;
  const minutes = Math.floor(passed / 60);
  const far = goal_kind === "count" ? `${number(judgments)} of ${number(goal)}` : `${minutes} of ${number(goal)} min`;
  return [
    el("bdi", { class: "queue-name" }, queue),
    el("span", {}, far),
    median !== null && el("span", { class: "pace" }, `${seconds(median)} each`),
  ].filter(Boolean);
}

function drawReceipt() {
  const { note, question, session } = sheet.news ?? {};
  const late = outbox.late && "Not saved yet: the server does not answer. It is kept here and sent again.";
  const before = CHOICE_NAMES[question?.before];
  const changing = before && `Your last answer was “${before}”: choose again, or keep it.`;
  const trouble = late || sheet.told || note || changing;
  const saved = session?.judgments > 0 ? `saved ${number(session.judgments)} ✓` : "";
  setText(sheet.frame.receipt, trouble || saved);
  sheet.frame.receipt.classList.toggle("trouble", Boolean(trouble));
}

// A note in the place of the receipt.
function tell(note) {
  sheet.told = note;
  drawReceipt();
}

function makeFrame() {
  const where = el("div", { class: "where" });
  const receipt = el("div", { class: "receipt", role: "status", "aria-live": "polite" });
  const tools = el("div", { class: "tools" });
  const goal = el("div", { class: "goal-line", "aria-hidden": "true" });
  const desk = el("section", { class: "desk", "aria-label": "label", tabindex: -1 });
  const whole = el("div", { class: "sheet" }, el("div", { class: "header" }, where, receipt, tools), goal, desk);
  return { where, receipt, tools, goal, desk, whole };
}

// The sheet reaches from where the page puts it down to the end of the window.
function fit() {
  const { whole } = sheet.frame;
  whole.style.setProperty("--top", `${Math.round(whole.getBoundingClientRect().top + scrollY)}px`);
}

const LISTENERS = [
  [window, "keydown", onKeyDown, true],
  [window, "resize", fit, false],
  [document, "keydown", stir, true],
  [document, "pointerdown", stir, true],
  [document, "wheel", stir, { capture: true, passive: true }],
  [document, "visibilitychange", () => ask?.draftTimer && sendDraft(), false],
];

function mount(root) {
  root.leave?.(); // the sheet of an older server
  root.leave = leave;
  Object.assign(sheet, { root, frame: makeFrame() });
  root.append(sheet.frame.whole);
  for (const [target, type, act, options] of LISTENERS) target.addEventListener(type, act, options);
  painted(() => sheet.frame && fit());
}

function leave() {
  for (const [target, type, act, options] of LISTENERS) target.removeEventListener(type, act, options);
  leaveQuestion();
  sheet.frame?.whole.remove();
  Object.assign(sheet, { root: null, frame: null, key: null, screen: null });
}

export default function ({ data, parentElement, setTriggerValue }) {
  [sheet.constants] = data;
  outbox.post = (message) => setTriggerValue("message", message);
  outbox.changed = () => sheet.frame && drawReceipt();
  if (sheet.root !== parentElement) mount(parentElement);
  fit();
  const news = (window.prefloopNews ??= {});
  news.draw = draw;
  draw(news.data);
  return () => {
    leave();
    delete window.prefloopNews;
  };
}
