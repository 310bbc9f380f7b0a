// Uses the page as a person with a keyboard does, and leaves what came of it in the document.
(function () {
  'use strict';
  var out = {};
  function key(name, on) {
    on.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
  }
  function all(what) { return Array.prototype.slice.call(document.querySelectorAll(what)); }
  function done() {
    var paint = performance.getEntriesByName('first-contentful-paint')[0];
    out.paint = paint ? Math.round(paint.startTime) : null;
    var it = document.createElement('pre');
    it.id = 'driven';
    it.textContent = JSON.stringify(out);
    document.body.appendChild(it);
  }
  out.title = document.title;
  out.tiles = all('.tile').length;
  out.bad = all('.tile.fail').map(function (tile) { return tile.getAttribute('aria-label'); });
  var start = document.querySelector('.tile[tabindex="0"]');
  out.start = start.classList.contains('fail');
  start.focus();
  key('ArrowRight', start);
  out.moved = document.activeElement !== start && document.activeElement.classList.contains('tile');
  key('ArrowLeft', document.activeElement);
  out.back = document.activeElement === start;
  key('ArrowDown', start);
  out.down = Number(document.activeElement.dataset.row) === Number(start.dataset.row) + 1;
  start.click();
  out.listed = all('.listed tbody tr').length;
  out.focus = document.activeElement.tagName;
  key('Escape', document.activeElement);
  out.closed = document.activeElement.classList.contains('tile');
  var rows = document.querySelector('select[aria-label="Rows"]');
  rows.value = 'call';
  rows.dispatchEvent(new Event('change'));
  out.rows = all('.grid tbody th').map(function (it) { return it.textContent; });
  document.querySelector('.theme').click();
  out.theme = document.documentElement.dataset.theme;
  location.hash = document.querySelector('.cause a').getAttribute('href');
  window.addEventListener('hashchange', function once() {
    window.removeEventListener('hashchange', once);
    setTimeout(function () {
      out.cell = document.querySelector('#case h1').textContent;
      out.hidden = document.getElementById('main').hidden;
      out.drawings = all('#case svg[role="img"]').length;
      out.log = document.querySelector('#case .log').textContent;
      key('Escape', document.body);
      setTimeout(function () { out.home = !document.getElementById('main').hidden; done(); }, 0);
    }, 0);
  });
})();
