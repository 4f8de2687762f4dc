// `node in_node.js URL TOKEN`, by the package ws.

import WebSocket from "ws";
import { converse } from "./conversation.js";

const [url, token] = process.argv.slice(2);
await converse(new WebSocket(url, ["capnet.1", `capnet.token.${token}`]));
console.log("conversed");
