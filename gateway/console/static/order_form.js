// The order's form checks what is typed with the gateway while somebody types. It works without: the gateway checks again.
"use strict";

const form = document.getElementById("order-form");
const token = document.querySelector('meta[name="csrf-token"]').content;
const touched = new Set();
const filled = new Map(); // what the identity number filled in, and nobody has changed
let asked = 0;
let saving = false;

const field = (name) => form.elements.namedItem(name);

// What contradicts another field is told beside a field that nobody may have touched yet.
const RELATED = {
  identity_number: ["identity_kind", "birth_date", "sex"],
  identity_kind: ["identity_number"],
  sex: ["pregnancy"],
  green_channel: ["lane"],
};

const tell = (name, words) => {
  const place = document.getElementById(`problem-${name}`);
  if (!place) return;
  place.textContent = words ?? "";
  place.hidden = !words;
  if (words) field(name).setAttribute("aria-invalid", "true");
  else field(name).removeAttribute("aria-invalid");
};

const check = async () => {
  const number = ++asked;
  const answer = await fetch("/orders/check", {
    method: "POST",
    headers: { "X-CSRF-Token": token },
    body: new URLSearchParams(new FormData(form)),
  }).catch(() => null);
  if (!answer?.ok || number !== asked) return; // saving checks again
  const { faults, says } = await answer.json();
  for (const [name, value] of Object.entries(says)) {
    if (!field(name).value || field(name).value === filled.get(name)) {
      field(name).value = value;
      filled.set(name, value);
      delete faults[name];
    }
  }
  for (const name of touched) tell(name, faults[name]);
  show();
};

// What the patient's sex or kind of number makes meaningless is not asked.
const show = () => {
  const hide = (name, hidden) => { field(name).closest(".field").hidden = hidden && !field(name).value; };
  hide("pregnancy", field("sex").value !== "F");
  hide("birth_order", field("identity_kind").value !== "newborn");
};

form.addEventListener("change", (event) => {
  const name = event.target.name;
  if (name === "green_channel" && event.target.value) field("lane").value = "stat";
  for (const one of [name, ...(RELATED[name] ?? [])]) touched.add(one);
  show();
  check();
});

// A second click is no second order; the gateway sees to that too.
form.addEventListener("submit", (event) => {
  if (saving) event.preventDefault();
  saving = true;
});
addEventListener("pageshow", () => { saving = false; });

show();
