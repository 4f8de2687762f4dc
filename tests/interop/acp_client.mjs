// An editor with @agentclientprotocol/sdk: starts the agent of its arguments, and prints what it has seen as JSON.
import { spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";

const [command, ...words] = process.argv.slice(2);
const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
const stream = acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout));
const { agent, client } = acp.methods;
const seen = { texts: [] };
const app = acp
  .client({ name: "editor" })
  .onRequest(client.session.requestPermission, ({ params }) => {
    seen.asked = params.options.map((option) => option.kind);
    return { outcome: { outcome: "selected", optionId: params.options[0].optionId } };
  })
  .onRequest(client.fs.readTextFile, ({ params }) => ({ content: params.path }))
  .onRequest(client.fs.writeTextFile, () => ({}))
  .onRequest(client.terminal.create, () => ({ terminalId: "t1" }))
  .onRequest(client.terminal.output, ({ params }) => ({ output: params.terminalId, truncated: false }))
  .onRequest(client.terminal.waitForExit, () => ({ exitCode: 0 }))
  .onRequest(client.terminal.kill, () => ({}))
  .onRequest(client.terminal.release, () => ({}))
  .onNotification(client.session.update, ({ params }) => seen.texts.push(params.update.content.text));

await app.connectWith(stream, async (ctx) => {
  const began = await ctx.request(agent.initialize, { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} });
  seen.version = began.protocolVersion;
  seen.login = await ctx.request(agent.authenticate, { methodId: "x" }).catch((error) => error.code);
  const { sessionId } = await ctx.request(agent.session.new, { cwd: "/work", mcpServers: [] });
  const prompt = (text, options) =>
    ctx.request(agent.session.prompt, { sessionId, prompt: [{ type: "text", text }] }, options);
  for (const text of ["permission", "read", "write", "terminal"]) {
    seen[text] = (await prompt(text)).stopReason;
  }
  seen.nobody = await ctx
    .request(agent.session.prompt, { sessionId: "none", prompt: [] })
    .catch((error) => [error.code, error.data.details.sessionId]);
  await ctx.request(agent.session.close, { sessionId });
  const other = await ctx.request(agent.session.new, { cwd: "/work", mcpServers: [] });
  const turn = ctx.request(agent.session.prompt, { ...other, prompt: [{ type: "text", text: "hang" }] });
  await ctx.notify(agent.session.cancel, { sessionId: other.sessionId });
  seen.cancelled = (await turn).stopReason;
  const third = await ctx.request(agent.session.new, { cwd: "/work", mcpServers: [] });
  const given = new AbortController();
  const options = { cancellationSignal: given.signal };
  const lost = ctx.request(agent.session.prompt, { ...third, prompt: [{ type: "text", text: "hang" }] }, options);
  await ctx.request(agent.session.list, {});
  given.abort();
  seen.lost = await lost.catch((error) => error.code);
});
child.stdin.end();
child.on("exit", (code) => {
  console.log(JSON.stringify(seen));
  process.exit(code);
});
