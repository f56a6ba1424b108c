'use strict';
// Lines over time, on canvases that share one time axis. Used by the report (a finished run) and by the live page.
//
// A Timeline holds what is shared: the stretch of time in view, the cursor, phases, marks. A Plot is one panel of lines.
// Lines are {label, name, times, values}: seconds and numbers, NaN where nothing was read; a gap is drawn as a gap.
// Of each column of pixels the least and the greatest value are drawn: a spike of one second in a day stays visible.

const LEFT = 66, RIGHT = 10, TOP = 8, BOTTOM = 20; // room for axes, CSS pixels
const el = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- numbers for people -------------------------------------------------------------------------------------------------

const POWERS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const digits = (value, most) => value.toLocaleString('en', { maximumFractionDigits: most });

function bytes(value) {
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < 4) { value /= 1024; unit += 1; }
  return `${digits(value, unit && Math.abs(value) < 100 ? 2 : 0)} ${POWERS[unit]}`;
}

function micros(value) {
  if (value >= 1e6) return `${digits(value / 1e6, 2)} s`;
  return value >= 1000 ? `${digits(value / 1000, value < 1e5 ? 2 : 0)} ms` : `${digits(value, 0)} µs`;
}

const FORMATS = {
  bytes, micros,
  count: (value) => digits(value, 2),
  rate: (value) => `${digits(value, 1)}/s`,
  share: (value) => `${digits(value * 100, 1)} %`,
};
const format = (unit, value) => (Number.isFinite(value) ? FORMATS[unit](value) : 'not read');

function clock(seconds, step = 1) {
  const sign = seconds < -1e-9 ? '−' : '', whole = Math.abs(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, Math.floor(whole % 60)];
  const tenths = step < 1 ? (whole % 1).toFixed(step < 0.1 ? 2 : 1).slice(1) : '';
  return `${sign}${parts[0]}:${parts.slice(1).map((part) => String(part).padStart(2, '0')).join(':')}${tenths}`;
}

// ---- axes ---------------------------------------------------------------------------------------------------------------

/** Steps of 1, 2, 5 · 10ⁿ; of bytes in powers of 2, so that every tick is a round number of KiB or MiB. */
function stepOf(unit, range, most) {
  const least = range / most;
  if (!(least > 0)) return 1;
  if (unit === 'bytes') return Math.max(1, 2 ** Math.ceil(Math.log2(least)));
  const ten = 10 ** Math.floor(Math.log10(least));
  return ten * [1, 2, 5, 10].find((factor) => factor * ten >= least * 0.999999);
}

const TIMES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
const timeStep = (range, most) => TIMES.find((step) => range / step <= most) || Math.ceil(range / most / 604800) * 604800;

function ticks(from, to, step) {
  const found = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9 && found.length < 64; i += 1) found.push(i * step + 0); // + 0: never −0
  return found;
}

