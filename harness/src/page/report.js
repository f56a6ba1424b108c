// The report of a finished run: unpacks the series that packed.rs packed, and lays out the panels.

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** See packed.rs: 0 is missing, else the difference from the last known value, zigzag, plus one. Numbers beyond 32 bits occur. */
async function unpack({ count, quantum, data }) {
  const input = await inflate(data), values = new Float64Array(count);
  let at = 0, last = 0;
  for (let i = 0; i < count; i += 1) {
    let number = 0, weight = 1, byte;
    do { byte = input[at]; at += 1; number += (byte & 127) * weight; weight *= 128; } while (byte > 127);
    if (number === 0) { values[i] = NaN; continue; }
    const zigzag = number - 1, half = Math.floor(zigzag / 2);
    last += zigzag % 2 ? -half - 1 : half;
    values[i] = last * quantum;
  }
  return values;
}

async function report() {
  const began = performance.now();
  const data = JSON.parse(document.getElementById('data').textContent);
  const series = await Promise.all(data.series.map(unpack));
  const timeline = new Timeline(data.seconds, data.phases, data.marks);
  document.getElementById('theme').replaceWith(themeButton(() => timeline.draw()));
  const place = document.getElementById('plots');
  if (place) {
    const lines = (panel) => panel.lines.map((line) => ({ ...line, times: series[line.times], values: series[line.values] }));
    const plots = data.panels.map((panel) => new Plot(timeline, { ...panel, lines: lines(panel) }));
    place.replaceChildren(timeline.tools(), ...plots.map((plot) => plot.node));
    timeline.drawNow();
  }
  document.documentElement.dataset.drawn = Math.round(performance.now() - began);
}

report().catch((error) => {
  const place = document.getElementById('plots');
  if (place) place.replaceChildren(el('p', { class: 'alarm' }, `The plots need a browser of 2023 or later (${error.message}). The tables below hold the numbers.`));
});
