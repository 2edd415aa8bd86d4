// Live state, keyboard and autosave. The pages work without it: every action is a form.
"use strict";

const csrf = document.querySelector('meta[name="csrf-token"]').content;

// A page that cannot refresh says so instead of showing old facts as new ones.
const offline = document.getElementById("offline");
const setOffline = (lost) => { offline.hidden = !lost; };
const AGAIN_MS = 2000;
const failed = () => { setOffline(true); setTimeout(refresh, AGAIN_MS); };
document.addEventListener("htmx:error", failed);
document.addEventListener("htmx:response:error", failed);
window.addEventListener("offline", () => setOffline(true));
window.addEventListener("online", () => refresh());

// What somebody has unfolded stays unfolded when the list around it is refreshed.
let unfolded = [];
document.addEventListener("htmx:before:swap", () => {
  unfolded = [...document.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:after:swap", () => {
  setOffline(false);
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
});

// What changes is told by the server; the parts of a page that show it ask for themselves again.
const GATHER_MS = 100;
const liveScript = document.body.dataset.live;
let refreshing = null;
const refresh = () => {
  if (refreshing === null) refreshing = setTimeout(() => {
    refreshing = null;
    document.body.dispatchEvent(new CustomEvent("live"));
  }, GATHER_MS);
};
const hear = (message) => {
  if (message === "open") document.body.dataset.listens = "";
  if (message === "lost") { delete document.body.dataset.listens; setTimeout(refresh, AGAIN_MS); }  // which tells what is wrong
  if (message === "open" || message === "changed") refresh();
};
if (liveScript && window.SharedWorker) {
  const { port } = new SharedWorker(liveScript);
  port.addEventListener("message", (event) => hear(event.data));
  port.start();
  window.addEventListener("pagehide", () => port.postMessage("bye"));
} else if (liveScript) {
  document.addEventListener("told", (event) => hear(event.detail));
  document.head.append(Object.assign(document.createElement("script"), { src: liveScript }));
}

window.addEventListener("pageshow", (event) => { if (event.persisted && liveScript) location.reload(); });

// Work lists: j and k move, Enter opens or claims.
const rows = () => [...document.querySelectorAll("[data-row]")];
const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const all = rows();
  if (all.length === 0) return;
  const here = all.indexOf(document.activeElement.closest("[data-row]"));
  if (event.key === "j" || event.key === "k") {
    const step = event.key === "j" ? 1 : -1;
    const next = here === -1 ? 0 : Math.min(all.length - 1, Math.max(0, here + step));
    all[next].focus();
    event.preventDefault();
  } else if (event.key === "Enter" && all[here] === document.activeElement) {
    all[here].querySelector("[data-open]").click();
    event.preventDefault();
  }
});

// A form that was refused opens again with what stood in it, wherever the page does not fill it itself.
const typed = document.getElementById("typed");
if (typed) {
  const fields = JSON.parse(typed.dataset.fields);
  const sentHere = (form) => [form, ...form.querySelectorAll("[formaction]")].some(
    (one) => new URL(one.formAction || one.action, location).pathname === location.pathname);
  const isTheOne = (form) => sentHere(form)
    && [...form.querySelectorAll('input[type="hidden"][name]:not([name="csrf_token"])')].every((one) => one.value === fields[one.name])
    && (!("act" in fields) || form.querySelector(`[name="act"][value="${CSS.escape(fields.act)}"]`) !== null);
  const form = [...document.querySelectorAll('main form[method="post"]:not(#editor)')].find(isTheOne);
  for (const one of form?.elements ?? []) {
    if (!(one.name in fields) || ["hidden", "password"].includes(one.type)) continue;
    if (one.type === "checkbox" || one.type === "radio") one.checked ||= one.value === fields[one.name];
    else if (one.tagName === "SELECT" || one.value === "") one.value = fields[one.name];
  }
  for (let above = form?.closest("details"); above; above = above.parentElement.closest("details")) above.open = true;
  const refusal = document.querySelector('main p.notice.bad[role="alert"]');
  const named = refusal?.dataset.fields?.split(" ") ?? [];
  const wrong = [...form?.elements ?? []].filter((one) => !["hidden", "password"].includes(one.type)
    && (named.includes(one.name) || (one.required && one.value.trim() === "")));
  if (wrong.length && refusal) {  // it is said beside the first field that it is about, or above the row of fields
    refusal.id = "refusal";
    for (const one of wrong) {
      one.setAttribute("aria-invalid", "true");
      one.setAttribute("aria-describedby", refusal.id);
    }
    const row = wrong[0].closest(".fields");
    if (row) row.before(refusal);
    else (wrong[0].closest("label") ?? wrong[0]).after(refusal);
    wrong[0].focus();
  }
}

