// A client with vscode-jsonrpc: starts the program of its arguments, and prints what it has seen as JSON.
import { spawn } from "node:child_process";
import * as rpc from "vscode-jsonrpc/node";

const [command, ...words] = process.argv.slice(2);
const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(child.stdout),
  new rpc.StreamMessageWriter(child.stdin),
);
const told = (error) => [error.code, error.data?.code];
const seen = {};
connection.onRequest("client/yes", (text, number) => text.length > number);
connection.listen();

seen.named = await connection.sendRequest("odd.data", { data: "AQI=", flag: true });
seen.placed = await connection.sendRequest("odd.data", rpc.ParameterStructures.byPosition, "AQI=");
const handle = await connection.sendRequest("office.Clerk.open", "tea");
seen.read = await connection.sendRequest(`${handle}.read`);
seen.argument = await connection.sendRequest("office.Clerk.count", { reader: handle });
seen.callback = await connection.sendRequest("office.Clerk.each", { name: "tea", do: "client/yes" });
seen.missing = await connection.sendRequest("office.Clerk.open", "none").catch(told);
seen.unknown = await connection.sendRequest("nothing").catch(told);
await connection.sendNotification("office.Clerk.keep", ["x"]);
const source = new rpc.CancellationTokenSource();
const hangs = connection.sendRequest("office.Clerk.hang", source.token).catch(told);
await connection.sendRequest("odd.data", "");
source.cancel();
seen.cancelled = await hangs;

connection.dispose();
child.stdin.end();
child.on("exit", (code) => {
  console.log(JSON.stringify(seen));
  process.exit(code);
});
