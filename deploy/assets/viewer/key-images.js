// Key images: a button and the key M send a Key Object Selection (PS3.3 section A.35.4, TID 2010, "Of Interest") of the
// image that is shown to the hub by STOW-RS. Whatever the viewer stores is told to the desk beside it.
(() => {
  const WORDS = {
    zh: { button: '关键图像 (M)', kept: '已标记为关键图像', refused: '未能标记：', none: '当前没有可标记的图像' },
    en: { button: 'Key image (M)', kept: 'Marked as key image', refused: 'Not marked: ', none: 'No image is shown that could be marked' },
  };
  const words = WORDS[(new URLSearchParams(location.search).get('lng') || 'zh').startsWith('zh') ? 'zh' : 'en'];
  const KOS = '1.2.840.10008.5.1.4.1.1.88.59';
  const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
  const SHOWN_MS = 6000;
  const desk = new BroadcastChannel('counterpart-evidence');

  // --- DICOM, explicit VR little endian: elements as [tag, VR, value]; a sequence's value is its items.
  const LONG = new Set(['OB', 'SQ', 'UT']);
  const text = new TextEncoder();
  const join = (parts) => {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
    return whole;
  };
  const number = (value, bytes) => {
    const view = new DataView(new ArrayBuffer(bytes));
    if (bytes === 2) view.setUint16(0, value, true);
    else view.setUint32(0, value, true);
    return new Uint8Array(view.buffer);
  };
  const tagOf = (tag) => join([number(parseInt(tag.slice(0, 4), 16), 2), number(parseInt(tag.slice(4), 16), 2)]);
  const valueOf = (vr, value) => {
    if (vr === 'SQ') return join(value.map(item => {
      const body = dataset(item);
      return join([tagOf('FFFEE000'), number(body.length, 4), body]);
    }));
    if (vr === 'UL') return number(value, 4);
    if (vr === 'OB') return value;
    const bytes = text.encode(value);
    return bytes.length % 2 ? join([bytes, Uint8Array.of(vr === 'UI' ? 0 : 32)]) : bytes;
  };
  const element = ([tag, vr, value]) => {
    const body = valueOf(vr, value);
    const length = LONG.has(vr) ? join([number(0, 2), number(body.length, 4)]) : number(body.length, 2);
    return join([tagOf(tag), text.encode(vr), length, body]);
  };
  const dataset = (elements) => join([...elements].sort((a, b) => (a[0] < b[0] ? -1 : 1)).map(element));
  const part10 = (uid, elements) => {
    const meta = dataset([
      ['00020001', 'OB', Uint8Array.of(0, 1)], ['00020002', 'UI', KOS], ['00020003', 'UI', uid],
      ['00020010', 'UI', EXPLICIT_LITTLE], ['00020012', 'UI', '2.25.149407480727357526181368743812770669582'],
    ]);
    return join([new Uint8Array(128), text.encode('DICM'), element(['00020000', 'UL', meta.length]), meta, dataset(elements)]);
  };
  const newUid = () => `2.25.${BigInt(`0x${crypto.getRandomValues(new Uint8Array(16)).reduce((hex, one) => hex + one.toString(16).padStart(2, '0'), '')}`)}`;
  const code = (value, scheme, meaning) => [[['00080100', 'SH', value], ['00080102', 'SH', scheme], ['00080104', 'LO', meaning]]];

  // --- The document.
  const first = (header, tag) => {
    const value = header[tag]?.Value?.[0];
    if (value && typeof value === 'object') return ['Alphabetic', 'Ideographic', 'Phonetic'].map(group => value[group] || '').join('=').replace(/=+$/, '');
    return value === undefined || value === null ? '' : String(value);
  };
  const FROM_IMAGE = [
    ['00080020', 'DA'], ['00080030', 'TM'], ['00080050', 'SH'], ['00080090', 'PN'], ['00081030', 'LO'], ['00100010', 'PN'],
    ['00100020', 'LO'], ['00100030', 'DA'], ['00100040', 'CS'], ['0020000D', 'UI'], ['00200010', 'SH'],
  ];
  const keyObjects = (header, frame) => {
    const uid = newUid();
    const now = new Date();
    const two = (value) => String(value).padStart(2, '0');
    const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
    const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
    const reference = [['00081150', 'UI', first(header, '00080016')], ['00081155', 'UI', first(header, '00080018')]];
    const image = frame ? [...reference, ['00081160', 'IS', String(frame)]] : reference;
    return part10(uid, [
      ['00080005', 'CS', 'ISO_IR 192'], ['00080016', 'UI', KOS], ['00080018', 'UI', uid], ['00080023', 'DA', date],
      ['00080033', 'TM', time], ['00080060', 'CS', 'KO'], ['00080070', 'LO', 'Counterpart'], ['00081111', 'SQ', []],
      ...FROM_IMAGE.map(([tag, vr]) => [tag, vr, first(header, tag)]),
      ['0020000E', 'UI', newUid()], ['00200011', 'IS', '9001'], ['00200013', 'IS', '1'],
      ['0040A040', 'CS', 'CONTAINER'], ['0040A043', 'SQ', code('113000', 'DCM', 'Of Interest')], ['0040A050', 'CS', 'SEPARATE'],
      ['0040A375', 'SQ', [[
        ['0020000D', 'UI', first(header, '0020000D')],
        ['00081115', 'SQ', [[['0020000E', 'UI', first(header, '0020000E')], ['00081199', 'SQ', [reference]]]]],
      ]]],
      ['0040A504', 'SQ', [[['00080105', 'CS', 'DCMR'], ['0040DB00', 'CS', '2010']]]],
      ['0040A730', 'SQ', [[['0040A010', 'CS', 'CONTAINS'], ['0040A040', 'CS', 'IMAGE'], ['00081199', 'SQ', [image]]]]],
    ]);
  };

  // --- Which image is shown: from the address that the viewer loaded it by.
  const ADDRESS = /\/studies\/([\d.]+)\/series\/([\d.]+)\/instances\/([\d.]+)(?:\/frames\/(\d+))?/;
  const shownImage = () => {
    const shown = window.cornerstone?.getEnabledElements() ?? [];
    const isActive = (one) => one.viewport.element?.closest('[data-is-active="true"], .viewport-active') != null;
    const one = shown.find(isActive) ?? shown[0];
    return ADDRESS.exec(one?.viewport.getCurrentImageId?.() ?? '');
  };
  const say = (sentence, isBad) => {
    const box = document.getElementById('key-image-said');
    box.textContent = sentence;
    box.style.background = isBad ? '#8f1d14' : '#14532d';
    box.hidden = false;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { box.hidden = true; }, SHOWN_MS);
  };
  const told = (warning) => /^299 \S+ "(.*)"$/.exec(warning ?? '')?.[1].replaceAll(/\\(.)/g, '$1'); // RFC 7234, section 5.5
  const store = (file) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // start.js adds the page's token
    request.open('POST', '/dicomweb/studies');
    request.setRequestHeader('Content-Type', 'multipart/related; type="application/dicom"; boundary="key-image"');
    request.setRequestHeader('Accept', 'application/dicom+json');
    request.onload = () => resolve(request);
    request.onerror = reject;
    request.send(new Blob(['--key-image\r\nContent-Type: application/dicom\r\n\r\n', file, '\r\n--key-image--\r\n']));
  });
  const mark = async () => {
    const found = shownImage();
    if (!found) return say(words.none, true);
    const [, study, series, instance, frame] = found;
    try {
      const answer = await fetch(`/dicomweb/studies/${study}/series/${series}/instances/${instance}/metadata`, { headers: { Accept: 'application/dicom+json' } });
      if (!answer.ok) return say(words.refused + answer.status, true);
      const [header] = await answer.json();
      const isMultiframe = Number(first(header, '00280008') || 1) > 1;
      const stored = await store(keyObjects(header, isMultiframe ? Number(frame) : null));
      if (stored.status === 200) return say(words.kept, false);
      return say(words.refused + (told(stored.getResponseHeader('Warning')) || stored.status), true);
    } catch {
      return say(`${words.refused}—`, true);
    }
  };

  // --- The button, the key, and the word to the desk.
  const build = () => {
    const place = document.createElement('div');
    place.style.cssText = 'position:fixed;z-index:40;left:60%;bottom:14px;transform:translateX(-50%);display:flex;flex-direction:column;align-items:center;gap:6px;font:14px system-ui,"Noto Sans CJK SC",sans-serif;max-width:90vw';
    const said = document.createElement('p');
    said.id = 'key-image-said';
    said.setAttribute('role', 'status');
    said.hidden = true;
    said.style.cssText = 'margin:0;padding:4px 12px;border-radius:6px;color:#fff;overflow-wrap:anywhere';
    const button = document.createElement('button');
    button.id = 'key-image';
    button.type = 'button';
    button.textContent = `★ ${words.button}`;
    button.style.cssText = 'padding:6px 14px;border:1px solid #5acce6;border-radius:18px;background:#041c4a;color:#fff;cursor:pointer';
    button.addEventListener('click', mark);
    place.append(said, button);
    document.body.append(place);
  };
  const isTyping = (target) => target instanceof Element && target.closest('input, textarea, select, [contenteditable]') !== null;
  const isForViewer = () => new URLSearchParams(location.search).has('StudyInstanceUIDs');
  if (isForViewer()) {
    document.addEventListener('DOMContentLoaded', build);
    document.addEventListener('keydown', (event) => {
      if (event.key.toLowerCase() !== 'm' || event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
      event.preventDefault();
      event.stopPropagation();
      mark();
    }, true);
  }
  const { open } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, address, ...rest) {
    if (/^POST$/i.test(method) && new URL(address, location.href).pathname.startsWith('/dicomweb/')) {
      this.addEventListener('load', () => { if (this.status === 200 || this.status === 202) desk.postMessage('stored'); });
    }
    return open.call(this, method, address, ...rest);
  };
})();
