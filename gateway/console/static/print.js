// The printer dialog opens at the button; the page itself is printed without it.
"use strict";
document.getElementById("print").addEventListener("click", () => window.print());
