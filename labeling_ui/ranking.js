// Several answers: in which order? The best is chosen first, then the next; some may share a place.

const PLACES = ["best", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th"];
const FIRST_SAYS = "the number of the best answer, then of the next";

function ranking(question) {
  let groups = structuredClone(ask.draft.ranking ?? []); // places on the screen, best first
  let joins = false; // whether the next one shares the place of the one before
  const all = question.texts.map((_, place) => place);
  const left = () => all.filter((place) => !groups.flat().includes(place));
  const numbers = (places) => places.map((place) => place + 1).join(", ");

  function changed() {
    tell("");
    redraw();
    typed();
  }

  function put(place) {
    if (!left().includes(place)) return tell(`${place + 1} has its place already; ⌫ takes the last one back.`);
    if (joins) groups.at(-1).push(place);
    else groups.push([place]);
    joins = false;
    changed();
  }

  function takeBack() {
    if (joins) joins = false;
    else groups.at(-1)?.pop();
    groups = groups.filter((group) => group.length > 0);
    changed();
  }

  function join() {
    joins = !joins && groups.length > 0 && left().length > 0;
    redraw();
  }

  function saveOrder() {
    const unplaced = left();
    if (unplaced.length > 1 || joins) {
      const have = unplaced.length === 1 ? "has" : "have";
      return tell(`Give every answer its place first: ${numbers(unplaced)} ${have} none.`);
    }
    answer({ choice: "ranked", ranking: [...groups, unplaced].filter((group) => group.length > 0) });
  }

  const choosing = all.map((place) => ({
    id: `rank-${place + 1}`, keys: [`${place + 1}`], label: "", weighs: true, run: () => put(place),
    says: place === 0 ? FIRST_SAYS : `answer ${place + 1} comes next`,
  }));
  const steps = [
    {
      id: "ranked", choice: "ranked", keys: ["Enter", SUBMIT], label: "save the order", weighs: true, run: saveOrder,
      says: "save the order; a single one left comes last",
    },
    {
      id: "rank-tie", keys: ["=", "t"], label: "same place", weighs: true, run: join,
      says: "the next answer is as good as the one before",
    },
    { id: "rank-back", keys: ["Backspace"], label: "take back", says: "take back the last step", run: takeBack },
  ];
  const others = [
    said("both_bad", ["b"], "all bad", { choice: "both_bad" }, "none is acceptable"),
    said("identical", ["i"], "identical", { choice: "identical" }, "all are the same"),
  ];
  const heads = choosing.map((action) => button(action, { class: "head" }));
  const body = cards(heads);

  function draw() {
    drawApart(body);
    heads.forEach((element, place) => {
      const rank = groups.findIndex((group) => group.includes(place));
      const placed = rank >= 0;
      element.closest(".card").classList.toggle("placed", placed);
      setText(element.querySelector("span"), placed ? `${PLACES[rank]}${groups[rank].length > 1 ? " =" : ""}` : "");
      element.setAttribute("aria-label", `answer ${place + 1}${placed ? `, ${PLACES[rank]}` : ""}`);
    });
    setText(ask.order, groups.length === 0 ? "Which is best?" : soFar());
  }

  function soFar() {
    const order = groups.map((group) => group.map((place) => place + 1).join(" = ")).join(" › ");
    if (joins) return `${order} = …`;
    if (left().length === 1) return `${order} › ${numbers(left())} last`;
    return left().length > 0 ? `${order} › …` : order;
  }

  const draft = () => ({ ranking: groups });
  return { body, groups: () => [steps, others], more: choosing, draft, redraw: draw };
}
