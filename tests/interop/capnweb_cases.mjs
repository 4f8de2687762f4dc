// What a client in JavaScript does with the lounge, with the released `capnweb`: in node and in pages.

import { RpcPromise, RpcTarget, newHttpBatchRpcSession, newWebSocketRpcSession } from "capnweb";

let address; // HOST:PORT
const open = () => newWebSocketRpcSession(`ws://${address}/`);
const batch = () => newHttpBatchRpcSession(`http://${address}/`);

const assert = {
  ok(value, text = "it is not so") {
    if (!value) throw new Error(text);
  },
  fail(text) {
    throw new Error(text);
  },
  equal(found, wanted) {
    assert.ok(Object.is(found, wanted), `${shown(found)} is not ${shown(wanted)}`);
  },
  deepEqual(found, wanted) {
    assert.ok(same(found, wanted), `${shown(found)} is not ${shown(wanted)}`);
  },
  match(text, pattern) {
    assert.ok(pattern.test(text), `${text} does not match ${pattern}`);
  },
};

function shown(value) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? `${one}n` : one)) ?? String(value);
}

function same(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  if (one instanceof Date) return one.getTime() === other.getTime();
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => same(one[key], other[key]));
}

class Listener extends RpcTarget {
  said = [];
  disposed = false;
  heard(text, number, options) {
    this.said.push([text, number, options]);
    return this.said.length;
  }
  numbers(to) {
    return new ReadableStream({
      start(controller) {
        for (let number = 0; number < to; number++) controller.enqueue(number);
        controller.close();
      },
    });
  }
  when(at) {
    return new Date(at.getTime() + 2 * 86400_000);
  }
  friend() {
    return new Listener();
  }
  [Symbol.dispose]() {
    this.disposed = true;
  }
}

