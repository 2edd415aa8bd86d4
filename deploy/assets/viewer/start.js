// What the viewer's own page does inline, in a file, so that the page needs no inline script.
window.PUBLIC_URL = '/viewer/';
window.browserImportFunction = name => import(name);
console.time('scriptToView');
