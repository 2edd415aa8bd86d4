// Live state. The pages work without it: every action is a form.
"use strict";

// A page that cannot refresh says so instead of showing old facts as new ones.
const offline = document.getElementById("offline");
const setOffline = (lost) => { offline.hidden = !lost; };
document.addEventListener("htmx:error", () => setOffline(true));
document.addEventListener("htmx:response:error", () => setOffline(true));

// What somebody has unfolded stays unfolded when what is around it is refreshed.
let unfolded = [];
document.addEventListener("htmx:before:swap", () => {
  unfolded = [...document.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:after:swap", () => {
  setOffline(false);
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
});

// What has not changed is not sent again: the tag of what is shown goes with the question.
const shownTags = new Map();
const addressOf = ({ ctx }) => ctx.sourceElement?.getAttribute?.("hx-get");
document.addEventListener("htmx:config:request", ({ detail }) => {
  const tag = shownTags.get(addressOf(detail));
  if (tag && detail.ctx.request.method === "GET") detail.ctx.request.headers["If-None-Match"] = tag;
});
document.addEventListener("htmx:after:request", ({ detail }) => {
  const { status, headers } = detail.ctx.response;
  if (status === 304) setOffline(false);
  else if (status === 200 && headers.get("ETag")) shownTags.set(addressOf(detail), headers.get("ETag"));
  else shownTags.delete(addressOf(detail));
});

// Without the page script of the build, a page that shows live state is loaded anew, unless somebody is writing on it.
const RELOAD_MS = 15000;
if (!window.htmx && document.querySelector("[hx-trigger]")) {
  setInterval(() => {
    if (!document.activeElement?.closest("input, textarea, select")) location.reload();
  }, RELOAD_MS);
}

// Blanks are no words: a field that has to be filled in asks for them before anything is sent, and what was typed stays.
document.addEventListener("submit", (event) => {
  const blank = [...event.target.elements].find((one) => one.required && one.value !== "" && one.value.trim() === "");
  if (!blank) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  blank.value = "";
  blank.reportValidity();
}, true);
