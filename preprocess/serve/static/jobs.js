// Keeps the parts of a page of jobs that are marked `data-live` as the server has them, and follows the log.
const EVERY_MS = 1000;
const AT_REST_MS = 3000; // while nothing runs: another browser, or a program, may start a job
const MOST_CHARACTERS = 2_000_000; // of the log on the page; the oldest go first

const log = document.getElementById("job-log");
const silence = document.getElementById("silence");

const isRunning = () => document.querySelector("[data-running]") !== null;
const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
const toEnd = () => { log.scrollTop = log.scrollHeight; };

async function refresh() {
  const page = new DOMParser().parseFromString(await fetchPart(location.href), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    // one that is the same stays, with the focus and a button that is being pressed; so does one that somebody opened
    if (fresh && fresh.outerHTML !== part.outerHTML && !part.querySelector("details[open]")) part.replaceWith(document.adoptNode(fresh));
  }
}

async function readLog() {
  for (;;) {
    const answer = await fetch(`${log.dataset.url}?offset=${log.dataset.next}`);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const part = await answer.json();
    if (!part.text) return;
    const follow = isAtEnd();
    log.append(part.text);
    log.dataset.next = part.next;
    while (log.textContent.length > MOST_CHARACTERS && log.childNodes.length > 1) log.firstChild.remove();
    if (follow) toEnd();
  }
}

async function look() {
  if (!document.hidden) {
    try {
      // the state first: what is said before the end is read after it
      await refresh();
      if (log) await readLog();
      silence.hidden = true;
    } catch {
      silence.hidden = false;
    }
  }
  setTimeout(look, isRunning() ? EVERY_MS : AT_REST_MS);
}

if (log) toEnd();
setTimeout(look, EVERY_MS);
