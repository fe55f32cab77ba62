// Ask the server. Busy answers are asked again after the time they name; every other error has a sentence to show.

const TRIES = 6;

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function reasonOf(answer) {
  try {
    return (await answer.json()).error ?? `error ${answer.status}`;
  } catch {
    return `error ${answer.status}`;
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function ask(path, options = {}) {
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(path, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server does not answer. Is sightline explore still running?", 0);
    }
    if (answer.ok) return answer;
    const again = answer.headers.get("retry-after");
    if (answer.status !== 503 || !again || attempt === TRIES) throw new Failure(await reasonOf(answer), answer.status);
    await pause(Math.min(Number(again) || 1, 10) * (0.5 + Math.random()));
  }
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value != null));

export const start = async () => (await ask("api/start")).json();

export const predictions = async (picture, net, signal) =>
  (await (await ask(`api/predictions?${query({ picture, net })}`, { signal })).json()).classes;

export const maps = async (what, signal) => (await ask(`api/maps?${query(what)}`, { signal })).arrayBuffer();

export const send = async (file) =>
  (await ask("api/pictures", { method: "POST", body: file, headers: { "content-type": file.type || "application/octet-stream" } })).json();

export const forget = () => ask("api/forget", { method: "POST" });

export const data = async (wanted) =>
  (await ask("api/data", { method: "POST", body: JSON.stringify(wanted), headers: { "content-type": "application/json" } })).blob();

export const pictureAddress = (name) => `api/pictures/${encodeURIComponent(name)}`;
