// Reads a JSON array of AsyncAPI documents; writes, for each, what AsyncAPI's own parser has against it.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const parser = new Parser();
const found = [];
for (const document of JSON.parse(readFileSync(0, 'utf8'))) {
  const { diagnostics } = await parser.parse(JSON.stringify(document));
  found.push(diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path: path.join('.'), message })));
}
process.stdout.write(JSON.stringify(found));
