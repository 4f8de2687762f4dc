// The clients of the MCP SDKs for TypeScript: `node mcp_client.mjs WHICH URL TOKEN` uses what is served there.
//
// WHICH is `new` or `old` for the protocol that the newer package (@modelcontextprotocol/client) is to speak, or `sdk` for
// the older package (@modelcontextprotocol/sdk). Run by test_mcp_http.py. Says `used` when all was as it should be.

import assert from "node:assert/strict";

const [which, url, token] = process.argv.slice(2);
const about = { name: "test", version: "1" };
let client, transport;
const options = { requestInit: { headers: { authorization: `Bearer ${token}` } } };
if (which === "sdk") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  client = new Client(about);
  transport = new StreamableHTTPClientTransport(new URL(url), options);
} else {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  client = new Client(about, which === "new" ? { versionNegotiation: { mode: "auto" } } : {});
  transport = new StreamableHTTPClientTransport(new URL(url), options);
}

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
assert.deepEqual(reports, [1, 2]);
const missing = await call("office.Clerk.open", { name: "none" });
assert.equal(missing.isError, true);
assert.equal(missing.content[0].text, "not_found: no file 'none'");
await client.close();
console.log("used");