// The editor: saved when the writer pauses, the claim kept alive while the page is open.
const editor = document.getElementById("editor");
if (editor) {
  const PAUSE_MS = 1200;
  const saved = document.getElementById("saved");
  let waiting = null;
  let saving = false;
  let dirty = false; // to be saved when the writer pauses
  let refused = false; // not taken by the hub: only this page has it
  let ended = false;
  let signedOut = false;

  const headers = { "X-CSRF-Token": csrf, "Accept": "application/json" };
  const say = (words, bad) => { saved.textContent = words; saved.classList.toggle("bad", Boolean(bad)); };
  const time = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false });

  const refusedWith = async (response) => {
    if (response.type === "opaqueredirect" || response.status === 401) { // to the page that asks for the password
      ended = signedOut = true;
      say(editor.dataset.signedOut, true);
      return;
    }
    const problem = await response.json().catch(() => ({}));
    if (problem.code === "stale_draft") { ended = true; say(editor.dataset.stale, true); }
    else if (problem.code === "not_holder") { ended = true; say(editor.dataset.lost, true); }
    else say(problem.detail || editor.dataset.unsaved, true);
  };

  const save = async () => {
    if (saving || ended) return;
    saving = true;
    dirty = false;
    refused = false;
    say(editor.dataset.saving);
    const body = new URLSearchParams();
    for (const name of ["findings", "impression", "recommendation", "version"]) body.set(name, editor.elements[name].value);
    try {
      const response = await fetch(editor.dataset.draft, { method: "POST", headers, body, redirect: "manual" });
      if (response.ok) {
        const draft = await response.json();
        editor.elements.version.value = draft.version;
        say(`${editor.dataset.saved} ${time(draft.saved_at)}`);
      } else {
        refused = true;
        dirty ||= response.status >= 500; // a hub that restarts takes it in a moment
        await refusedWith(response);
      }
    } catch {
      dirty = true;
      say(editor.dataset.unsaved, true);
    } finally {
      saving = false;
    }
    if (dirty && !ended) plan();
  };
  const plan = () => { clearTimeout(waiting); waiting = setTimeout(save, PAUSE_MS); };

  editor.addEventListener("input", (event) => {
    if (!["findings", "impression", "recommendation"].includes(event.target.name)) return;
    dirty = true;
    plan();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.repeat || event.isComposing) return;
    if (event.key === "s") { clearTimeout(waiting); save(); }
    else if (event.key === "Enter") editor.requestSubmit(document.getElementById("finish"));
    else return;
    event.preventDefault();
  });
  editor.addEventListener("submit", (event) => {
    clearTimeout(waiting);
    if (signedOut) { // the text would not survive the page that asks for the password
      event.preventDefault();
      say(editor.dataset.signedOut, true);
      return;
    }
    if (saving) { // the version of a save in flight must not make this one stale
      event.preventDefault();
      const again = () => (saving ? setTimeout(again, 50) : editor.requestSubmit(event.submitter));
      again();
      return;
    }
    dirty = refused = false;
  });
  window.addEventListener("beforeunload", (event) => { if (dirty || refused) event.preventDefault(); });
  setInterval(async () => {
    if (ended) return;
    try {
      const response = await fetch(editor.dataset.heartbeat, { method: "POST", headers, redirect: "manual" });
      if (!response.ok) await refusedWith(response);
    } catch {
      say(editor.dataset.unsaved, true);
    }
  }, Number(editor.dataset.heartbeatS) * 1000);
}

// Key images and measurements: the viewer tells when it has stored one; a click puts its words into the findings.
const evidence = document.getElementById("evidence");
if (evidence) {
  new BroadcastChannel("counterpart-evidence").onmessage = () => htmx.trigger(document.body, "evidence-changed");
  document.addEventListener("click", (event) => {
    const words = event.target.closest("[data-insert]")?.dataset.insert;
    const findings = editor?.elements.findings;
    if (!words || !findings) return;
    const before = findings.value.slice(0, findings.selectionStart);
    const onNewLine = before === "" || before.endsWith("\n");
    findings.setRangeText((onNewLine ? "" : "\n") + words, findings.selectionStart, findings.selectionEnd, "end");
    findings.dispatchEvent(new Event("input", { bubbles: true }));
    findings.focus();
  });
}
