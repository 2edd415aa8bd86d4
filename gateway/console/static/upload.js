// Uploads a ZIP file as it is, and a folder as a ZIP that is put together here: stored, not packed, so that no file is
// held in memory as a whole. The server takes it piece by piece.
"use strict";

const CRC = new Uint32Array(256).map((_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
const ZIP_BYTES_MAX = 0xffffffff; // without ZIP64
const ZIP_FILES_MAX = 0xffff;
const UTF8_NAMES = 0x0800;

const crcOf = async (file) => {
  let crc = 0xffffffff;
  const reader = file.stream().getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    for (const byte of read.value) crc = CRC[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
};

// A little-endian record of 16- and 32-bit numbers: positive widths in bytes beside their values.
const record = (...fields) => {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [width]) => sum + width, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true); else view.setUint32(at, value, true);
    at += width;
  }
  return view.buffer;
};

const zipOf = async (files, onFile) => {
  const parts = [];
  const directory = [];
  let offset = 0;
  let directoryBytes = 0;
  for (const [number, file] of files.entries()) {
    onFile(number + 1);
    const name = new TextEncoder().encode(file.webkitRelativePath || file.name);
    const crc = await crcOf(file);
    const common = [[2, 20], [2, UTF8_NAMES], [2, 0], [2, 0], [2, 0x21], [4, crc], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
    parts.push(record([4, 0x04034b50], ...common), name, file);
    directory.push(record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += 30 + name.length + file.size;
    directoryBytes += 46 + name.length;
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, directoryBytes], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end]);
};

const form = document.getElementById("upload");
if (form) {
  const state = document.getElementById("upload-state");
  const [words, bar] = [state.querySelector("span"), state.querySelector("progress")];
  const say = (text, bad) => { state.hidden = false; words.textContent = text; words.classList.toggle("bad", Boolean(bad)); bar.hidden = Boolean(bad); };
  const send = (body) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/imports/upload");
    request.setRequestHeader("X-CSRF-Token", document.querySelector('meta[name="csrf-token"]').content);
    request.setRequestHeader("X-Lane", form.elements.lane.value);
    request.setRequestHeader("X-Order", form.elements.order.value);
    request.setRequestHeader("Content-Type", "application/zip");
    request.setRequestHeader("Accept", "text/plain");
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; });
    request.addEventListener("load", () => (request.status === 201 ? resolve() : reject(new Error(request.responseText))));
    request.addEventListener("error", () => reject(new Error("")));
    request.send(body);
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [zip, folder] = [form.elements.zip.files[0], [...form.elements.folder.files]];
    if (!zip && folder.length === 0) { say(form.dataset.nothing, true); return; }
    const size = zip ? zip.size : folder.reduce((sum, file) => sum + file.size, 0);
    const limit = zip ? Number(form.dataset.max) : Math.min(Number(form.dataset.max), ZIP_BYTES_MAX - 512 * folder.length);
    if (size > limit || folder.length > ZIP_FILES_MAX) { say(form.dataset.tooLarge, true); return; }
    const button = form.querySelector("button");
    button.disabled = true;
    window.onbeforeunload = (leaving) => leaving.preventDefault();
    try {
      const body = zip || await zipOf(folder, (number) => { say(form.dataset.reading); bar.value = number / folder.length; });
      say(form.dataset.sending);
      bar.value = 0;
      await send(body);
      window.onbeforeunload = null;
      location.assign("/imports");
    } catch (error) {
      say(error.message || form.dataset.failed, true);
    } finally {
      window.onbeforeunload = null;
      button.disabled = false;
    }
  });
}
