// Servers made with the MCP SDKs for TypeScript, on standard input and output: `node mcp_server.mjs WHICH`.
//
// WHICH is `new` for the newer package (@modelcontextprotocol/server), which speaks both protocols, or `sdk` for the older
// one (@modelcontextprotocol/sdk), which knows the older protocol alone. Run by test_mcp_server.py.

import { z } from "zod";

const which = process.argv[2];
const { McpServer } = await (which === "sdk"
  ? import("@modelcontextprotocol/sdk/server/mcp.js")
  : import("@modelcontextprotocol/server"));

// The newer package wants a schema of the whole, the older one of each parameter.
const whole = (parameters) => (which === "sdk" ? parameters : z.object(parameters));
const report = (extra, message) => (which === "sdk" ? extra.sendNotification(message) : extra.mcpReq.notify(message));
const tokenOf = (extra) => (which === "sdk" ? extra : extra.mcpReq)._meta?.progressToken;

function made() {
  const server = new McpServer({ name: "adder", version: "1" });
  const numbers = { a: z.int(), b: z.int() };
  const adds = { description: "Add two numbers.", inputSchema: whole(numbers), outputSchema: whole({ result: z.int() }) };
  server.registerTool("add", adds, ({ a, b }) => {
    return { content: [{ type: "text", text: `${a + b}` }], structuredContent: { result: a + b } };
  });
  server.registerTool("slow", { inputSchema: whole({}) }, async (_, extra) => {
    for (const progress of [1, 2]) {
      const params = { progressToken: tokenOf(extra), progress, total: 2 };
      await report(extra, { method: "notifications/progress", params });
    }
    return { content: [{ type: "text", text: "done" }] };
  });
  server.registerTool("fail", {}, () => {
    throw new Error("fail: it is broken");
  });
  return server;
}

if (which === "sdk") {
  const { StdioServerTransport } = await import("@modelcontextprotocol/sdk/server/stdio.js");
  await made().connect(new StdioServerTransport());
} else {
  const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
  serveStdio(made);
}
