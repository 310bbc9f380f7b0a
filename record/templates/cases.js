(function () {
  'use strict';
  var WORST = ['FAIL', 'INVALID', 'KNOWN', 'UNSUPPORTED', 'PASS'];
  var LISTED = 150;

  // Elements are made, never parsed from text: whatever a log said stays text.
  function el(name, attributes) {
    var it = document.createElement(name);
    for (var key in attributes || {}) {
      if (attributes[key] !== null && attributes[key] !== undefined) it.setAttribute(key, attributes[key]);
    }
    for (var at = 2; at < arguments.length; at++) add(it, arguments[at]);
    return it;
  }
  function add(to, what) {
    if (what === null || what === undefined || what === '') return;
    if (Array.isArray(what)) what.forEach(function (one) { add(to, one); });
    else to.appendChild(what.nodeType ? what : document.createTextNode(String(what)));
  }
  var NS = 'http://www.w3.org/2000/svg';
  function svg(name, attributes, text) {
    var it = document.createElementNS(NS, name);
    for (var key in attributes) it.setAttribute(key, attributes[key]);
    if (text !== undefined) it.textContent = text;
    return it;
  }
  function icon(verdict) {
    var it = svg('svg', { 'class': 'icon', 'aria-hidden': 'true' });
    it.appendChild(svg('use', { href: '#i-' + verdict.toLowerCase() }));
    return it;
  }
  function badge(verdict) {
    return el('span', { 'class': 'badge ' + verdict.toLowerCase() }, icon(verdict), verdict);
  }
  function took(us) {
    if (us < 1000) return us + ' µs';
    if (us < 1e6) return (us / 1e3).toFixed(us < 1e4 ? 2 : us < 1e5 ? 1 : 0) + ' ms';
    return (us / 1e6).toFixed(us < 1e7 ? 2 : 1) + ' s';
  }
  function ms(ns) { return (ns / 1e6).toFixed(1) + ' ms'; }
  function why(cell) {
    var claims = (cell.m && cell.m.claims) || [];
    var of = claims.filter(function (claim) { return claim[0] === cell.v; })[0];
    return of && cell.v !== 'PASS' ? of[2] : '';
  }

  // One letter for each value of an axis: its own first letter where that is free, else the next.
  function letters(values) {
    var taken = {}, out = [];
    values.forEach(function (value) {
      var plain = value.replace(/[^a-z0-9,]/gi, ' ').trim();
      var mixed = plain.indexOf(',') > 0;
      var tries = (mixed ? 'M' : '') + plain.toUpperCase().replace(/[^A-Z0-9]/g, '') + 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
      var version = /V?([0-9])(.*CRC)?/i.exec(plain);
      if (!mixed && version) tries = (version[2] ? 'C' : version[1]) + tries;
      for (var at = 0; at < tries.length; at++) {
        if (!taken[tries[at]]) { taken[tries[at]] = true; out.push(tries[at]); return; }
      }
      out.push('?');
    });
    return out;
  }

  var runs = {};
  function square(place) {
    var data = JSON.parse(document.getElementById(place.getAttribute('data-for')).textContent);
    var axes = data.axes.filter(function (axis) { return axis.v.length > 0; });
    if (!axes.length) axes = [{ n: 'case', v: [''] }];
    var varied = axes.filter(function (axis) { return axis.v.length > 1; });
    var order = varied.length > 1 ? varied : axes;
    function named(pattern, not) {
      return order.filter(function (axis) { return pattern.test(axis.n) && not.indexOf(axis) < 0; })[0];
    }
    var row = named(/client|scenario/, []) || order[0];
    var column = named(/server|bug/, [row]) || order.filter(function (axis) { return axis !== row; })[0] || row;
    var letter = named(/provider|protocol|speech|speak/, [row, column]) ||
      order.filter(function (axis) { return axis !== row && axis !== column; })[0] || null;
    var shown = {}, words = '', picked = null, more = LISTED;
    WORST.forEach(function (verdict) { shown[verdict] = true; });

    var grid = el('div', { 'class': 'grid' }), legend = el('p', { 'class': 'legend' });
    var list = el('div', { 'class': 'listed' });

    function chooser(label, get, set, none) {
      var select = el('select', { 'aria-label': label });
      if (none) add(select, el('option', { value: '' }, 'none'));
      axes.forEach(function (axis) {
        add(select, el('option', { value: axis.n, selected: get() === axis ? '' : null }, axis.n));
      });
      select.addEventListener('change', function () {
        set(axes.filter(function (axis) { return axis.n === select.value; })[0] || null);
        picked = null;
        draw();
      });
      return el('label', {}, label, select);
    }
    var search = el('input', { type: 'search', placeholder: 'id, value or reason', 'aria-label': 'Filter' });
    search.addEventListener('input', function () { words = search.value.toLowerCase(); picked = null; draw(); });
    var checks = el('fieldset', {}, el('legend', { 'class': 'hidden' }, 'Verdicts'));
    WORST.forEach(function (verdict) {
      var count = data.cells.filter(function (cell) { return cell.v === verdict; }).length;
      if (!count) return;
      var box = el('input', { type: 'checkbox', checked: '' });
      box.addEventListener('change', function () { shown[verdict] = box.checked; picked = null; draw(); });
      add(checks, el('label', {}, box, badge(verdict), ' ' + count));
    });
    add(place, el('div', { 'class': 'tools' },
      chooser('Rows', function () { return row; }, function (axis) { row = axis || row; }),
      chooser('Columns', function () { return column; }, function (axis) { column = axis || column; }),
      chooser('Letters', function () { return letter; }, function (axis) { letter = axis; }, true),
      el('label', {}, 'Filter', search), checks));
    add(place, [grid, legend, el('p', { 'class': 'keys' }, el('kbd', {}, '← ↑ ↓ →'), ' move, ',
      el('kbd', {}, 'Enter'), ' shows the cells, then one of them, ', el('kbd', {}, 'Esc'), ' goes back'), list]);

    function at(cell, axis) {
      if (!axis) return 0;
      var value = cell.a[data.axes.indexOf(axis)];
      return value === null || value === undefined ? -1 : value;
    }
    function text(cell) {
      return cell.i + ' ' + cell.v + ' ' + why(cell) + ' ' + data.axes.map(function (axis, n) {
        return axis.n + '=' + axis.v[cell.a[n]];
      }).join(' ');
    }
    function wanted() {
      return data.cells.filter(function (cell) {
        return shown[cell.v] && (!words || text(cell).toLowerCase().indexOf(words) >= 0);
      });
    }
    function worst(cells) {
      return WORST.filter(function (verdict) {
        return cells.some(function (cell) { return cell.v === verdict; });
      })[0];
    }

    function draw() {
      var cells = wanted(), names = letter ? letters(letter.v) : [];
      var rows = row === column ? [''] : row.v, table = el('table', {});
      table.setAttribute('aria-label', 'Cells by ' + row.n + ' and ' + column.n);
      var head = el('tr', {}, el('th', { 'class': 'corner', scope: 'col' },
        row === column ? '' : row.n + ' \\ ', column.n));
      column.v.forEach(function (value) { add(head, el('th', { scope: 'col' }, value)); });
      add(table, el('thead', {}, head));
      var body = el('tbody', {}), tiles = [];
      rows.forEach(function (value, r) {
        var line = el('tr', {}, el('th', { scope: 'row' }, value));
        column.v.forEach(function (other, c) {
          var box = el('div', { 'class': 'tiles2' });
          var here = cells.filter(function (cell) {
            return at(cell, column) === c && (row === column || at(cell, row) === r);
          });
          var groups = {};
          here.forEach(function (cell) {
            var key = letter ? at(cell, letter) : 0;
            (groups[key] = groups[key] || []).push(cell);
          });
          Object.keys(groups).sort(function (a, b) { return a - b; }).forEach(function (key) {
            var group = groups[key], verdict = worst(group);
            var wrong = group.filter(function (cell) { return cell.v === verdict; }).length;
            var count = verdict === 'PASS' || wrong === group.length ? group.length : wrong + '/' + group.length;
            var name = letter ? (names[key] || '–') : '';
            var tile = el('button', {
              type: 'button', 'class': 'tile ' + verdict.toLowerCase(), tabindex: '-1',
              title: (letter ? letter.n + '=' + (letter.v[key] || 'none') + ': ' : '') + count + ' ' + verdict,
              'aria-label': row.n + ' ' + value + ', ' + column.n + ' ' + other +
                (letter ? ', ' + letter.n + ' ' + (letter.v[key] || 'none') : '') + ': ' + count + ' ' + verdict
            }, icon(verdict), name, el('small', {}, count));
            var id = [r, c, key].join();
            tile.setAttribute('aria-pressed', String(picked === id));
            tile.dataset.row = r; tile.dataset.column = c;
            tile.addEventListener('click', function () {
              picked = picked === id ? null : id; more = LISTED;
              draw();
              var first = picked && list.querySelector('a');
              if (first) first.focus();
            });
            tile.group = group; tile.pick = id;
            tiles.push(tile);
            add(box, tile);
          });
          add(line, el('td', {}, box));
        });
        add(body, line);
      });
      add(table, body);
      grid.replaceChildren(table);
      var start = tiles.filter(function (tile) { return tile.pick === picked; })[0] ||
        tiles.filter(function (tile) { return tile.classList.contains('fail'); })[0] || tiles[0];
      if (start) start.tabIndex = 0;
      legend.replaceChildren();
      if (letter) {
        add(legend, el('span', {}, 'Letters: ' + letter.n));
        letter.v.forEach(function (value, n) { add(legend, el('span', {}, el('b', {}, names[n]), ' ' + value)); });
      }
      listing(picked ? (start ? start.group : []) : cells.filter(function (cell) { return cell.v !== 'PASS'; }),
        picked ? 'of the chosen square' : 'that do not pass');
    }

    function listing(cells, which) {
      list.replaceChildren();
      if (!cells.length) return;
      add(list, el('h3', {}, cells.length + (cells.length === 1 ? ' cell ' : ' cells ') + which));
      var body = el('tbody', {});
      cells.slice(0, more).forEach(function (cell) {
        var line = el('tr', { 'class': 'row' },
          el('td', {}, el('a', { href: '#case=' + encodeURIComponent(cell.i) }, cell.i)),
          el('td', {}, badge(cell.v)), el('td', {}, values(data, cell)),
          el('td', {}, why(cell)), el('td', { 'class': 'n' }, took(cell.t)));
        line.addEventListener('click', function (event) {
          if (event.target.tagName !== 'A') location.hash = 'case=' + encodeURIComponent(cell.i);
        });
        add(body, line);
      });
      add(list, el('div', { 'class': 'scroll' }, el('table', { 'class': 'plain' },
        el('thead', {}, el('tr', {}, ['Cell', 'Verdict', 'Values', 'Why', 'Took'].map(function (name) {
          return el('th', { scope: 'col' }, name);
        }))), body)));
      if (cells.length > more) {
        var next = el('button', { type: 'button' }, 'Show ' + Math.min(LISTED, cells.length - more) + ' more');
        next.addEventListener('click', function () { more += LISTED; listing(cells, which); });
        add(list, next);
      }
    }

    grid.addEventListener('keydown', function (event) {
      var tile = event.target.closest('.tile');
      var step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === 'Escape' && picked) { picked = null; draw(); focusTile(); return; }
      if (!tile || !step) return;
      event.preventDefault();
      var all = Array.prototype.slice.call(grid.querySelectorAll('.tile')), to = null;
      if (step[1]) {
        to = all[all.indexOf(tile) + step[1]];
      } else {
        var left = tile.getBoundingClientRect().left;
        var lines = all.filter(function (other) {
          return (Number(other.dataset.row) - Number(tile.dataset.row)) * step[0] > 0;
        });
        var near = lines.reduce(function (best, other) {
          var distance = Math.abs(Number(other.dataset.row) - Number(tile.dataset.row)) * 1e5 +
            Math.abs(other.getBoundingClientRect().left - left);
          return !best || distance < best[0] ? [distance, other] : best;
        }, null);
        to = near && near[1];
      }
      if (to) { tile.tabIndex = -1; to.tabIndex = 0; to.focus(); }
    });
    list.addEventListener('keydown', function (event) {
      var links = Array.prototype.slice.call(list.querySelectorAll('a')), now = links.indexOf(event.target);
      if (event.key === 'Escape') { picked = null; draw(); focusTile(); }
      var to = links[now + { ArrowUp: -1, ArrowDown: 1 }[event.key]];
      if (now >= 0 && to) { event.preventDefault(); to.focus(); }
    });
    function focusTile() { var tile = grid.querySelector('.tile[tabindex="0"]'); if (tile) tile.focus(); }
    draw();
  }

  function values(data, cell) {
    return el('div', { 'class': 'values' }, data.axes.map(function (axis, n) {
      var value = axis.v[cell.a[n]];
      return value === undefined ? null : el('code', {}, el('span', {}, axis.n + '='), value);
    }));
  }

  // The page of one case.
  function part(title, what) { return what ? [el('h3', {}, title), what] : null; }
  function table(names, rows, kind) {
    if (!rows || !rows.length) return null;
    return el('div', { 'class': 'scroll' }, el('table', { 'class': 'plain ' + (kind || '') },
      el('thead', {}, el('tr', {}, names.map(function (name) { return el('th', { scope: 'col' }, name); }))),
      el('tbody', {}, rows.map(function (row) {
        return el('tr', {}, row.map(function (value) { return el('td', {}, value); }));
      }))));
  }
  function topology(pods) {
    if (!pods || !pods.length) return null;
    var width = 176, gap = 18, across = Math.min(pods.length, 6), down = Math.ceil(pods.length / across);
    var it = svg('svg', { width: across * (width + gap), height: down * 128, role: 'img', 'aria-label': 'Pods' });
    pods.forEach(function (pod, n) {
      var x = (n % across) * (width + gap) + 1, y = Math.floor(n / across) * 128 + 16;
      it.appendChild(svg('line', { 'class': 'life', x1: x + width / 2, x2: x + width / 2, y1: y - 14, y2: y }));
      it.appendChild(svg('rect', { 'class': 'box', x: x, y: y, width: width, height: 100, rx: 6 }));
      it.appendChild(svg('text', { x: x + 10, y: y + 20, 'font-weight': 700 }, pod.name));
      it.appendChild(svg('text', { 'class': 'dim', x: x + 10, y: y + 37 }, pod.address));
      if (pod.sidecar) {
        it.appendChild(svg('rect', { 'class': 'sidecar', x: x + 8, y: y + 46, width: width - 16, height: 21, rx: 4 }));
        it.appendChild(svg('text', { x: x + 16, y: y + 61 }, 'sidecar ' + pod.sidecar));
      }
      it.appendChild(svg('text', { x: x + 10, y: y + 86 }, pod.runs.join(', ').slice(0, 26)));
    });
    for (var line = 0; line < down; line++) {
      var last = Math.min(pods.length - line * across, across) - 1, y = line * 128 + 2;
      it.appendChild(svg('line', { 'class': 'life', x1: width / 2, x2: last * (width + gap) + width / 2, y1: y, y2: y }));
    }
    return el('figure', {}, it);
  }
  function sequence(frames) {
    if (!frames || !frames.length) return null;
    var names = [];
    frames.forEach(function (frame) {
      [frame.from, frame.to].forEach(function (name) { if (names.indexOf(name) < 0) names.push(name); });
    });
    var left = 84, wide = 250, high = 24;
    var it = svg('svg', {
      width: left + names.length * wide, height: 44 + frames.length * high, role: 'img',
      'aria-label': frames.length + ' frames in order; the table below says the same'
    });
    function x(name) { return left + names.indexOf(name) * wide + wide / 2; }
    names.forEach(function (name) {
      it.appendChild(svg('text', { x: x(name), y: 16, 'text-anchor': 'middle', 'font-weight': 700 }, name));
      it.appendChild(svg('line', { 'class': 'life', x1: x(name), x2: x(name), y1: 24, y2: 40 + frames.length * high }));
    });
    frames.forEach(function (frame, n) {
      var y = 46 + n * high, a = x(frame.from), b = x(frame.to), back = frame.kind === 'response';
      var bad = /invalid|error|status [1-9]|refused|damaged/i.test(frame.what) ? ' bad' : '';
      it.appendChild(svg('text', { 'class': 'dim', x: 4, y: y + 4 }, ms(frame.at_ns)));
      if (a === b) b = a + 46;
      it.appendChild(svg('path', { 'class': 'msg' + (back ? ' back' : '') + bad, d: 'M' + a + ' ' + y + 'H' + b }));
      var tip = b > a ? -7 : 7;
      it.appendChild(svg('path', { 'class': 'head' + bad, d: 'M' + b + ' ' + y + 'l' + tip + ' -4v8z' }));
      var words = frame.protocol + ' ' + frame.kind + ' ' + frame.id + (frame.what ? '  ' + frame.what : '');
      it.appendChild(svg('text', { 'class': 'label' + bad, x: (a + b) / 2, y: y - 4, 'text-anchor': 'middle', 'font-size': 11.5 },
        words.length > 60 ? words.slice(0, 59) + '…' : words));
    });
    return [el('figure', {}, it), el('details', { 'class': 'fold' }, el('summary', {}, 'As a table'),
      table(['At', 'Seen at', 'From', 'To', 'Port', 'Frame', 'Id', 'What'], frames.map(function (frame) {
        return [ms(frame.at_ns), frame.at, frame.from, frame.to, frame.port, frame.protocol + ' ' + frame.kind, frame.id, frame.what];
      })))];
  }
  function casePage(data, cell, place) {
    var more = cell.m || {}, detail = more.detail || {};
    var back = el('a', { 'class': 'back', href: '#' }, '← back to the run (Esc)');
    var log = (detail.logs || []).map(function (one) {
      return [el('h4', {}, one.pod + ': ' + one.program), el('pre', { 'class': 'log', tabindex: '0' }, one.lines.join('\n'))];
    });
    place.replaceChildren();
    add(place, [
      el('p', {}, back),
      el('header', { 'class': 'banner ' + cell.v.toLowerCase() },
        el('h1', { tabindex: '-1' }, icon(cell.v), cell.v + ' ' + cell.i),
        el('p', { 'class': 'sentence' }, why(cell) || more.about), values(data, cell),
        el('p', {}, 'took ' + took(cell.t))),
      more.rerun ? part('Run it again', el('pre', { tabindex: '0' }, el('code', {}, more.rerun))) : null,
      part('Claims', table(['Verdict', 'Claim', 'Why'], (more.claims || []).map(function (claim) {
        return [badge(claim[0]), claim[1], claim[2]];
      }), 'claims')),
      part('Steps', table(['Step', 'Verdict', 'What', 'Why', 'Took'], (more.steps || []).map(function (step) {
        return [step[0], badge(step[1]), step[2], step[3], took(step[4])];
      }))),
      part('Topology', topology(detail.pods)),
      part('On the wire', sequence(detail.frames)),
      part('What the config center said', table(['At', 'How', 'To', 'Service', 'Providers in order'],
        (detail.registry || []).map(function (said) {
          return [ms(said.at_ns), said.how, said.to, said.service, said.providers.join(', ') || '(none)'];
        }))),
      part('Timeline', table(['At', 'Seen by', 'What'], (detail.timeline || []).map(function (moment) {
        return [ms(moment.at_ns), moment.seen_by, moment.what];
      }), 'time')),
      part('Ledger', table(['Bucket', 'Calls'], detail.ledger || [])),
      part('What the sidecar changed', table(['Field', 'Before', 'After', 'Times', 'May it'],
        (detail.changes || []).map(function (change) {
          return [change.field, change.before, change.after, change.times,
            change.allowed ? 'yes' : el('span', { 'class': 'no' }, '✗ no')];
        }))),
      log.length ? part('Logs', log) : null,
      detail.left_out ? el('p', { 'class': 'more' }, detail.left_out + ' lines and frames were left out of this page.') : null,
      part('Evidence in the record', table(['artefacts/'], (more.evidence || []).map(function (path) { return [path]; }))),
      cell.m ? null : el('p', { 'class': 'more' }, 'It passed: the record has its claims.')
    ]);
  }

  var main = document.getElementById('main'), place = document.getElementById('case'), from = null, top = 0;
  function route() {
    var match = /^#case=(.*)$/.exec(location.hash), found = null;
    if (match) {
      var id = decodeURIComponent(match[1]);
      document.querySelectorAll('script.data').forEach(function (script) {
        var data = runs[script.id] || (runs[script.id] = JSON.parse(script.textContent));
        var cell = data.cells.filter(function (one) { return one.i === id; })[0];
        if (cell && !found) found = [data, cell];
      });
    }
    if (found) {
      if (!main.hidden) { from = document.activeElement; top = window.scrollY; }
      casePage(found[0], found[1], place);
    }
    main.hidden = Boolean(found);
    place.hidden = !found;
    if (found) { window.scrollTo(0, 0); place.querySelector('h1').focus(); }
    else if (from) { window.scrollTo(0, top); if (from.isConnected) from.focus(); from = null; }
  }
  document.addEventListener('keydown', function (event) {
    if (event.key === 'Escape' && !place.hidden) { event.preventDefault(); location.hash = ''; }
  });
  var theme = el('button', { type: 'button', 'class': 'theme' }, 'Dark or light');
  theme.addEventListener('click', function () {
    var root = document.documentElement, dark = matchMedia('(prefers-color-scheme: dark)').matches;
    var now = root.dataset.theme || (dark ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
  });
  document.body.appendChild(theme);
  document.querySelectorAll('.square').forEach(square);
  window.addEventListener('hashchange', route);
  route();
})();
