// Keys for the label page: one press, one message, about the question that was on screen.
//
// A held key repeats and a finger bounces, so a press counts only when it is the first, when the question has been
// visible for the minimum time, and when no other press about it is under way.

const WRITING = 'textarea, select, [contenteditable="true"], input:not([type="checkbox"])';
const page = { key: null, since: null, sent: null };

// From now on the keys are heard: tell assistive technology which they are.
function nameKeys(actions) {
  for (const [key, action] of Object.entries(actions)) {
    document.querySelector(`[class*="st-key-${action}-"] button`)?.setAttribute("aria-keyshortcuts", key);
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const { question, actions, minimumMs } = data;
  const key = question?.key ?? null;

  if (page.key !== key) {
    Object.assign(page, { key, since: null, sent: null });
    const painted = (now) => {
      page.since = now;
      setTimeout(() => page.key === key && nameKeys(actions), minimumMs);
    };
    requestAnimationFrame(() => requestAnimationFrame(painted));
  }
  const visibleMs = () => (page.since === null ? 0 : Math.round(performance.now() - page.since));
  const tooEarly = () => question === null || visibleMs() < minimumMs;
  const underWay = () => page.sent !== null && performance.now() - page.sent < minimumMs;

  function onKeyDown(event) {
    if (event.target.closest?.(WRITING)) {
      if ((event.key === "Escape" || event.key === "Enter") && !event.isComposing) event.target.blur();
      return;
    }
    const shifted = event.shiftKey && !/\d/.test(event.key); // some layouts have the digits on the upper row
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || shifted) return;
    const action = actions[event.key.toLowerCase()];
    if (action === undefined) return;
    event.preventDefault();
    if (action === "undo") {
      setTriggerValue("undo", true);
    } else if (!tooEarly() && !underWay()) {
      page.sent = performance.now();
      setTriggerValue("press", { ...question, choice: action, response_ms: visibleMs() });
    }
  }

  // The second click of a double click lands on the button of the next question: it is stopped here.
  function onClick(event) {
    if (event.target.closest?.(".st-key-choices button") && tooEarly()) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  document.querySelector(".st-key-receipt")?.setAttribute("aria-live", "polite");

  document.addEventListener("keydown", onKeyDown);
  document.addEventListener("click", onClick, true);
  parentElement.stopListening?.(); // of the run before
  parentElement.stopListening = () => {
    document.removeEventListener("keydown", onKeyDown);
    document.removeEventListener("click", onClick, true);
  };
  return parentElement.stopListening;
}
