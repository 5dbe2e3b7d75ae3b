// Holds a GraphQL server against the audits of GraphQL over HTTP: a JSON line of counts, then what was not right.
import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
const wrong = [];
let passed = 0;
for (const audit of serverAudits({ url, fetchFn: fetch })) {
  const { status, name, reason } = await audit.fn();
  if (status === "ok") passed += 1;
  else wrong.push(`${status} ${name}: ${reason}`);
}
console.log(JSON.stringify({ passed, wrong }));
