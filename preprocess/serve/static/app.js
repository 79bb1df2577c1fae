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

// What renews a page; the page is loaded anew, to say why, when what it shows is gone, or the session has ended.
async function fetchPart(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.redirected || answer.status === 404) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
}

function keep(part) {
  const silence = document.getElementById("silence");
  const renew = async () => {
    if (!document.hidden) {
      try {
        const content = await fetchPart(part.dataset.fragment);
        const open = new Set([...part.querySelectorAll("details[open]")].map((one) => one.closest("article").id));
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
    const answer = await fetch(part.dataset.load);
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
