// Looks at report.html of a run as a person would: node report.mjs CHROMIUM RUN [FOLDER FOR SCREENSHOTS]
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { close, open, shoot } from './page.mjs';

const [chromium, run, shots] = process.argv.slice(2);
const csv = readFileSync(join(run, 'samples.csv'), 'utf8').trim().split('\n').map((line) => line.split(','));
const column = (name) => { const place = csv[0].indexOf(name); return csv.slice(1).map((row) => row[place]); };

const { browser, page, errors } = await open(chromium, pathToFileURL(join(run, 'report.html')).href);
const canvas = page.locator('.plot canvas + canvas').first();
const drawn = () => page.evaluate(() => document.querySelector('.plot canvas').toDataURL());
const view = () => page.evaluate(() => document.querySelector('[data-do=whole]').disabled);
const changes = async (what, act) => {
  const before = await drawn();
  await act();
  await page.waitForTimeout(100);
  assert.notEqual(await drawn(), before, `${what} changes nothing`);
};

// The verdict comes first, and the plots are there.
const findings = JSON.parse(readFileSync(join(run, 'findings.json'), 'utf8'));
assert.equal(await page.locator('h1').textContent(), findings.text);
assert.ok(await page.locator('.plot').count() >= 6, 'too few plots');
assert.ok(await page.locator('figure svg').count() >= 3, 'too few pictures');
await shoot(page, shots, 'report-light-1280');

// The cursor reads what the recording holds.
await canvas.scrollIntoViewIfNeeded();
const box = await canvas.boundingBox();
for (const share of [0.2, 0.5, 0.8]) {
  await page.mouse.move(box.x + box.width * share, box.y + box.height / 2);
  for (const name of ['rss_bytes', 'heap_allocated_bytes', 'live_connections', 'fds']) {
    const told = await page.locator(`output[data-line="${name}"]`).first().evaluate((node) => ({ ...node.dataset }));
    const row = column('t_s').findIndex((at) => Math.abs(at - told.time) < 0.0006);
    assert.ok(row >= 0, `no sample at ${told.time} s`);
    assert.equal(Number(told.value), Number(column(name)[row]), `${name} at ${told.time} s`);
  }
}

// Zoom: drag, wheel, keys, and back.
assert.ok(await view(), 'the whole run is in view at first');
await changes('a drag', async () => {
  await page.mouse.move(box.x + box.width * 0.3, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
});
assert.ok(!(await view()), 'a drag zooms in');
await changes('the wheel', async () => { await canvas.focus(); await page.mouse.wheel(0, -300); });
await changes('+', () => canvas.press('+'));
await changes('0', () => canvas.press('0'));
assert.ok(await view(), 'the key 0 shows the whole run again');
await canvas.press('ArrowRight');
await canvas.press('Shift+ArrowRight');
assert.match(await page.locator('[aria-live]').innerText(), /^at \d+:\d\d:\d\d.*resident/s);

// A line can be hidden, the axis can start from zero.
await changes('a legend', () => page.locator('.legend button[data-line="rss_bytes"]').first().click());
assert.equal(await page.locator('.legend button[data-line="rss_bytes"]').first().getAttribute('aria-pressed'), 'false');
await page.locator('.legend button[data-line="rss_bytes"]').first().click();
await page.locator('[data-do=zero]').click();
assert.equal(await page.locator('[data-do=zero]').getAttribute('aria-pressed'), 'true');
await page.locator('[data-do=zero]').click();

// Both themes, also on a telephone, and on paper.
const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const light = await paper();
await changes('the theme', () => page.locator('[data-do=theme]').click());
assert.notEqual(await paper(), light);
await shoot(page, shots, 'report-dark-1280');
await page.setViewportSize({ width: 400, height: 800 });
await page.waitForTimeout(200);
assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 400, 'the page is wider than a telephone');
await shoot(page, shots, 'report-dark-400');
await page.locator('[data-do=theme]').click();
await shoot(page, shots, 'report-light-400');
await page.setViewportSize({ width: 1280, height: 900 });
const pdf = await page.pdf({ format: 'A4', printBackground: false, path: shots && join(shots, 'report.pdf') });
assert.ok(pdf.length > 20_000, 'hardly anything was printed');

await close(browser, errors);
