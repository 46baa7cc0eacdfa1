// What can be said about every question, how an answer is sent, and how what was typed is kept until then.

const BOUNCE_MS = 200; // between two presses that are meant
const DRAFT_MS = 800; // typing has paused
const STIR_MS = 60_000; // between two signs that somebody is there

const SKIPPED_FOR = ["too hard to judge", "I do not know the subject", "not my language"];
const FLAGGED_FOR = { unsafe: "unsafe", personal_data: "personal data", broken_prompt: "broken prompt" };

const WHY = { id: "why", keys: ["w"], label: "why?", says: "say why, in words", run: () => ask.why.focus() };
const SKIP = {
  id: "skip", choice: "skip", keys: ["s"], label: "skip", says: "skip this question, with a reason if you like",
  run: () => openPanel("Skip. Why?", skips()),
};
const FLAG = {
  id: "flag", choice: "flag", keys: ["f"], label: "flag", says: "flag as unsafe, personal data or a broken prompt",
  run: () => openPanel("Flag. What is wrong?", flags()),
};
const BACK = { id: "back", keys: ["Escape"], label: "back", says: "back to the question", run: closePanel };
const ALWAYS = [SKIP, FLAG];

function skips() {
  const reason = (reason, place) => said(`skip-${place + 1}`, [`${place + 1}`], reason, { choice: "skip", reason });
  return [said("skip-plain", ["Enter", "s"], "no reason", { choice: "skip" }), ...SKIPPED_FOR.map(reason)];
}

function flags() {
  return Object.entries(FLAGGED_FOR).map(([reason, words], place) =>
    said(`flag-${reason}`, [`${place + 1}`], words, { choice: "flag", reason }),
  );
}

// An action that answers with this.
function said(id, keys, label, content, says = label) {
  return { id, choice: content.choice, keys, label, says, weighs: true, run: () => answer(content) };
}

function openPanel(title, panelActions) {
  if (ask.pending) return;
  ask.panel = { title, actions: [...panelActions, BACK], at: performance.now() };
  redraw();
}

function closePanel() {
  ask.panel = null;
  redraw();
}

const visibleMs = () => (ask.shownAt === null ? 0 : Math.round(performance.now() - ask.shownAt));

function mayAnswer() {
  if (!ask) return true;
  if (ask.pending || (ask.panel && performance.now() - ask.panel.at < BOUNCE_MS)) return false;
  if (visibleMs() >= sheet.constants.minimumMs) return true;
  tell("That was too quick to be about this question: nothing was saved.");
  return false;
}

// What was typed goes with the answer, in one message.
function answer(content) {
  const { assignment_id, replaces } = ask.question;
  const message = { assignment_id, replaces, rationale: ask.why.value, response_ms: visibleMs(), ...content };
  clearTimeout(ask.draftTimer);
  ask.draftTimer = null;
  ask.panel = null;
  ask.pending = { choice: content.choice, id: say("answer", message) };
  tell("");
  redraw();
}

// --- drafts: in this tab at once, in the store when typing pauses

function typed() {
  ask.draft = { rationale: ask.why.value, ...ask.kind.draft?.() };
  storage("setItem", storedAs(ask.question.key), JSON.stringify(ask.draft));
  clearTimeout(ask.draftTimer);
  ask.draftTimer = setTimeout(sendDraft, DRAFT_MS);
}

function sendDraft() {
  clearTimeout(ask.draftTimer);
  ask.draftTimer = null;
  if (ask.question.replaces !== null) return; // an answer that is being changed has no draft in the store
  ask.stirredAt = performance.now();
  say("draft", { assignment_id: ask.question.assignment_id, content: ask.draft });
}

// An answer has arrived: what was typed is in it.
function forgetDraft({ assignment_id, replaces }) {
  storage("removeItem", storedAs(replaces === null ? assignment_id : `${assignment_id}-${replaces}`));
}

const storedAs = (key) => `prefloop-draft-${key}`;

function stored(key) {
  return JSON.parse(storage("getItem", storedAs(key)) ?? "{}");
}

function storage(act, ...values) {
  try {
    return sessionStorage[act](...values);
  } catch {
    return null; // a browser may refuse to keep anything
  }
}

// Somebody is there: the question stays theirs. Any message does that, so this one is for those who only read.
function stir() {
  if (!ask || ask.pending || ask.question.replaces !== null || performance.now() - ask.stirredAt < STIR_MS) return;
  ask.stirredAt = performance.now();
  say("stir", { assignment_id: ask.question.assignment_id });
}
