window.PUBLIC_URL = '/viewer/';
window.browserImportFunction = name => import(name);
console.time('scriptToView');

// What the viewer stores at the hub carries the token of its page; other hosts never get it.
(() => {
  const token = document.querySelector('meta[name="csrf-token"]')?.content;
  const { open, send } = XMLHttpRequest.prototype;
  const needToken = new WeakSet();
  XMLHttpRequest.prototype.open = function (method, address, ...rest) {
    needToken.delete(this);
    const isOurs = new URL(address, window.location.href).origin === window.location.origin;
    if (token && isOurs && !/^(GET|HEAD|OPTIONS)$/i.test(method)) {
      needToken.add(this);
    }
    return open.call(this, method, address, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (needToken.has(this)) {
      this.setRequestHeader('X-CSRF-Token', token);
    }
    return send.call(this, body);
  };
})();
