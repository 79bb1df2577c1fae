// Plays the frames of a clip beside its flow. Both come as JPEGs, all of a stream in one answer; flow is gray, u above v,
// and is coloured by a table of the server's, so that there is one definition of the colours.
"use strict";

const player = document.getElementById("player");
const of = (id) => document.getElementById(id);
const frames = Number(player.dataset.frames);
const fps = Number(player.dataset.fps);
const width = Number(player.dataset.width);
const height = Number(player.dataset.height);
const rgbContext = of("rgb").getContext("2d");
const flowContext = of("flow").getContext("2d");
const codes = new OffscreenCanvas(width, 2 * height).getContext("2d", { willReadFrequently: true });
const picture = flowContext.createImageData(width, height);
const pixels = new Uint32Array(picture.data.buffer);
const KEPT = 48; // decoded frames in memory, of each stream

const streams = { rgb: null, flow: null };
const colors = new Map(); // address to table
let shown = 0;
let isPlaying = false;
let began = { at: 0, frame: 0 };
let flowCodes = null; // of the flow that is shown

function slice(content) {
  const view = new DataView(content);
  const count = view.getUint32(0, true);
  const pieces = [];
  for (let number = 0, at = 4 * (count + 1); number < count; number++) {
    const length = view.getUint32(4 * (number + 1), true);
    pieces.push(new Blob([new Uint8Array(content, at, length)], { type: "image/jpeg" }));
    at += length;
  }
  return { pieces, decoded: new Map() };
}

async function fetchStream(name) {
  const answer = await fetch(player.dataset[name]);
  if (!answer.ok) throw new Error((await answer.json()).message);
  return slice(await answer.arrayBuffer());
}

function decode(stream, number) {
  let image = stream.decoded.get(number);
  if (image === undefined) {
    image = createImageBitmap(stream.pieces[number], { colorSpaceConversion: "none" });
    stream.decoded.set(number, image);
    if (stream.decoded.size > KEPT) {
      const [oldest, old] = stream.decoded.entries().next().value;
      stream.decoded.delete(oldest);
      old.then((bitmap) => bitmap.close(), () => {});
    }
  }
  return image;
}

async function tableOf(address) {
  if (!colors.has(address)) {
    const image = new Image();
    image.src = address;
    await image.decode();
    const context = new OffscreenCanvas(256, 256).getContext("2d");
    context.drawImage(image, 0, 0);
    colors.set(address, new Uint32Array(context.getImageData(0, 0, 256, 256).data.buffer));
  }
  return colors.get(address);
}

async function paint() {
  const table = await tableOf(of("magnitude").selectedOptions[0].dataset.colors);
  const below = width * height;
  for (let at = 0; at < below; at++) pixels[at] = table[256 * flowCodes[4 * (below + at)] + flowCodes[4 * at]];
  flowContext.putImageData(picture, 0, 0);
}

async function show(number) {
  shown = number;
  const field = Math.min(number, frames - 2); // the last frame has no next one
  const [frame, flow] = await Promise.all([decode(streams.rgb, number), decode(streams.flow, field)]);
  if (shown !== number) return; // overtaken
  rgbContext.drawImage(frame, 0, 0, width, height);
  codes.drawImage(flow, 0, 0, width, 2 * height);
  flowCodes = codes.getImageData(0, 0, width, 2 * height).data;
  await paint();
  of("scrub").value = number;
  of("counter").value = `${number + 1} / ${frames}`;
}

function lookAhead() {
  for (let number = shown + 1; number <= Math.min(shown + 6, frames - 1); number++) {
    decode(streams.rgb, number).catch(() => {});
    if (number < frames - 1) decode(streams.flow, number).catch(() => {});
  }
}

async function play(now) {
  if (!isPlaying) return;
  // the time of a frame of the screen may lie before the moment in which it was asked for
  const passed = Math.floor((Math.max(0, now - began.at) / 1000) * fps * Number(of("speed").value));
  const number = began.frame + passed;
  if (number >= frames) {
    await goTo(0);
    start();
    return;
  }
  if (number !== shown) {
    await guarded(() => show(number));
    lookAhead();
  }
  requestAnimationFrame(play);
}

function start() {
  isPlaying = true;
  began = { at: performance.now(), frame: shown === frames - 1 ? 0 : shown };
  of("play").textContent = "Pause";
  requestAnimationFrame(play);
}

function stop() {
  isPlaying = false;
  of("play").textContent = "Play";
}

async function goTo(number) {
  await guarded(() => show(Math.max(0, Math.min(frames - 1, number))));
}

async function step(by) {
  stop();
  await goTo(shown + by);
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    stop();
    of("message").textContent = `This frame cannot be shown: ${error.message}`;
  }
}

function sayWhatIsUnder(event) {
  if (!flowCodes) return;
  const box = of("flow").getBoundingClientRect();
  const scale = Math.min(box.width / width, box.height / height);
  const x = Math.floor((event.clientX - box.left - (box.width - scale * width) / 2) / scale);
  const y = Math.floor((event.clientY - box.top - (box.height - scale * height) / 2) / scale);
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const flow = (row) => (flowCodes[4 * (row * width + x)] - player.dataset.zero) / player.dataset.scale;
  of("under").textContent = `at ${x}, ${y}: u ${flow(y).toFixed(2)}, v ${flow(y + height).toFixed(2)} px`;
}

const KEYS = {
  " ": () => (isPlaying ? stop() : start()),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  Home: () => step(-frames),
  End: () => step(frames),
};

function listen() {
  of("play").addEventListener("click", KEYS[" "]);
  of("back").addEventListener("click", KEYS.ArrowLeft);
  of("forth").addEventListener("click", KEYS.ArrowRight);
  of("scrub").addEventListener("input", (event) => { stop(); goTo(Number(event.target.value)); });
  of("speed").addEventListener("change", () => { if (isPlaying) start(); });
  of("magnitude").addEventListener("change", (event) => { of("full").textContent = event.target.value; guarded(paint); });
  of("flow").addEventListener("pointermove", sayWhatIsUnder);
  document.addEventListener("keydown", (event) => {
    // a control that has the focus knows what to do with a key itself
    const busy = event.target.closest("button, input, select, textarea, a, summary");
    if (busy || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  for (const one of player.querySelectorAll("button, input")) one.disabled = false;
}

async function begin() {
  try {
    [streams.rgb, streams.flow] = await Promise.all([fetchStream("rgb"), fetchStream("flow")]);
    await show(0);
    of("message").textContent = "";
    listen();
  } catch (error) {
    of("message").textContent = `This clip cannot be played: ${error.message}`;
  }
}

begin();
