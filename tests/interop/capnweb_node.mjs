// The cases in node: the address is the argument.

globalThis.WebSocket ??= (await import("ws")).WebSocket; // which node has of its own from version 22 on
const { converse } = await import("./capnweb_cases.mjs");

await converse(process.argv[2], (line) => console.log(line));
process.exit();
