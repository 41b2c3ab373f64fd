// Questions to the server. What goes wrong comes back as a sentence; what passes by itself is tried again.

export class Fault extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

const PAUSE_MS = 1000;
const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
});

/** fetch() that waits for a server that is away or busy. say(sentence) tells the person why. */
async function patiently(address, options, say) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(address, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      say("The server does not answer. Start it again (make serve); this page goes on by itself then.");
      await pause(PAUSE_MS, options.signal);
      continue;
    }
    if (answer.ok) return answer;
    const sentence = await sentenceOf(answer);
    if (answer.status !== 503 || !answer.headers.has("retry-after")) throw new Fault(sentence, answer.status);
    say(sentence);
    await pause(1000 * Number(answer.headers.get("retry-after")), options.signal);
  }
}

async function sentenceOf(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `The server answered with status ${answer.status}.`;
  }
}

/** The answer to a query: {of} of an image the server has, or {file} of a new one. */
export async function search({ of, file, k, T }, signal, say) {
  const words = new URLSearchParams({ k });
  if (T) words.set("T", T);
  if (!file) words.set("of", of);
  const answer = await patiently(`/api/search?${words}`, { method: "POST", body: file, signal }, say);
  return answer.json();
}

export async function json(address, say = () => {}) {
  return (await patiently(address, {}, say)).json();
}

export async function bytes(address, say = () => {}) {
  return (await patiently(address, {}, say)).arrayBuffer();
}

/** Addresses of pictures of "train/7", "test/7", "upload/key". */
export function small(of) {
  const [split, row] = of.split("/");
  return split === "upload" ? `/api/upload/${row}` : `/api/thumb/${row}?split=${split}`;
}

export function original(of) {
  const [split, row] = of.split("/");
  return split === "upload" ? `/api/upload/${row}` : `/api/image/${row}?split=${split}`;
}
