// A small peer of capnet, over anything that has the face of a browser's WebSocket. Enough for tests: calls both ways,
// capabilities both ways, streams that come. Written from docs/reference/wire.md, not from the library.

import { CAP, STREAM, Reference, decode, encode } from "./codec.js";

const MAX_FRAME = 1024 * 1024, ITEMS = 16, BYTES = 65536;

export class RemoteError extends Error {
  constructor(code, message, details) {
    super(message);
    this.code = code;
    this.details = details ?? {};
  }
}

/** A capability of the other side's. */
export class Remote {
  constructor(peer, id, ...contract) {
    this.peer = peer;
    this.id = id;
    this.contract = contract;
  }
  call(method, args = {}) {
    return this.peer.call(this.id, method, args);
  }
  release() {
    this.peer.send([11, [[this.id, 1]]]);
  }
}

export class Peer {
  #socket;
  #unread = new Uint8Array(0);
  #calls = new Map();
  #streams = new Map();
  #exports = new Map();
  #lastCall = 0;
  #lastExport = 1;
  #greeted = false;

  /** @param socket open, or about to be. */
  constructor(socket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.closed = new Promise((resolve) => {
      socket.onclose = (event) => {
        this.#end(new RemoteError("unavailable", `closed with ${event.code}`));
        resolve(event.code);
      };
    });
    socket.onmessage = (event) => {
      try {
        this.#receive(new Uint8Array(event.data));
      } catch (error) {
        this.#end(error);
        this.send([16, "P-OP", String(error)]);
        socket.close();
      }
    };
    this.opened = new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new RemoteError("unavailable", "not let in"));
    }).then(() => this.send([0, "capnet", [1, 1], { name: "js", max_frame: MAX_FRAME, stream_items: ITEMS, stream_bytes: BYTES }]));
  }

  bootstrap(name) {
    return this.call(0, "bootstrap", { name });
  }

  call(target, method, args) {
    const id = ++this.#lastCall;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.send([2, id, target, method, this.#leaving(args)]);
    });
  }

  /** Something of ours that the other side may call: an object with functions. */
  lend(interfaceName, object) {
    const id = ++this.#lastExport;
    this.#exports.set(id, object);
    return new Reference(CAP, id, interfaceName, 1);
  }

  /** What is lent, and what comes: all of it should be 0 in the end. */
  get counts() {
    return { exports: this.#exports.size, streams: this.#streams.size, calls: this.#calls.size };
  }

  close() {
    this.send([1, 0, "unavailable", "", 0]);
    this.#socket.close(1000);
    return this.closed;
  }

  send(frame) {
    const body = encode(frame);
    const whole = new Uint8Array(4 + body.length);
    new DataView(whole.buffer).setUint32(0, body.length);
    whole.set(body, 4);
    this.#socket.send(whole);
  }

  #receive(message) {
    const unread = new Uint8Array(this.#unread.length + message.length);
    unread.set(this.#unread);
    unread.set(message, this.#unread.length);
    let at = 0;
    while (unread.length - at >= 4) {
      const size = new DataView(unread.buffer).getUint32(at);
      if (size > MAX_FRAME) throw new RangeError("a frame that is too long");
      if (unread.length - at - 4 < size) break;
      this.#take(decode(unread.subarray(at + 4, at + 4 + size)), size);
      at += 4 + size;
    }
    this.#unread = unread.slice(at);
  }

  #take([op, ...rest], size) {
    if (this.#greeted !== (op !== 0)) throw new RangeError("a hello comes first, and once");
    switch (op) {
      case 0:
        this.#greeted = rest[0] === "capnet" && rest[1][0] <= 1;
        if (!this.#greeted) throw new RangeError("no common version");
        return;
      case 1: return this.#end(new RemoteError(rest[1], rest[2]));
      case 2: return void this.#answer(...rest);
      case 3: return this.#called(rest[0]).resolve(this.#arriving(rest[1]));
      case 4: return this.#called(rest[0]).reject(new RemoteError(...rest.slice(1)));
      case 7: return this.#streams.get(rest[0])?.items(rest[1].map((item) => this.#arriving(item)), size);
      case 8: case 10: return; // we produce no streams
      case 9: return this.#streams.get(rest[0])?.end(rest.length > 1 ? new RemoteError(...rest.slice(1)) : null);
      case 11: return rest[0].forEach(([id]) => this.#exports.delete(id));
      case 5: case 6: case 12: case 13: case 15: return;
      case 14: return this.send([15, rest[0]]);
      case 16: throw new RangeError(`we have broken ${rest[0]}: ${rest[1]}`);
      default: if (op < 64) throw new RangeError(`no op ${op}`);
    }
  }

  #called(id) {
    const call = this.#calls.get(id);
    if (!call) throw new RangeError("an answer to no call");
    this.#calls.delete(id);
    return call;
  }

  async #answer(id, target, method, args) {
    let frame;
    try {
      const object = this.#exports.get(target);
      if (!object || !Object.hasOwn(object, method)) throw new RemoteError("unimplemented", `no ${method}`);
      frame = [3, id, this.#leaving(await object[method](this.#arriving(args)))];
    } catch (error) {
      frame = [4, id, error.code ?? "internal", error.message];
    }
    if (id) this.send(frame);
    else this.send([8, 0, 1, 0]);
  }

  #arriving(value) {
    if (value instanceof Reference) return this.#referred(value);
    if (Array.isArray(value)) return value.map((item) => this.#arriving(item));
    if (value && Object.getPrototypeOf(value) === null) {
      for (const key of Object.keys(value)) value[key] = this.#arriving(value[key]);
    }
    return value;
  }

  #referred({ tag, content: [id, ...rest] }) {
    if (tag === CAP) return id > 0 ? new Remote(this, id, ...rest) : this.#exports.get(-id);
    if (rest[0] !== "out") throw new RangeError("this peer produces no streams");
    const stream = new Incoming(this, id, () => this.#streams.delete(id));
    this.#streams.set(id, stream);
    return stream;
  }

  #leaving(value) {
    if (value instanceof Remote) return new Reference(CAP, -value.id, ...value.contract);
    if (Array.isArray(value)) return value.map((item) => this.#leaving(item));
    if (!value || ![Object.prototype, null].includes(Object.getPrototypeOf(value))) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#leaving(item)]));
  }

  #end(error) {
    for (const { reject } of this.#calls.values()) reject(error);
    for (const stream of this.#streams.values()) stream.end(error);
    this.#calls.clear();
    this.#streams.clear();
  }
}

/** A stream of the other side's: `for await` takes its items, and gives credit for each that was taken. */
class Incoming {
  #peer; #id; #ended; #wake;
  #items = [];
  #error = null;
  #over = false;
  #stopped = false;

  constructor(peer, id, ended) {
    this.#peer = peer;
    this.#id = id;
    this.#ended = ended;
  }

  items(items, size) {
    if (this.#stopped) return;
    items.forEach((item, at) => this.#items.push([item, at === items.length - 1 ? size : 0]));
    this.#wake?.();
  }

  end(error) {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#ended();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        while (this.#items.length) {
          const [item, bytes] = this.#items.shift();
          yield item;
          if (!this.#over) this.#peer.send([8, -this.#id, 1, bytes]);
        }
        if (this.#over) break;
        await new Promise((resolve) => (this.#wake = resolve));
      }
      if (this.#error) throw this.#error;
    } finally {
      this.#stopped = true;
      if (!this.#over) this.#peer.send([10, -this.#id]);
    }
  }
}
