// The screens of a session beside its questions: before it, at its goal, when nothing is left, and after it.

const KIND_NAMES = {
  pair: "which of two is better", ranking: "order several", rating: "rate by aspects",
  thumbs: "thumbs up or down", edit: "write it better", demonstration: "write an answer",
};
const FINISH = {
  id: "finish", keys: ["f"], label: "finish", says: "end the session and see how it went", run: () => say("end"),
};
const LOOK = {
  id: "look", keys: ["Enter"], label: "look again", says: "look whether there is something new", run: () => say("look"),
};
const GO_ON = { id: "go-on", keys: ["Enter"], label: "go on", says: "go on labeling", run: () => say("go_on") };
const AGAIN = {
  id: "again", keys: ["Enter"], label: "another session", says: "choose what to label next", run: () => say("again"),
};

// A screen that stays as it is, with buttons for its actions; the first is the one to take.
function still(title, content, ...known) {
  const buttons = known.map((action, place) => button(action, { class: place === 0 ? "primary" : null }));
  const paper = el("div", { class: "paper" }, el("h1", {}, title), content, el("p", { class: "acts" }, buttons));
  return { nodes: [el("div", { class: "page" }, paper)], actions: () => known, update: () => {} };
}

function goalScreen({ session: { goal_kind, judgments, seconds: passed } }) {
  const reached = goal_kind === "count" ? plural(judgments, "answer") : plural(Math.floor(passed / 60), "minute");
  const text = `${reached}. Finish here, or go on as long as you like.`;
  return still("Your goal is reached", el("p", {}, text), GO_ON, FINISH);
}

function nothingScreen({ owed }) {
  const others = `${plural(owed, "judgment is", "judgments are")} owed by other annotators.`;
  const text = owed > 0 ? `All that is asked of you here is done. ${others}` : "Every question here has its judgments.";
  return still("Nothing left to label", el("p", {}, text), FINISH, LOOK);
}

function refusedScreen({ why }) {
  return still("You cannot label now", el("p", {}, why));
}

function summaryScreen({ summary }) {
  const row = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
  const figure = (value, none) => (value === null ? el("span", { class: "quiet" }, none) : el("b", {}, value));
  const share = (hits, of) => (of === 0 ? null : `${number(hits)} of ${number(of)}`);
  const { median_ms: median, repeats, repeats_agreed: agreed, gold, gold_hits: hits } = summary;
  const lasted = summary.seconds < 60 ? "less than a minute" : plural(Math.round(summary.seconds / 60), "minute");
  const figures = [
    row("answers", figure(number(summary.judgments))),
    row("median time", figure(median === null ? null : seconds(median), "nothing was answered")),
    row("skipped", figure(number(summary.skipped))),
    row("flagged", figure(number(summary.flagged))),
    row("same answer when asked again", figure(share(agreed, repeats), "no question came back in this session")),
    row("agreed with known answers", figure(share(hits, gold), "no question with a known answer came up")),
  ];
  const about = el("p", { class: "quiet" }, el("bdi", {}, summary.queue), ` · ${lasted}`);
  return still("Your session", [about, el("dl", { class: "figures" }, figures)], AGAIN);
}

function startScreen({ start: { queues, goals } }) {
  if (queues.length === 0) {
    const text = "There is no queue with questions. A manager makes one on the page “queues”.";
    return still("Nothing to label yet", el("p", {}, text), LOOK);
  }
  const chosen = Math.max(0, queues.findIndex(({ left }) => left > 0));
  const guidelines = el("div", { class: "guidelines" });
  const show = (queue) => guidelines.replaceChildren(el("h2", {}, "Guidelines"), guidelinesOf(queue));
  const amount = el("input", {
    type: "number", min: 1, max: 10_000, step: 1, value: goals.count, required: true, "aria-label": "goal",
  });
  const begin = (event) => {
    event.preventDefault();
    const { queue, goal } = Object.fromEntries(new FormData(form));
    say("start", { queue_id: queues[Number(queue)].id, goal_kind: goal, goal: Number(amount.value) });
  };
  const form = el(
    "form",
    { onsubmit: begin },
    el(
      "fieldset",
      { class: "queues" },
      el("legend", {}, queues.length > 1 ? "What do you want to label?" : "You will label"),
      queues.map((queue, place) => queueChoice(queue, place, place === chosen, show)),
    ),
    el(
      "fieldset",
      { class: "goal" },
      el("legend", {}, "Until"),
      amount,
      unitChoice("count", "answers", true, () => (amount.value = goals.count)),
      unitChoice("minutes", "minutes", false, () => (amount.value = goals.minutes)),
    ),
    el(
      "p",
      { class: "acts" },
      el(
        "button",
        { type: "submit", class: "primary", "data-act": "begin" },
        el("span", {}, "begin"),
        el("kbd", { "aria-hidden": "true" }, "Enter"),
      ),
    ),
  );
  const known = [
    { id: "begin", keys: ["Enter"], label: "begin", says: "begin", run: () => form.requestSubmit() },
    ...(queues.length > 1 ? queues.slice(0, 9) : []).map((_, place) => ({
      id: `queue-${place + 1}`, keys: [`${place + 1}`], label: "",
      says: place === 0 ? "choose the first queue" : `choose queue ${place + 1}`,
      run: () => form.querySelectorAll(".queue input")[place].click(),
    })),
  ];
  show(queues[chosen]);
  const paper = el("div", { class: "paper" }, el("h1", {}, "Label"), el("div", { class: "two" }, form, guidelines));
  return { nodes: [el("div", { class: "page" }, paper)], actions: () => known, update: () => {} };
}

function queueChoice(queue, place, checked, show) {
  const kind = queue.kind === null ? "whatever is most wanted" : KIND_NAMES[queue.kind];
  return el(
    "label",
    { class: "queue" },
    el("input", { type: "radio", name: "queue", value: place, checked, onchange: () => show(queue) }),
    el("span", { class: "name" }, el("bdi", {}, queue.name), el("span", { class: "quiet" }, kind)),
    el("span", { class: "left" }, `${number(queue.left)} left`),
  );
}

function unitChoice(kind, label, checked, onchange) {
  const radio = el("input", { type: "radio", name: "goal", value: kind, checked, onchange });
  return el("label", { class: "unit" }, radio, label);
}

function guidelinesOf({ id, guidelines }) {
  if (id === null) return el("p", { class: "quiet" }, "Each question has those of its queue: press g there.");
  if (!guidelines.trim()) return el("p", { class: "quiet" }, "None are written for this queue.");
  return el("div", { class: "text", dir: "auto", tabindex: 0, role: "region", "aria-label": "guidelines" }, guidelines);
}
