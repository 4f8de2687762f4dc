// Values as they travel (docs/reference/wire.md, P-FRAME-4 and P-REF), and nothing else. Integers beyond 2⁵³ are bigint.

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export const CAP = 52411, STREAM = 52413;
const MAX_DEPTH = 64, MAX_VALUES = 65536;

/** A reference: its tag, and what is under that. */
export class Reference {
  constructor(tag, ...content) {
    this.tag = tag;
    this.content = content;
  }
}

/** A number that is to stay one with a fraction. */
export class Float {
  constructor(value) {
    this.value = value;
  }
}

export function encode(value) {
  const out = [];
  write(out, value);
  return Uint8Array.from(out);
}

function head(out, major, count) {
  const first = major << 5;
  const n = BigInt(count);
  const size = n < 24n ? 0 : n < 0x100n ? 1 : n < 0x10000n ? 2 : n < 0x100000000n ? 4 : 8;
  if (!size) return out.push(first | Number(n));
  out.push(first | { 1: 24, 2: 25, 4: 26, 8: 27 }[size]);
  for (let at = size - 1; at >= 0; at--) out.push(Number((n >> BigInt(8 * at)) & 0xffn));
}

function append(out, bytes) {
  for (const byte of bytes) out.push(byte);
}

function write(out, value) {
  if (value === null || value === undefined) return out.push(0xf6);
  if (typeof value === "boolean") return out.push(value ? 0xf5 : 0xf4);
  if (typeof value === "bigint") return value < 0n ? head(out, 1, -1n - value) : head(out, 0, value);
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    return value < 0 ? head(out, 1, -1 - value) : head(out, 0, value);
  }
  if (typeof value === "number" || value instanceof Float) {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, typeof value === "number" ? value : value.value);
    out.push(0xfb);
    return append(out, new Uint8Array(bytes.buffer));
  }
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new RangeError("this text has half of a character");
    const bytes = utf8.encode(value);
    head(out, 3, bytes.length);
    return append(out, bytes);
  }
  if (value instanceof Uint8Array) {
    head(out, 2, value.length);
    return append(out, value);
  }
  if (value instanceof Reference) {
    head(out, 6, value.tag);
    return write(out, value.content);
  }
  if (Array.isArray(value)) {
    head(out, 4, value.length);
    return value.forEach((item) => write(out, item));
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  head(out, 5, entries.length);
  for (const [key, item] of entries) {
    write(out, key);
    write(out, item);
  }
}

/** The one value in these bytes. */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.read(0);
  if (reader.at !== bytes.length) throw new RangeError("bytes behind the value");
  return value;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.values = 0;
  }

  take(size) {
    if (size > this.bytes.length - this.at) throw new RangeError("the frame ends inside of a value");
    const begin = this.at;
    this.at += size;
    return begin;
  }

  count(low) {
    if (low < 24) return low;
    switch (low) {
      case 24: return this.view.getUint8(this.take(1));
      case 25: return this.view.getUint16(this.take(2));
      case 26: return this.view.getUint32(this.take(4));
      case 27: {
        const n = this.view.getBigUint64(this.take(8));
        return n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : n;
      }
      default: throw new RangeError("a head that does not travel");
    }
  }

  read(depth) {
    if (++this.values > MAX_VALUES) throw new RangeError("too many values");
    const first = this.view.getUint8(this.take(1));
    const major = first >> 5, low = first & 31;
    if (major === 7) return this.simple(low);
    const n = this.count(low);
    if (major === 0) return n;
    if (major === 1) return typeof n === "bigint" || n === Number.MAX_SAFE_INTEGER ? -1n - BigInt(n) : -1 - n;
    if (typeof n === "bigint") throw new RangeError("longer than anything");
    if (major === 2) return this.bytes.slice(this.take(n), this.at);
    if (major === 3) return text.decode(this.bytes.subarray(this.take(n), this.at));
    if (depth >= MAX_DEPTH || n > (this.bytes.length - this.at) && major !== 6) throw new RangeError("too deep, or cut");
    if (major === 4) return Array.from({ length: n }, () => this.read(depth + 1));
    if (major === 6) {
      const content = this.read(depth + 1);
      if (![CAP, STREAM].includes(n) || !Array.isArray(content)) throw new RangeError("a tag that does not travel");
      return new Reference(n, ...content);
    }
    const map = Object.create(null);
    for (let left = n; left > 0; left--) {
      const key = this.read(depth + 1);
      if (typeof key !== "string" || key in map) throw new RangeError("a key that does not travel");
      map[key] = this.read(depth + 1);
    }
    return map;
  }

  simple(low) {
    switch (low) {
      case 20: return false;
      case 21: return true;
      case 22: return null;
      case 25: return half(this.view.getUint16(this.take(2)));
      case 26: return this.view.getFloat32(this.take(4));
      case 27: return this.view.getFloat64(this.take(8));
      default: throw new RangeError("a value that does not travel");
    }
  }
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 0x3ff;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}
