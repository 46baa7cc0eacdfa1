// Messages to the server: one at a time, and each again and again until the server says that it heard it. What is sent
// while the server is away or busy is kept here; hearing a message twice changes nothing there.

const RESEND_MS = 1500;
const outbox = {
  page: Math.random().toString(36).slice(2), // messages of another page load are not mine
  count: 0,
  waiting: [], // the first one is under way
  post: null, // hands a message to the server
  timer: null,
  late: false, // whether the first one was sent again
  changed: () => {}, // called when `late` changes
};

// Returns the id of the message.
function say(kind, body = {}) {
  const id = `${outbox.page}-${++outbox.count}`;
  const passing = (message, place) => place > 0 && (message.kind === "draft" || message.kind === "stir");
  outbox.waiting = outbox.waiting.filter((message, place) => !passing(message, place)); // outdated by this one
  outbox.waiting.push({ id, kind, ...body });
  if (outbox.waiting.length === 1) deliver();
  return id;
}

function deliver() {
  clearTimeout(outbox.timer);
  if (outbox.waiting.length === 0) return;
  outbox.post?.(outbox.waiting[0]);
  outbox.timer = setTimeout(() => {
    outbox.late = true;
    outbox.changed();
    deliver();
  }, RESEND_MS);
}

// The server has heard this message. Returns it, if it is the one under way.
function heard(id) {
  if (outbox.waiting[0]?.id !== id) return null;
  const message = outbox.waiting.shift();
  outbox.late = false;
  deliver();
  return message;
}
