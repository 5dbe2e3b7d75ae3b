// Opens GraphiQL in the system's chromium, runs what stands there, and prints what it saw as JSON.
//   node graphiql.mjs CHROMIUM URL TEXT-OF-THE-ANSWER [PICTURE]
import { chromium } from "playwright-core";

const [executablePath, url, wanted, picture] = process.argv.slice(2);
const origin = new URL(url).origin;
const seen = { foreign: [], complaints: [], result: "", documentation: "" };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: 30_000 });
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const { origin: other, protocol } = new URL(request.url());
    if (other !== origin && protocol !== "data:") seen.foreign.push(request.url());
  });
  page.on("response", (response) => {
    if (response.status() >= 400) seen.complaints.push(`${response.status()} ${response.url()}`);
  });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`Against the policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  await page.goto(url);
  await page.locator(".graphiql-execute-button").click();
  const result = page.locator(".result-window");
  await result.filter({ hasText: wanted }).waitFor();
  seen.result = await result.innerText();
  // The documentation comes from introspection.
  await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
  const documentation = page.locator(".graphiql-doc-explorer");
  await documentation.filter({ hasText: "query" }).waitFor();
  seen.documentation = await documentation.innerText();
  await page.getByRole("button", { name: "Headers" }).click();
  if (picture) await page.screenshot({ path: picture });
} catch (error) {
  seen.complaints.push(String(error));
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
