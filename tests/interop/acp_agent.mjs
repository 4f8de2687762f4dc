// An agent with @agentclientprotocol/sdk on standard input and output: it does what a prompt says.
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";

const { agent, client } = acp.methods;
const turns = new Map();
const sessions = new Set();
const told = { cancelled: 0, aborted: 0 };

async function turn({ params, client: editor, signal }) {
  const { sessionId, prompt } = params;
  const text = prompt[0].text;
  if (!sessions.has(sessionId)) throw acp.RequestError.resourceNotFound(sessionId);
  let answer = null;
  if (text === "permission") {
    const options = [{ optionId: "yes", name: "Yes", kind: "allow_once" }];
    answer = await editor.request(client.session.requestPermission, {
      sessionId,
      toolCall: { toolCallId: "1" },
      options,
    });
  } else if (text === "read") {
    answer = await editor.request(client.fs.readTextFile, { sessionId, path: "/a" });
  } else if (text === "terminal") {
    const terminal = await editor.createTerminal({ sessionId, command: "ls" });
    answer = [await terminal.waitForExit(), await terminal.currentOutput()];
    await terminal.release();
  } else if (text === "hang") {
    await new Promise((resolve, reject) => {
      turns.set(sessionId, resolve);
      signal.addEventListener("abort", () => {
        told.aborted += 1;
        reject(acp.RequestError.requestCancelled());
      });
    });
    return { stopReason: "cancelled" };
  } else if (text === "told") {
    answer = told;
  }
  for (const part of [`you said ${text}`, JSON.stringify(answer)]) {
    const content = { type: "text", text: part };
    await editor.notify(client.session.update, {
      sessionId,
      update: { sessionUpdate: "agent_message_chunk", content },
    });
  }
  return { stopReason: "end_turn" };
}

const connection = acp
  .agent({ name: "agent" })
  .onRequest(agent.initialize, () => ({ protocolVersion: acp.PROTOCOL_VERSION, agentCapabilities: {} }))
  .onRequest(agent.session.new, () => {
    const sessionId = `s${sessions.size}`;
    sessions.add(sessionId);
    return { sessionId };
  })
  .onRequest(agent.session.prompt, turn)
  .onNotification(agent.session.cancel, ({ params }) => {
    told.cancelled += 1;
    turns.get(params.sessionId)?.();
  })
  .connect(acp.ndJsonStream(Writable.toWeb(process.stdout), Readable.toWeb(process.stdin)));
await connection.closed;