async function read(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

function lines(...texts) {
  return new ReadableStream({
    start(controller) {
      for (const text of texts) controller.enqueue(text);
      controller.close();
    },
  });
}

async function error(promise) {
  try {
    await promise;
  } catch (found) {
    return found;
  }
  assert.fail("no error");
}

async function until(condition) {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 6000, "it has not come");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const cases = {
  async calls(api) {
    assert.equal(await api.hello("ann"), "hello ann");
    assert.equal(await api.hello("ann", "good day"), "good day ann");
    assert.equal(await api.hello("ann", undefined), "hello ann");
    assert.equal(await api.half(3), 1.5);
    assert.equal(await api.half(4), 2);
  },
  async pipelining(api) {
    const room = api.open("pipelined");
    room.post("hi");
    assert.equal(await room.post("hi", { author: "ann" }), 2);
    assert.deepEqual(await room.texts(), ["me: hi", "ann: hi"]);
    assert.equal(await room.info().topic, "pipelined");
    assert.equal(await room.info().tags[1], "b");
    assert.equal(await room.info().nothing, undefined);
    assert.equal(await api.square(api.numbers()[1]), 4);
    assert.equal(await api.open(room.info().tags[0]).info().topic, "a");
  },
  async stubs(api) {
    const room = await api.open("held");
    await room.post("one");
    const other = api.open("other");
    await other.post("two");
    assert.deepEqual(await api.merge(room, other), ["me: one", "me: two"]);
    const twice = room.dup();
    assert.equal(await twice.post("three"), 2);
    const again = await api.open("held");
    assert.deepEqual(await again.texts(), ["me: one", "me: three"]);
    for (const one of [room, twice]) one[Symbol.dispose]();
    assert.equal(await again.post("four"), 3);
    again[Symbol.dispose]();
  },
  async functions(api) {
    assert.deepEqual(await api.each((number) => number * 10), [[0, 0], [1, 10], [2, 20]]);
    assert.deepEqual(await api.all([(one) => one + 1, async (one) => one + 5]), [1, 6]);
    const add = await api.adder(5);
    assert.equal(await add(4), 9);
    assert.equal(await api.adder(2)(3), 5);
  },
  async targets(api) {
    const listener = new Listener();
    assert.deepEqual(await api.listen(listener), [1, 2, 0, 1, 2, 2, 1]);
    assert.deepEqual(listener.said, [["a", undefined, undefined], ["b", 2, { loud: true }]]);
    await until(() => listener.disposed);
  },
  async targets_come_home(api) {
    const listener = new Listener();
    await api.keep(listener);
    const home = await api.kept();
    assert.equal(await home.heard("home"), 1);
    home[Symbol.dispose]();
    assert.equal(await api.kept().heard("pipelined"), 2);
    assert.equal(listener.disposed, false);
    await api.drop();
    await until(() => listener.disposed);
  },
  async promises(api) {
    assert.equal(await api.square(new RpcPromise(Promise.resolve(7))), 49);
    const failed = await error(api.square(new RpcPromise(Promise.reject(new RangeError("no")))));
    assert.match(failed.message, /no/);
  },
  async errors(api) {
    const found = await error(api.fail("not_found"));
    assert.ok(found instanceof Error);
    assert.equal(found.message, "no such room");
    assert.equal(found.code, "not_found");
    assert.equal(found.reason, "room");
    assert.deepEqual(found.details, { which: 7 });
    assert.ok(!/secret/.test((await error(api.fail("other"))).message));
    assert.ok((await error(api.missing())) instanceof TypeError);
    assert.equal((await error(api.hello())).code, "invalid_argument");
    assert.equal((await error(api.hello(1))).code, "invalid_argument");
    assert.equal((await error(api.hello("a", "b", "c"))).code, "invalid_argument");
    assert.equal((await error(api.fail("not_found").anything.at.all())).code, "not_found");
    assert.equal((await error(api.odd())).reason, "unencodable_result");
    class Mine extends Error {
      code = "not_found";
      reason = "mine";
    }
    const back = await error(api.each(() => { throw new Mine("of the client"); }));
    assert.deepEqual([back.code, back.reason, back.message], ["not_found", "mine", "of the client"]);
  },
  async values(api) {
    for (const value of [null, true, 1, -1.5, Infinity, NaN, "ö€", [], [[1], []], {}, { a: [{ b: null }] }, 2n ** 60n]) {
      assert.deepEqual(await api.same(value), value);
    }
    assert.equal(await api.same(undefined), null);
    assert.deepEqual(await api.same({ a: undefined, b: 1 }), { b: 1 });
    assert.deepEqual(new Uint8Array(await api.data(new Uint8Array([1, 2, 3]))), new Uint8Array([3, 2, 1]));
    assert.deepEqual(await api.after(new Date(0)), new Date(86400_000));
    const info = await api.open("dated").info();
    assert.deepEqual([info.opened, info.last], [new Date("2026-01-02T03:04:05Z"), null]);
    for (const value of [new Date(), new Float32Array(2), 2n ** 70n, new Error("x"), new Headers(), new Request("http://a/"), new Response("b")]) {
      assert.equal((await error(api.same(value))).code, "invalid_argument");
    }
    assert.equal(await api.same(new URL("http://a/b")), "http://a/b");
  },
  async maps(api) {
    assert.deepEqual(
      await api.numbers().map((one) => [one, api.square(one)]),
      [[1, 1], [2, 4], [3, 9]],
    );
    await api.open("x");
    const topics = await api.rooms().map((room) => ({ topic: room.info().topic, said: room.texts() }));
    assert.ok(topics.some((one) => one.topic === "x"));
    assert.equal((await error(api.title)).code, "unimplemented");
    assert.deepEqual(await api.same(null).map((one) => api.square(one)), null);
    assert.deepEqual(await api.square(3).map((one) => api.square(one)), 81);
  },
  async uploads(api) {
    assert.equal(await api.upload(lines("abc", "de")), 5);
    assert.equal(await api.upload(lines()), 0);
    assert.deepEqual(await api.moments(lines(new Date(0))), ["1970-01-01T00:00:00+00:00"]);
    let sent = 0;
    const many = new ReadableStream({
      pull(controller) {
        controller.enqueue("x".repeat(1000));
        if (++sent === 1000) controller.close();
      },
    });
    assert.equal(await api.upload(many), 1000_000);
    let cancelled = false;
    const endless = new ReadableStream({
      pull(controller) { controller.enqueue("only"); },
      cancel() { cancelled = true; },
    });
    assert.equal(await api.first(endless), "only");
    await until(() => cancelled);
    const failing = new ReadableStream({ start(controller) { controller.error(new Error("torn")); } });
    await error(api.upload(failing));
  },
  async downloads(api) {
    assert.deepEqual(await read(await api.download(3)), ["line 0", "line 1", "line 2"]);
    assert.equal((await read(await api.download(1000))).length, 1000);
    for await (const line of await api.download(100000)) {
      assert.equal(line, "line 0");
      break;
    }
    const found = await error(read(await api.broken()));
    assert.equal(found.code, "not_found");
  },
  async writables(api) {
    const got = [];
    let closed = false;
    const sink = new WritableStream({ write: (one) => { got.push(one); }, close: () => { closed = true; } });
    assert.equal(await api.fill(sink, 500), 500);
    await until(() => closed);
    assert.deepEqual(got, [...Array(500).keys()]);
    const box = await api.box();
    const boxed = api.boxed();
    boxed.then(() => {});
    const writer = box.getWriter();
    await writer.write("one");
    await writer.write("two");
    await writer.close();
    assert.deepEqual(await boxed, ["one", "two"]);
  },
  async given_up(api) {
    const promise = api.slow();
    promise.catch(() => {});
    await api.hello("ann");
    promise[Symbol.dispose]();
    assert.equal(await api.hello("ann"), "hello ann");
  },
  async many(api) {
    for (let round = 0; round < 6; round++) {
      await Promise.all(Array.from({ length: 100 }, () => api.open("many").info()));
    }
  },
};

const batches = {
  async batch() {
    const api = batch();
    const room = api.open("batch");
    const posted = room.post("hi");
    const squares = api.numbers().map((one) => api.square(one));
    const failed = error(api.fail("not_found"));
    assert.deepEqual(await Promise.all([posted, room.texts(), squares]), [1, ["me: hi"], [1, 4, 9]]);
    assert.equal((await failed).code, "not_found");
  },
  async batch_calls_nobody_back() {
    const found = await error(batch().each((one) => one));
    assert.deepEqual([found.code, found.reason], ["unavailable", "batch"]);
  },
  async ends() {
    const api = open();
    let broken;
    api.onRpcBroken((reason) => { broken = reason; });
    await api.hello("ann");
    api[Symbol.dispose]();
    await until(() => broken);
  },
};

// Does all of it at an address, and reports a line for each case.
export async function converse(where, report) {
  address = where;
  for (const [name, run] of [...Object.entries(cases), ...Object.entries(batches)]) {
    const api = name in cases ? open() : undefined;
    try {
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("it takes too long")), 60_000);
      });
      await Promise.race([run(api), late]);
      clearTimeout(timer);
      report(`ok ${name}`);
    } catch (found) {
      report(`failed ${name}: ${found.stack ?? found}`);
    }
    api?.[Symbol.dispose]();
  }
}
