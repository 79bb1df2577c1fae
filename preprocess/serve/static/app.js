// What every page does: light or dark, `/` to the search, parts that renew themselves.
"use strict";

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

document.getElementById("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
});

document.addEventListener("keydown", (event) => {
  const search = document.getElementById("search");
  const types = event.target.closest("input, select, textarea");
  if (event.key !== "/" || types || !search || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
  search.select();
});

async function fetchPart(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  // a session that ended leads to the sign-in page
  if (answer.redirected) location.reload();
  return answer;
}

function keep(part) {
  const silence = document.getElementById("silence");
  const renew = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetchPart(part.dataset.fragment);
        if (!answer.ok) throw new Error(answer.statusText);
        const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.closest("article").id));
        const content = await answer.text();
        // what has the focus, or is selected, is not taken away
        if (!part.contains(document.activeElement) && getSelection().isCollapsed) {
          part.innerHTML = content;
          for (const id of open) for (const one of document.getElementById(id)?.querySelectorAll("details") ?? []) one.open = true;
        }
        silence.hidden = true;
      } catch {
        silence.hidden = false;
      }
    }
    setTimeout(renew, Number(part.dataset.everyMs));
  };
  setTimeout(renew, Number(part.dataset.everyMs));
}

async function load(part) {
  try {
    const answer = await fetchPart(part.dataset.load);
    if (answer.ok) {
      part.innerHTML = await answer.text();
      return;
    }
    part.textContent = (await answer.json()).message;
  } catch {
    part.textContent = "The server does not answer.";
  }
}

document.querySelectorAll("[data-fragment]").forEach(keep);
document.querySelectorAll("[data-load]").forEach(load);