/** The first place in a sorted list whose value is not below this. */
function place(list, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

// ---- what all panels share ----------------------------------------------------------------------------------------------

class Timeline {
  /** `seconds`: how long the run is (it may grow); `phases`: [from, to, kind, cycle]; `marks`: [at, kind, text]. */
  constructor(seconds, phases = [], marks = []) {
    Object.assign(this, { seconds, phases, marks, plots: [], view: [0, seconds], cursor: null, fromZero: false, dirty: false });
    this.told = el('p', { class: 'unseen', 'aria-live': 'polite' });
    this.now = el('span', { class: 'now' });
    const again = () => this.draw();
    new ResizeObserver(again).observe(document.documentElement);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
    addEventListener('beforeprint', () => this.print(true));
    addEventListener('afterprint', () => this.print(false));
  }

  /** Buttons for all panels. */
  tools() {
    const button = (text, act, attributes = {}) => {
      const node = el('button', { type: 'button', ...attributes }, text);
      node.addEventListener('click', () => act(node));
      return node;
    };
    this.whole = button('Whole run', () => this.zoom(0, this.seconds), { 'data-do': 'whole' });
    const zero = button('From zero', (node) => {
      this.fromZero = !this.fromZero;
      node.setAttribute('aria-pressed', this.fromZero);
      this.draw();
    }, { 'aria-pressed': 'false', 'data-do': 'zero' });
    const hint = el('span', { class: 'hint' }, 'Drag to zoom in, double-click for the whole run; click a plot, then use the wheel or the keys ← → + − 0.');
    return el('div', { class: 'tools' }, this.whole, zero, this.now, hint, this.told);
  }

  zoom(from, to) {
    const least = Math.min(0.05, this.seconds);
    const width = Math.min(Math.max(to - from, least), this.seconds || 1);
    const begin = Math.min(Math.max(from, 0), Math.max(this.seconds - width, 0));
    this.view = [begin, begin + width];
    this.draw();
  }

  /** In or out, around a moment that stays where it is. */
  scale(factor, around) {
    const [from, to] = this.view;
    this.zoom(around - (around - from) * factor, around + (to - around) * factor);
  }

  point(at) {
    this.cursor = at === null ? null : Math.min(Math.max(at, this.view[0]), this.view[1]);
    const phase = at === null ? null : this.phaseAt(this.cursor);
    this.now.textContent = at === null ? '' : `at ${clock(this.cursor, 0.1)}${phase ? `, ${phase}` : ''}`;
    for (const plot of this.plots) plot.drawCursor();
  }

  phaseAt(at) {
    const found = this.phases.find(([from, to]) => from <= at && at < to);
    return found && `${found[2]} of cycle ${found[3]}`;
  }

  /** At most one drawing a frame, however much changes. */
  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => { this.dirty = false; this.drawNow(); });
  }

  drawNow() {
    for (const plot of this.plots) plot.draw();
    if (this.whole) this.whole.disabled = this.view[0] === 0 && this.view[1] === this.seconds;
  }

  /** Paper is white, and the frame that draw() waits for may never come while a page prints. */
  print(begins) {
    const root = document.documentElement;
    if (begins) this.screenTheme = root.dataset.theme || '';
    root.dataset.theme = begins ? 'light' : this.screenTheme;
    if (!root.dataset.theme) delete root.dataset.theme;
    this.drawNow();
  }
}

// ---- one panel ----------------------------------------------------------------------------------------------------------

class Plot {
  constructor(timeline, { title, unit, lines, log = false, height = 170, note = '' }) {
    Object.assign(this, { timeline, title, unit, lines, log, height });
    lines.forEach((line, i) => Object.assign(line, { colour: `--c${i % 8}`, shown: line.shown !== false, dash: i >= 8 }));
    this.base = el('canvas', { 'aria-hidden': 'true' });
    this.over = el('canvas', { tabindex: '0', role: 'img', 'aria-label': `${title}, over time. Arrow keys move the cursor and read the values; the numbers are in the table below.` });
    this.box = el('div', { class: 'canvas' }, this.base, this.over);
    this.box.style.height = `${height}px`;
    this.legend = el('div', { class: 'legend' }, ...lines.map((line) => this.entry(line)));
    this.node = el('section', { class: 'plot' }, el('h3', {}, title), ...(note ? [el('p', { class: 'hint' }, note)] : []), this.legend, this.box);
    this.listen();
    timeline.plots.push(this);
  }

  /** A line's button: shows and hides it; beside it the value under the cursor. */
  entry(line) {
    const key = el('i');
    key.style.borderColor = `var(${line.colour})`;
    key.style.borderTopStyle = line.dash ? 'dashed' : 'solid';
    line.value = el('output', { 'data-line': line.name });
    const button = el('button', { type: 'button', 'aria-pressed': line.shown, 'data-line': line.name }, key, line.label, line.value);
    button.addEventListener('click', () => {
      line.shown = !line.shown;
      button.setAttribute('aria-pressed', line.shown);
      this.timeline.draw();
    });
    return button;
  }

  // -- hands

