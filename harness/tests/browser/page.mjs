// What every look at a page needs: a browser without a window, and what it complained about.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

/** Opens a page and waits until it has drawn. Root needs --no-sandbox; the pages are our own. */
export async function open(executablePath, address) {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  const errors = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) errors.push(message.text()); });
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('requestfailed', (request) => errors.push(`${request.url()} failed`));
  await page.goto(address);
  await page.waitForFunction(() => document.documentElement.dataset.drawn !== undefined, null, { timeout: 30_000 });
  console.log(`drawn in ${await page.evaluate(() => document.documentElement.dataset.drawn)} ms`);
  return { browser, page, errors };
}

export async function shoot(page, folder, name) {
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

export async function close(browser, errors) {
  await browser.close();
  assert.deepEqual(errors, []);
}
