// One stream of events for all windows of a browser: a shared worker in which each window is a port, so that a desk in
// ten tabs is one listener. Where a browser has no such workers, each window loads this as its own script.
"use strict";

(() => {
  const AGAIN_MS = 2000, AGAIN_MAX_MS = 60000;  // doubled by each refusal or failure; never all desks at one moment
  const SILENT_MS = 45000;  // three signs of life were missed: the line is dead
  const shared = "SharedWorkerGlobalScope" in self;
  const ports = new Set();
  let stream = null;
  let waiting = null;
  let failures = 0;
  let isOpen = false;
  let lastId = "";

  const tell = (message) => {
    if (shared) for (const port of ports) port.postMessage(message);
    else document.dispatchEvent(new CustomEvent("told", { detail: message }));
  };

  const again = (afterMs) => {
    isOpen = false;
    tell("lost");
    if (waiting === null) waiting = setTimeout(open, afterMs * (1 + Math.random()));
  };

  const read = async (response) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const silent = setTimeout(() => stream?.abort(), SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silent));
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const lines of events) {
        lastId = /^id: (.*)$/m.exec(lines)?.[1] ?? lastId;
        if (/^event: /m.test(lines)) tell("changed");
      }
    }
  };

  const open = async () => {
    waiting = null;
    const mine = stream = new AbortController();
    const headers = { "Accept": "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
    let afterMs = AGAIN_MS;
    try {
      const response = await fetch("/events", { headers, cache: "no-store", redirect: "manual", signal: mine.signal });
      if (response.ok) {
        failures = 0;
        isOpen = true;
        tell("open");
        await read(response);
      } else {  // no room, or the session may have ended, or another one begun
        afterMs = Math.max(AGAIN_MS * 2 ** failures++, 1000 * Number(response.headers.get("Retry-After") ?? 0));
      }
    } catch {
      afterMs = AGAIN_MS * 2 ** failures++;
    }
    if (stream === mine) again(Math.min(afterMs, AGAIN_MAX_MS));
  };

  const close = () => {
    clearTimeout(waiting);
    waiting = null;
    isOpen = false;
    const old = stream;
    stream = null;
    old?.abort();
  };

  self.addEventListener("online", () => {
    if (waiting === null) return;
    clearTimeout(waiting);
    open();
  });
  if (!shared) {
    window.addEventListener("pagehide", close);
    open();
  }
  self.addEventListener("connect", (event) => {
    const [port] = event.ports;
    ports.add(port);
    port.addEventListener("message", (message) => {
      if (message.data !== "bye") return;
      ports.delete(port);
      if (ports.size === 0) close();
    });
    port.start();
    if (stream === null && waiting === null) open();
    else if (isOpen) port.postMessage("open");
  });
})();
