#!/usr/bin/env bash
# Fetches GraphiQL's prebuilt files anew into myevents/graphiql/files, with licences and checksums. Needs npm and node.
# Change the versions here, run it, and look at `git diff`.
set -euo pipefail
cd "$(dirname "$0")/.."
graphiql=3.9.0 react=18.3.1
to=$PWD/myevents/graphiql/files
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock \
  "graphiql@$graphiql" "react@$react" "react-dom@$react" graphql@16 @fontsource/roboto @fontsource/fira-code @babel/runtime @radix-ui/react-use-escape-keydown graphql-ws
mkdir -p "$to"
rm -f "$to"/*
cp node_modules/graphiql/graphiql.min.{js,css} "$to"
cp node_modules/react/umd/react.production.min.js node_modules/react-dom/umd/react-dom.production.min.js "$to"
# No source maps, and no word of other hosts.
sed -i -E -e '/^\/\/# sourceMappingURL=.*$/d' -e 's|/\*# sourceMappingURL=[^*]*\*/||' -e 's/ \(jsdelivr, unpkg, etc\)//' "$to"/*.min.*
if grep -lE 'sourceMappingURL|@import|\beval\(|new Function' "$to"/*; then
  echo "These files ask for more than themselves." >&2; exit 1
fi
node - > "$to/LICENSES.txt" <<'JS'
// The licences of all that the bundle holds, as its source map tells, and of the fonts in its style sheet.
const { existsSync, readdirSync, readFileSync } = require("fs");
const { sources } = JSON.parse(readFileSync("node_modules/graphiql/graphiql.min.js.map", "utf8"));
const names = new Set(["graphiql", "@graphiql/react", "@graphiql/toolkit", "graphql-language-service",
  "codemirror-graphql", "react", "react-dom", "scheduler", "@fontsource/roboto", "@fontsource/fira-code"]);
for (const source of sources) {
  const found = source.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)/);
  if (found) names.add(found[1]);
}
const texts = new Map();
for (const name of [...names].sort()) {
  const directory = `node_modules/${name}`;
  if (!existsSync(directory)) throw new Error(`${name} is in the bundle, but not installed: add it above`);
  const about = JSON.parse(readFileSync(`${directory}/package.json`, "utf8"));
  const file = readdirSync(directory).find((name) => /^(licen[cs]e|copying)/i.test(name));
  const author = typeof about.author === "object" ? about.author.name : about.author;
  const text = file ? readFileSync(`${directory}/${file}`, "utf8").replace(/\r/g, "").trim()
    : `${about.license}${author ? `, ${author}` : ""} (the package holds no text of it)`;
  texts.set(text, [...(texts.get(text) ?? []), name]);
}
const parts = [...texts].map(([text, names]) => `${names.join(", ")}\n\n${text}\n`);
console.log(parts.join(`\n${"-".repeat(80)}\n\n`).replace(/[ \t]+$/gm, "").trimEnd());
JS
{
  cat <<TEXT
# GraphiQL, as its makers built it

From the npm packages graphiql $graphiql, react $react and react-dom $react; nothing is built here. Comments that name
source maps and one mention of other hosts are taken out. [LICENSES.txt](LICENSES.txt) has the licences of all that the
files hold: MIT, but for a few BSD, ISC and 0BSD, and the fonts Roboto and Fira Code under the SIL Open Font License or
Apache-2.0.

\`scripts/graphiql.sh\` fetches them anew: change the versions in it, run it, look at \`git diff\`. The pages that use the
files are in the directory above.

| file | sha256 |
|---|---|
TEXT
  cd "$to"
  sha256sum ./*.min.* | sed -E 's/^(\w+)  \.\/(.*)$/| `\2` | `\1` |/'
} > "$to/README.md"
