// Looks at the live page of a run under way as a person would: node live.mjs CHROMIUM ADDRESS TOKEN [FOLDER FOR SCREENSHOTS]
import assert from 'node:assert/strict';
import { close, open, shoot } from './page.mjs';

const [chromium, address, token, shots] = process.argv.slice(2);
const { browser, page, errors } = await open(chromium, address);
const rows = () => page.evaluate(() => Number(document.documentElement.dataset.drawn));
const until = (what, holds) => page.waitForFunction(holds, null, { timeout: 60_000 }).catch(() => assert.fail(`waited for ${what}`));

// It grows while one looks, and says where the run is and what can be said so far.
const before = await rows();
await page.waitForFunction((count) => Number(document.documentElement.dataset.drawn) > count + 2, before, { timeout: 30_000 });
await until('a place', () => /cycle|priming/.test(document.getElementById('place').textContent));
await until('numbers', () => document.querySelectorAll('#tiles div').length >= 5);
await until('a verdict so far', () => document.querySelectorAll('#so-far tr').length >= 3);
assert.match(await page.locator('#headline').innerText(), /^So far/);

// The cursor reads off, a drag zooms, a line can be hidden, the theme can be changed.
const canvas = page.locator('.plot canvas + canvas').first();
await canvas.scrollIntoViewIfNeeded();
const box = await canvas.boundingBox();
await page.mouse.move(box.x + box.width / 2, box.y + 40);
assert.ok(Number(await page.locator('output[data-line="rss_bytes"]').getAttribute('data-value')) > 1e6, 'no memory under the cursor');
await page.mouse.move(box.x + box.width * 0.4, box.y + 50);
await page.mouse.down();
await page.mouse.move(box.x + box.width * 0.7, box.y + 60, { steps: 5 });
await page.mouse.up();
await until('a drag to zoom in', () => !document.querySelector('[data-do=whole]').disabled);
await page.locator('[data-do=whole]').click();
await page.locator('.legend button[data-line="rss_bytes"]').click();
const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const light = await paper();
await shoot(page, shots, 'live-light-1280');
await page.locator('[data-do=theme]').click();
assert.notEqual(await paper(), light);
await shoot(page, shots, 'live-dark-1280');
await page.setViewportSize({ width: 400, height: 800 });
await page.waitForTimeout(200);
assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 400, 'the page is wider than a telephone');
await shoot(page, shots, 'live-dark-400');

// A reload loses nothing, and a second viewer sees the same.
const seen = await rows();
await page.reload();
await until('the page again', () => document.documentElement.dataset.drawn !== undefined);
assert.ok(await rows() >= seen, 'a reload lost history');

// What others may read, and what only the token may do.
assert.match(await (await page.request.get(`${address}/metrics`)).text(), /^sse_soak_rss_bytes \d+$/m);
const misled = await page.request.get(`${address}/`, { headers: { host: 'elsewhere.example' } });
assert.equal(misled.status(), 421);
assert.equal((await page.request.post(`${address}/stop`)).status(), 401);
await page.getByLabel('Token').fill(token);
await page.getByRole('button', { name: 'Stop and judge' }).click();
await until('the verdict', () => /The run is over/.test(document.getElementById('place').textContent));

// A reload and the end of the run end the stream: that is no error of the page.
await close(browser, errors.filter((error) => !error.endsWith('/events failed')));
