// The kinds of question. Each makes the body of the screen, groups of actions for the bar, and what its draft holds.

const head = (label) => el("div", { class: "head" }, label);

// Cards side by side, one for each text; `heads` are the elements above them.
function cards(heads) {
  ask.texts = heads.map(() => el("div", { class: "slot" }));
  const card = (top, place) => el("article", { class: "card" }, top, ask.texts[place]);
  const attributes = { class: `answers of-${heads.length}`, role: "region", "aria-label": "answers", tabindex: 0 };
  return el("div", attributes, heads.map(card));
}

// Apart, each card scrolls, so each must be reachable by key; together, all of them scroll as one.
function drawApart(body) {
  body.classList.toggle("apart", sheet.apart);
  for (const card of body.children) {
    if (sheet.apart) card.tabIndex = 0;
    else card.removeAttribute("tabindex");
  }
}

// --- two answers: which is better?

const STRENGTHS = ["slightly", "clearly", "much"];

function pair(question) {
  const body = cards([head("left"), head("right")]);
  const strengths = (choice) => [
    ...STRENGTHS.map((word, place) =>
      said(`strength-${place + 1}`, [`${place + 1}`], word, { choice, strength: place + 1 }, `${word} better`),
    ),
    said("strength-none", ["Enter"], "just better", { choice }, "better, without saying by how much"),
  ];
  const side = (choice, keys) => {
    const better = said(choice, keys, choice, { choice }, `the ${choice} answer is better`);
    if (!question.asks_strength) return better;
    return { ...better, run: () => openPanel(`The ${choice} answer is better:`, strengths(choice)) };
  };
  const groups = [
    [side("left", ["1", "ArrowLeft"]), side("right", ["2", "ArrowRight"])],
    [
      said("tie", ["0"], "tie", { choice: "tie" }, "both are equally good"),
      said("both_bad", ["b"], "both bad", { choice: "both_bad" }, "neither is acceptable"),
      said("identical", ["i"], "identical", { choice: "identical" }, "the two are the same"),
    ],
  ];
  return { body, groups: () => groups, redraw: () => drawApart(body) };
}

// --- one answer: good or not?

function thumbs() {
  const groups = [
    [
      said("up", ["1", "ArrowUp"], "thumbs up", { choice: "up" }, "the answer is good"),
      said("down", ["2", "ArrowDown"], "thumbs down", { choice: "down" }, "the answer is not good"),
    ],
  ];
  return { body: cards([head("answer")]), groups: () => groups };
}

// --- one answer to be written better, or a prompt to be answered

function writing(question) {
  const edits = question.kind === "edit";
  const original = question.original?.replaceAll("\r\n", "\n") ?? "";
  const text = el("textarea", {
    class: "written",
    "aria-label": edits ? "the better answer" : "your answer",
    placeholder: edits ? "" : "Write the answer that you would want to read.",
    dir: "auto",
    oninput: typed,
  });
  text.value = ask.draft.written ?? original;
  const save = {
    id: "written", choice: "written", keys: [SUBMIT], label: edits ? "save the better answer" : "save the answer",
    says: "save what you wrote", weighs: true,
    run: () => {
      if (!text.value.trim()) tell("Nothing is written yet. Write the answer, or skip the question.");
      else if (edits && text.value === original) tell("Nothing is changed yet. Press 1 if it is good as it is.");
      else answer({ choice: "written", written: text.value });
    },
  };
  const write = {
    id: "write", keys: ["e"], label: "write", says: "go to the text; Esc leaves it", run: () => text.focus(),
  };
  const good = said("up", ["1"], "good as it is", { choice: "up" }, "the answer needs no change");
  const body = edits ? cards([head("answer")]) : el("div", { class: "answers of-1" });
  body.append(el("article", { class: "card write" }, head(edits ? "your better version" : "your answer"), text));
  body.classList.add("with-text");
  return {
    body,
    groups: () => [edits ? [good, save] : [save]],
    more: [write],
    draft: () => (text.value === original ? {} : { written: text.value }),
    // A demonstration begins with writing; not sooner: a key that was meant for the question before is no text.
    open: () => edits || text.focus({ preventScroll: true }),
  };
}
