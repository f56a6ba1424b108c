// The live page: frames of the run's own event stream go into the same plots that the report uses.

const MOST_ROWS = 20000; // then everything is asked for again, thinned: a page may stay open for days

function live() {
  const { panels, controls } = JSON.parse(document.getElementById('data').textContent);
  const timeline = new Timeline(1);
  document.getElementById('theme').replaceWith(themeButton(() => timeline.draw()));
  const times = [], columns = panels.flatMap((panel) => panel.lines).map(() => []);
  let place = 0;
  const plots = panels.map((panel) => {
    const lines = panel.lines.map((line) => { place += 1; return { ...line, times, values: columns[place - 1] }; });
    return new Plot(timeline, { ...panel, lines });
  });
  document.getElementById('plots').replaceChildren(timeline.tools(), ...plots.map((plot) => plot.node));
  if (controls) document.getElementById('controls').replaceChildren(controlPanel());

  let source = null, events = [], over = false;
  const connect = () => {
    source = new EventSource('/events');
    source.onmessage = (message) => take(JSON.parse(message.data));
    source.onerror = () => { if (!over) say('headline', 'The run cannot be reached: it is over, or will be back'); };
  };

  function take(frame) {
    if (frame.whole) clear();
    const followed = timeline.view[1] >= timeline.seconds, whole = timeline.view[0] === 0;
    for (const row of frame.rows) {
      times.push(row[0]);
      columns.forEach((column, i) => column.push(row[i + 1] ?? NaN));
    }
    takePhases(frame.phases);
    takeMarks(frame.marks);
    if (frame.now) showNow(frame.now);
    if (frame.soFar) showSoFar(frame.soFar);
    if (frame.ended) { over = true; source.close(); showEnd(frame.ended); }
    const length = Math.max(times.at(-1) || 1, 1), grown = length - timeline.seconds;
    timeline.seconds = length;
    if (timeline.phases.length) timeline.phases.at(-1)[1] = length;
    if (followed) timeline.view = whole ? [0, length] : timeline.view.map((edge) => edge + grown);
    timeline.draw();
    document.documentElement.dataset.drawn = times.length;
    if (times.length > MOST_ROWS) { source.close(); connect(); }
  }

  function clear() {
    times.length = 0;
    columns.forEach((column) => { column.length = 0; });
    Object.assign(timeline, { phases: [], marks: [] });
    events = [];
    document.getElementById('alarms').replaceChildren();
  }

  function takePhases(phases) {
    for (const [at, kind, cycle] of phases) {
      if (timeline.phases.length) timeline.phases.at(-1)[1] = at;
      timeline.phases.push([at, at, kind, cycle]);
    }
  }

  function takeMarks(news) {
    for (const mark of news) {
      events.push(mark);
      if (mark[1] !== 'note' && mark[1] !== 'end') timeline.marks.push(mark);
      if (mark[1] === 'alarm') document.getElementById('alarms').append(el('p', { class: 'alarm' }, `Alarm at ${clock(mark[0])}: ${mark[2]}`));
    }
    if (!news.length) return;
    events = events.slice(-100);
    const row = ([at, kind, text]) => el('tr', {}, el('td', { class: 'n' }, at.toFixed(1)), el('td', {}, kind), el('td', {}, el('bdi', {}, text)));
    document.getElementById('events').replaceChildren(...events.map(row).reverse());
  }

  connect();
}

const say = (id, text) => { document.getElementById(id).textContent = text; };

function showNow(now) {
  const cycle = now.cycle < 0 ? `priming ${-now.cycle}` : `cycle ${Math.min(now.cycle + 1, now.cycles)} of ${now.cycles}`;
  if (now.phase) say('place', `${now.phase}, ${cycle} · ${clock(now.seconds)} gone, at most ${clock(Math.max(now.longest - now.seconds, 0))} left`);
  const tile = (name, value) => el('div', {}, el('b', {}, value), el('span', {}, name));
  const number = ([name, value]) => (name.endsWith(', bytes') ? tile(name.slice(0, -7), bytes(value)) : tile(name, digits(value, 0)));
  const latency = now.latency.filter(([of]) => of !== 'late').map(([of, , p99]) => tile(`${of}, p99`, micros(p99)));
  document.getElementById('tiles').replaceChildren(...now.numbers.map(number), ...latency);
}

const CLASSES = { leak: ['bad', 'grows'], 'no-leak': ['good', 'no leak'], unsure: ['unsure', 'cannot tell yet'] };

function showSoFar(soFar) {
  const row = (one) => {
    const [colour, word] = CLASSES[one.class];
    return el('tr', {}, el('td', {}, one.factor), el('td', {}, el('span', { class: `tag ${colour}` }, word)), el('td', { class: 'n' }, `${digits(one.estimate, 1)} B`), el('td', { class: 'words' }, one.text));
  };
  document.getElementById('so-far').replaceChildren(...soFar.map(row));
  const leaks = soFar.filter((one) => one.class === 'leak'), unsure = soFar.some((one) => one.class === 'unsure');
  const worst = leaks.length ? 'bad' : unsure || !soFar.length ? 'unsure' : 'good';
  document.getElementById('verdict').className = `verdict ${worst}`;
  const told = leaks.map((one) => `${one.factor} ${one.text}`).join('; ');
  say('headline', leaks.length ? `So far: ${told}` : worst === 'good' ? 'So far: no leak above what is tolerated' : 'So far: cannot tell yet');
}

function showEnd(verdict) {
  say('headline', verdict);
  say('place', 'The run is over. Its report.html holds the evidence.');
}

/** Stop and pause: only for who has the token, which is asked for here and kept nowhere. */
function controlPanel() {
  const token = el('input', { type: 'password', autocomplete: 'off', placeholder: 'token', 'aria-label': 'Token' });
  const told = el('span', { class: 'hint', role: 'status' });
  const button = (text, path) => {
    const node = el('button', { type: 'button' }, text);
    node.addEventListener('click', async () => {
      const answer = await fetch(path, { method: 'POST', headers: { authorization: `Bearer ${token.value}` } });
      told.textContent = (await answer.text()).trim();
    });
    return node;
  };
  return el('p', { class: 'controls' }, token, ' ', button('Pause before the next step', '/pause'), ' ', button('Go on', '/resume'), ' ', button('Stop and judge', '/stop'), ' ', told);
}

live();
