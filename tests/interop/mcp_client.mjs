// The clients of the MCP SDKs for TypeScript: `node mcp_client.mjs WHICH URL TOKEN` uses what is served there, and
// `node mcp_client.mjs WHICH COMMAND…` what a program offers on its standard input and output.
//
// WHICH is `new` or `old` for the protocol that the newer package (@modelcontextprotocol/client) is to speak, or `sdk` for
// the older package (@modelcontextprotocol/sdk). Run by test_mcp_http.py and test_mcp_sdk.py. Says `used` when all was as
// it should be.

import assert from "node:assert/strict";

const [which, first, ...rest] = process.argv.slice(2);
const byHttp = first.startsWith("http:");
const about = { name: "test", version: "1" };
const options = byHttp
  ? { requestInit: { headers: { authorization: `Bearer ${rest[0]}` } } }
  : { command: first, args: rest, env: process.env };
let Client, Http, Stdio;
if (which === "sdk") {
  ({ Client } = await import("@modelcontextprotocol/sdk/client/index.js"));
  ({ StreamableHTTPClientTransport: Http } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js"));
  ({ StdioClientTransport: Stdio } = await import("@modelcontextprotocol/sdk/client/stdio.js"));
} else {
  ({ Client, StreamableHTTPClientTransport: Http } = await import("@modelcontextprotocol/client"));
  ({ StdioClientTransport: Stdio } = await import("@modelcontextprotocol/client/stdio"));
}
const transport = byHttp ? new Http(new URL(first), options) : new Stdio(options);
const client = new Client(about, which === "new" ? { versionNegotiation: { mode: "auto" } } : {});

await client.connect(transport);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
assert(tools.includes("office.Clerk.open") && tools.includes("capnet.next"));
const call = (name, args, more) =>
  which === "sdk" ? client.callTool({ name, arguments: args }, undefined, more) : client.callTool({ name, arguments: args }, more);
const opened = await call("office.Clerk.open", { name: "tea" });
const cap = opened.structuredContent.result;
const reports = [];
const followed = await call("office.File.follow", { cap, count: 2 }, { onprogress: (report) => reports.push(report.progress) });
assert.deepEqual(followed.structuredContent.result.map((note) => note.text), ["0", "1"]);
// By standard input and output they may come in one piece with the answer, and then these SDKs look at the answer first.
assert.deepEqual(reports, byHttp ? [1, 2] : [1, 2].slice(0, reports.length));
const missing = await call("office.Clerk.open", { name: "none" });
assert.equal(missing.isError, true);
assert.equal(missing.content[0].text, "not_found: no file 'none'");
const givenUp = new AbortController();
setTimeout(() => givenUp.abort(), 50);
await assert.rejects(call("office.Clerk.hang", {}, { signal: givenUp.signal }));
await assert.rejects(call("office.Clerk.none", {}), (error) => error.code === -32602);
await client.close();
console.log("used");
