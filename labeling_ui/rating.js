// One answer, rated 1 to 5 by each aspect.

function rating({ aspects }) {
  const ratings = { ...ask.draft.ratings };
  const missing = () => aspects.filter((aspect) => ratings[aspect] === undefined);
  let at = Math.max(0, aspects.indexOf(missing()[0])); // the aspect that a number is about

  function rate(place, stars) {
    ratings[aspects[place]] = stars;
    const next = missing().find((aspect) => aspects.indexOf(aspect) > place) ?? missing()[0];
    at = next === undefined ? place : aspects.indexOf(next);
    tell("");
    redraw();
    typed();
  }

  function move(step) {
    at = (at + step + aspects.length) % aspects.length;
    redraw();
  }

  function saveRatings() {
    if (missing().length > 0) tell(`Not rated yet: ${missing().join(", ")}.`);
    else answer({ choice: "rated", ratings });
  }

  const stars = [1, 2, 3, 4, 5].map((count) => ({
    id: `stars-${count}`, keys: [`${count}`], label: `${count}`, weighs: true, run: () => rate(at, count),
    says: count === 1 ? "rate the marked aspect: 1 is the worst, 5 the best" : `rate it ${count}`,
  }));
  const moves = [
    { id: "aspect-up", keys: ["ArrowUp"], label: "previous", says: "the aspect before", run: () => move(-1) },
    { id: "aspect-down", keys: ["ArrowDown"], label: "next", says: "the next aspect", run: () => move(1) },
  ];
  const save = {
    id: "rated", choice: "rated", keys: ["Enter", SUBMIT], label: "save the ratings", says: "save the ratings",
    weighs: true, run: saveRatings,
  };

  const star = (action, aspect, place) =>
    button(
      { ...action, keys: [], run: () => rate(place, Number(action.label)) },
      { "aria-label": `${aspect}: ${action.label} of 5`, title: null },
    );
  const rows = aspects.map((aspect, place) =>
    el(
      "div",
      { class: "aspect", role: "group", "aria-label": aspect },
      el("bdi", {}, aspect),
      el("div", { class: "stars" }, stars.map((action) => star(action, aspect, place))),
    ),
  );
  const body = cards([head("answer")]);
  body.append(el("div", { class: "card aspects" }, head("1 is the worst, 5 the best"), rows));
  body.classList.add("with-aspects");

  function draw() {
    rows.forEach((row, place) => {
      row.classList.toggle("at", place === at);
      row.querySelectorAll("button").forEach((element, index) => {
        element.setAttribute("aria-pressed", String(ratings[aspects[place]] === index + 1));
      });
    });
  }

  const draft = () => ({ ratings: { ...ratings } });
  return { body, groups: () => [[save]], more: [...stars, ...moves], draft, redraw: draw };
}