  listen() {
    const { timeline, over } = this;
    let began = null, last = null;
    const at = (event) => this.timeAt(event.clientX - over.getBoundingClientRect().left);
    over.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      began = at(event);
      over.setPointerCapture(event.pointerId);
    });
    over.addEventListener('pointermove', (event) => {
      last = at(event);
      timeline.selection = began === null ? null : [Math.min(began, last), Math.max(began, last)];
      timeline.point(last);
    });
    over.addEventListener('pointerup', () => {
      const chosen = timeline.selection;
      began = timeline.selection = null;
      if (chosen && this.x(chosen[1]) - this.x(chosen[0]) > 4) timeline.zoom(...chosen); else timeline.point(timeline.cursor);
    });
    over.addEventListener('pointercancel', () => { began = timeline.selection = null; });
    over.addEventListener('pointerleave', () => { if (began === null) timeline.point(null); });
    over.addEventListener('dblclick', () => timeline.zoom(0, timeline.seconds));
    // Only where somebody works: a wheel on its way down the page must not be caught by every plot it passes.
    over.addEventListener('wheel', (event) => {
      if (document.activeElement !== over && !event.ctrlKey) return;
      event.preventDefault();
      timeline.scale(event.deltaY > 0 ? 1.25 : 0.8, at(event));
    }, { passive: false });
    over.addEventListener('keydown', (event) => this.key(event));
  }

  key(event) {
    const { timeline } = this, [from, to] = timeline.view;
    const middle = timeline.cursor ?? (from + to) / 2, step = (to - from) / (event.shiftKey ? 10 : 100);
    const moves = {
      ArrowLeft: () => this.stepTo(middle - step), ArrowRight: () => this.stepTo(middle + step),
      Home: () => this.stepTo(from), End: () => this.stepTo(to),
      '+': () => timeline.scale(0.5, middle), '=': () => timeline.scale(0.5, middle), '-': () => timeline.scale(2, middle),
      0: () => timeline.zoom(0, timeline.seconds), Escape: () => timeline.point(null),
    };
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  }

  stepTo(at) {
    this.timeline.point(at);
    const said = this.lines.filter((line) => line.shown).map((line) => `${line.label} ${line.value.textContent}`);
    this.timeline.told.textContent = `${this.timeline.now.textContent}: ${said.join(', ')}`;
  }

  // -- where things are

  get width() { return this.box.clientWidth || 600; }
  x(time) { const [from, to] = this.timeline.view; return LEFT + (time - from) / (to - from || 1) * (this.width - LEFT - RIGHT); }
  timeAt(x) { const [from, to] = this.timeline.view; return from + (x - LEFT) / (this.width - LEFT - RIGHT) * (to - from); }
  y(value) {
    const [low, high] = this.range, share = this.log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
    return TOP + (1 - share) * (this.height - TOP - BOTTOM);
  }

  /** The places of a line that are in view, with one more on either side. */
  inView(line) {
    const [from, to] = this.timeline.view;
    return [Math.max(place(line.times, from) - 1, 0), Math.min(place(line.times, to) + 1, line.times.length)];
  }

  /** The values to be shown, from the least to the greatest. */
  measure() {
    let low = Infinity, high = -Infinity;
    for (const line of this.lines.filter((one) => one.shown)) {
      const [first, end] = this.inView(line);
      for (let i = first; i < end; i += 1) {
        const value = line.values[i];
        if (value < low && !(this.log && value <= 0)) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) return this.log ? [1, 10] : [0, 1];
    if (this.log) return [low / 1.2, Math.max(high * 1.2, low * 4)];
    if (this.timeline.fromZero && low >= 0) return [0, high * 1.05 || 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    return [low >= 0 ? Math.max(low - room, 0) : low - room, high + room];
  }

  // -- drawing

  context(canvas) {
    const dots = Math.max(devicePixelRatio || 1, 1), { width, height } = this;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    const pen = canvas.getContext('2d');
    pen.scale(dots, dots);
    pen.font = '11px system-ui, sans-serif';
    return pen;
  }

  draw() {
    const pen = this.context(this.base);
    this.range = this.measure();
    this.drawPhases(pen);
    this.drawAxes(pen);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, TOP - 2, this.width - LEFT - RIGHT, this.height - TOP - BOTTOM + 4);
    pen.clip();
    this.drawMarks(pen);
    for (const line of this.lines) if (line.shown) this.drawLine(pen, line);
    pen.restore();
    this.drawCursor();
  }

  drawPhases(pen) {
    const [from, to] = this.timeline.view, bottom = this.height - TOP - BOTTOM;
    const known = ['dose', 'drain', 'probe', 'settle', 'read', 'rest'];
    const paint = Object.fromEntries([...known, 'other'].map((kind) => [kind, colour(`--${kind}`)]));
    for (const [begin, end, kind] of this.timeline.phases) {
      if (end < from || begin > to) continue;
      const left = Math.max(this.x(begin), LEFT), right = Math.min(this.x(end), this.width - RIGHT);
      pen.fillStyle = paint[kind] || paint[kind === 'load' ? 'dose' : 'other'];
      pen.fillRect(left, TOP, Math.max(right - left, 0), bottom);
    }
  }

  drawAxes(pen) {
    const ink = colour('--soft'), grid = colour('--line'), bottom = this.height - BOTTOM;
    pen.lineWidth = 1;
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    for (const value of this.levels()) {
      const y = Math.round(this.y(value)) + 0.5;
      pen.strokeStyle = grid;
      pen.beginPath(); pen.moveTo(LEFT, y); pen.lineTo(this.width - RIGHT, y); pen.stroke();
      pen.fillStyle = ink;
      pen.fillText(FORMATS[this.unit](value), LEFT - 6, y);
    }
    const [from, to] = this.timeline.view, step = timeStep(to - from, Math.max((this.width - LEFT) / 80, 2));
    pen.textBaseline = 'top';
    for (const time of ticks(from, to, step)) {
      const x = Math.round(this.x(time)) + 0.5;
      pen.strokeStyle = grid;
      pen.beginPath(); pen.moveTo(x, TOP); pen.lineTo(x, bottom + 3); pen.stroke();
      const text = clock(time, step), half = pen.measureText(text).width / 2;
      pen.textAlign = 'center';
      pen.fillText(text, Math.min(Math.max(x, half), this.width - half), bottom + 5);
    }
  }

  levels() {
    const [low, high] = this.range, most = Math.max(Math.floor((this.height - TOP - BOTTOM) / 28), 2);
    if (!this.log) return ticks(low, high, stepOf(this.unit, high - low, most));
    const powers = ticks(Math.log10(low), Math.log10(high), Math.max(1, Math.ceil(Math.log10(high / low) / most)));
    return powers.map((power) => 10 ** power);
  }

  drawMarks(pen) {
    const [from, to] = this.timeline.view, bad = colour('--bad');
    pen.strokeStyle = bad;
    pen.setLineDash([3, 3]);
    let last = -Infinity;
    for (const [at] of this.timeline.marks) {
      const x = this.x(at);
      if (at < from || at > to || x - last < 1) continue;
      pen.beginPath(); pen.moveTo(x, TOP); pen.lineTo(x, this.height - BOTTOM); pen.stroke();
      last = x;
    }
    pen.setLineDash([]);
  }

  drawLine(pen, line) {
    if (line.dots) { this.drawDots(pen, line); return; }
    const [first, end] = this.inView(line), columns = this.width - LEFT - RIGHT;
    pen.strokeStyle = colour(line.colour);
    pen.lineWidth = 1.5;
    pen.lineJoin = 'round';
    pen.setLineDash(line.dash ? [6, 3] : []);
    pen.beginPath();
    if (end - first > 3 * columns) this.traceColumns(pen, line, first, end); else this.tracePoints(pen, line, first, end);
    pen.stroke();
    pen.setLineDash([]);
  }

  drawDots(pen, line) {
    const [first, end] = this.inView(line);
    pen.fillStyle = colour(line.colour);
    for (let i = first; i < end; i += 1) {
      if (Number.isNaN(line.values[i])) continue;
      pen.beginPath();
      pen.arc(this.x(line.times[i]), this.y(line.values[i]), 2.5, 0, 7);
      pen.fill();
    }
  }

  tracePoints(pen, line, first, end) {
    const { times, values } = line;
    let open = false;
    for (let i = first; i < end; i += 1) {
      if (Number.isNaN(values[i])) { open = false; continue; }
      const x = this.x(times[i]), y = this.y(values[i]);
      const alone = !open && (i + 1 >= end || Number.isNaN(values[i + 1]));
      if (open) pen.lineTo(x, y); else pen.moveTo(alone ? x - 1 : x, y);
      if (alone) pen.lineTo(x + 1, y);
      open = true;
    }
  }

  /** Least and greatest of every column of pixels. */
  traceColumns(pen, line, first, end) {
    const { times, values } = line;
    let column = null, low = 0, high = 0, last = 0, open = false;
    const flush = () => {
      if (column === null) return;
      const x = column + 0.5;
      if (open) pen.lineTo(x, this.y(low)); else pen.moveTo(x, this.y(low));
      pen.lineTo(x, this.y(high));
      pen.lineTo(x, this.y(last));
      open = true;
      column = null;
    };
    for (let i = first; i < end; i += 1) {
      const value = values[i];
      if (Number.isNaN(value)) { flush(); open = false; continue; }
      const here = Math.floor(this.x(times[i]));
      if (here !== column) { flush(); column = here; low = high = value; }
      if (value < low) low = value;
      if (value > high) high = value;
      last = value;
    }
    flush();
  }

  // -- the cursor

  drawCursor() {
    const pen = this.context(this.over), { timeline } = this, bottom = this.height - BOTTOM;
    if (timeline.selection) {
      const [left, right] = timeline.selection.map((time) => this.x(time));
      pen.fillStyle = colour('--mark');
      pen.fillRect(left, TOP, right - left, bottom - TOP);
    }
    if (timeline.cursor !== null) {
      const x = Math.round(this.x(timeline.cursor)) + 0.5;
      pen.strokeStyle = colour('--soft');
      pen.beginPath(); pen.moveTo(x, TOP); pen.lineTo(x, bottom); pen.stroke();
    }
    for (const line of this.lines) this.readOff(pen, line);
  }

  /** The value nearest to the cursor, in the legend and as a dot; without a cursor the last one. */
  readOff(pen, line) {
    const at = this.timeline.cursor, { times, values } = line;
    let i = times.length - 1;
    if (at !== null) {
      i = Math.min(place(times, at), times.length - 1);
      if (i > 0 && at - times[i - 1] < times[i] - at) i -= 1;
    }
    const value = i < 0 ? NaN : values[i];
    line.value.textContent = format(this.unit, value);
    line.value.dataset.value = value;
    line.value.dataset.time = i < 0 ? '' : times[i];
    if (at === null || !line.shown || Number.isNaN(value)) return;
    pen.fillStyle = colour(line.colour);
    pen.beginPath();
    pen.arc(this.x(times[i]), this.y(value), 3.5, 0, 7);
    pen.fill();
  }
}

// ---- theme --------------------------------------------------------------------------------------------------------------

/** Light, dark, or as the system has it. Remembered where that is allowed. */
function themeButton(redraw) {
  const root = document.documentElement, dark = () => getComputedStyle(root).colorScheme === 'dark'
    || (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  const button = el('button', { type: 'button', class: 'theme', 'data-do': 'theme' });
  const name = () => { button.textContent = dark() ? 'Light' : 'Dark'; button.setAttribute('aria-label', `${button.textContent} theme`); };
  try { const kept = localStorage.getItem('theme'); if (kept) root.dataset.theme = kept; } catch { /* a page from a file may not remember */ }
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try { localStorage.setItem('theme', root.dataset.theme); } catch { /* see above */ }
    name();
    redraw();
  });
  name();
  return button;
}
