// One stream of events for all windows of a browser; each window is a port. Shared, so that a desk in ten tabs is one listener.
"use strict";

const AGAIN_MS = 5000;
const ports = new Set();
let source = null;
let waiting = null;

const tell = (message) => { for (const port of ports) port.postMessage(message); };

const open = () => {
  waiting = null;
  source = new EventSource("/events");
  source.addEventListener("open", () => tell("open"));
  source.addEventListener("changed", () => tell("changed"));
  source.addEventListener("reset", () => tell("changed"));
  source.addEventListener("error", () => {
    tell("lost");
    // The browser tries again by itself, unless it was refused: the session may have ended, or another one begun.
    if (source.readyState === EventSource.CLOSED && waiting === null && ports.size > 0) waiting = setTimeout(open, AGAIN_MS);
  });
};

self.addEventListener("connect", (event) => {
  const [port] = event.ports;
  ports.add(port);
  port.addEventListener("message", (message) => {
    if (message.data !== "bye") return;
    ports.delete(port);
    if (ports.size === 0 && source !== null) { source.close(); source = null; }
  });
  port.start();
  if (source === null && waiting === null) open();
  else if (source !== null && source.readyState === EventSource.OPEN) port.postMessage("open");
});
