// A server with vscode-jsonrpc on standard input and output.
import * as rpc from "vscode-jsonrpc/node";

const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(process.stdin),
  new rpc.StreamMessageWriter(process.stdout),
);
const notes = [];
let cancelled = 0;
connection.onRequest("text/upper", ({ text, times = 1 }) => text.toUpperCase().repeat(times));
connection.onRequest("text/placed", (text, times) => text.repeat(times));
connection.onRequest("fail", () => new rpc.ResponseError(-32001, "there is none", { which: 7 }));
connection.onRequest("ask", (method, value) => connection.sendRequest(method, value));
connection.onRequest("hang", (token) => new Promise((resolve) => {
  token.onCancellationRequested(() => {
    cancelled += 1;
    resolve(null);
  });
}));
connection.onRequest("told", () => ({ notes, cancelled }));
connection.onNotification("note", (text) => notes.push(text));
connection.onClose(() => process.exit(0));
connection.listen();
