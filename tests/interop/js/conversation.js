// What a peer in JavaScript does at the host of test_javascript.py: the same in node and in a browser.

import { Float } from "./codec.js";
import { Peer } from "./peer.js";

function expect(seen, wanted) {
  const show = (value) =>
    JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `${item}n` : Object.is(item, -0) ? "-0" : item));
  if (show(seen) !== show(wanted)) throw new Error(`${show(seen)} is not ${show(wanted)}`);
}

async function refused(promise, code) {
  try {
    await promise;
  } catch (error) {
    expect(error.code, code);
    return error;
  }
  throw new Error(`should have been refused: ${code}`);
}

/** @returns how many steps were taken. */
export async function converse(socket) {
  const peer = new Peer(socket);
  await peer.opened;
  const office = await peer.bootstrap("js.Office");

  expect(await office.call("add", { a: 2, b: 3 }), 5);
  for (const number of [0, -1, 23, 24, 2 ** 32, -(2 ** 32) - 1, Number.MAX_SAFE_INTEGER, 2n ** 62n, -(2n ** 62n)]) {
    expect(await office.call("add", { a: number, b: 0 }), number);
  }
  const values = [null, true, "ä😀", "", 0.1, -0, 1e300, [[], {}], { a: { b: [1] } }];
  for (const value of values) expect(await office.call("echo", { value }), value);
  expect(await office.call("echo", { value: Infinity }) === Infinity, true);
  expect(Number.isNaN(await office.call("echo", { value: NaN })), true);
  expect(await office.call("echo", { value: new Float(2) }), 2);
  const bytes = new Uint8Array(200_000).fill(7);
  expect((await office.call("echo", { value: bytes })).length, bytes.length);

  await refused(office.call("add", { a: "2", b: 3 }), "invalid_argument");
  await refused(office.call("nothing"), "unimplemented");
  expect((await refused(office.call("fail"), "not_found")).details.reason, "no_such_file");

  const desk = await office.call("open", { name: "tea" });
  expect(await desk.call("name"), "tea");
  expect(await office.call("greet", { desk }), "hello tea");
  desk.release();

  const heard = [];
  const listener = peer.lend("js.Listener", {
    heard: async ({ text }) => (heard.push(text), text.length),
    named: async () => {
      throw Object.assign(new Error("no name"), { code: "not_found" });
    },
  });
  expect(await office.call("tell", { listener, times: 3 }), 6);
  expect(heard, ["hi", "hi", "hi"]);

  const seen = [];
  for await (const number of await office.call("count", { to: 1000 })) seen.push(number);
  expect(seen.length, 1000);
  expect(seen.at(-1), 999);
  for await (const number of await office.call("count", { to: 1_000_000 })) if (number === 20) break;

  const many = await Promise.all(Array.from({ length: 16 }, (_, n) => office.call("add", { a: n, b: n })));
  expect(many, Array.from({ length: 16 }, (_, n) => 2 * n));
  office.release();
  await office.call("add", { a: 1, b: 1 }).then(() => { throw new Error("it was given back"); }, () => {});
  // What was stopped ends when the host says so, which may come after all else.
  for (let waits = 0; peer.counts.streams && waits < 6000; waits++) await new Promise((go) => setTimeout(go, 10));
  expect(peer.counts, { exports: 0, streams: 0, calls: 0 });
  await peer.close();
  return values.length;
}
