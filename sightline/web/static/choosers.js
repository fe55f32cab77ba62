// Choose nets and pictures; pictures also arrive by dropping and pasting.

import * as api from "./api.js";
import { pictureAddress } from "./api.js";
import { state } from "./state.js";

const get = (id) => document.getElementById(id);

// Returns what shows the state anew.
export function netChooser(view, changed) {
  const [fewest, most] = view.house.nets_at_once;
  const boxes = view.house.nets.map((net) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "checkbox", name: "net", value: net.name });
    const swatch = document.querySelector("#tile").content.querySelector(".swatch").cloneNode(true);
    swatch.querySelector("path").setAttribute("d", net.marker);
    label.style.setProperty("--family", `light-dark(${net.light}, ${net.dark})`);
    label.title = net.origin;
    label.append(input, swatch, net.label);
    input.addEventListener("change", () => {
      const chosen = new Set(state.nets);
      if (input.checked) chosen.add(net.name);
      else chosen.delete(net.name);
      state.nets = view.house.nets.map((one) => one.name).filter((name) => chosen.has(name));
      view.settleLayers();
      show();
      changed();
    });
    get("nets").append(label);
    return input;
  });
  function show() {
    const least = Math.min(fewest, view.house.nets.length);
    for (const box of boxes) {
      box.checked = state.nets.includes(box.value);
      box.disabled = box.checked ? state.nets.length <= least : state.nets.length >= most;
    }
    get("nets-help").textContent = `${state.nets.length} of ${view.house.nets.length}, ${fewest} to ${most} at a time`;
  }
  show();
  return show;
}

export class PictureChooser {
  constructor(view, changed, complain) {
    Object.assign(this, { view, changed, complain });
    for (const picture of view.pictures.values()) this.add(picture);
    this.check();
    const file = get("file");
    file.accept = view.house.upload.types.join(",");
    file.addEventListener("change", () => file.files[0] && this.send(file.files[0]).then(() => (file.value = "")));
    this.listen();
    get("forget").addEventListener("click", () => api.forget().then(() => location.reload(), complain));
  }

  listen() {
    const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragover", (event) => {
      if (!holds(event)) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("dropping"));
    addEventListener("drop", (event) => {
      document.body.classList.remove("dropping");
      if (!holds(event)) return;
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.send(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const picture = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (picture) this.send(picture);
    });
  }

  add(picture) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "picture", value: picture.name });
    const image = Object.assign(new Image(), { src: pictureAddress(picture.name), alt: picture.title, loading: "lazy" });
    image.classList.toggle("pixels", picture.width < 64);
    label.title = picture.title;
    label.append(input, image);
    input.addEventListener("change", () => this.choose(picture.name));
    get("pictures").append(label);
    get("forget").hidden &&= !picture.own;
  }

  check() {
    for (const one of document.querySelectorAll("input[name=picture]")) one.checked = one.value === state.picture;
  }

  choose(name) {
    Object.assign(state, { picture: name, row: null, col: null, pinned: false });
    this.view.settlePlace();
    this.check();
    this.changed();
  }

  async send(file) {
    const { bytes, types } = this.view.house.upload;
    if (file.size > bytes) return this.complain(new Error(`${file.name} is larger than ${bytes / 2 ** 20} MiB; make it smaller.`));
    if (file.type && !types.includes(file.type)) return this.complain(new Error(`${file.name} is of type ${file.type}, which is not taken; choose a JPEG, PNG, GIF, BMP, WebP or AVIF.`));
    get("explorer").setAttribute("aria-busy", "true");
    get("where").textContent = `Sending ${file.name} …`;
    try {
      const sent = await api.send(file);
      const picture = { ...sent, title: file.name.replace(/\.[^.]*$/, "") || "Pasted picture", own: true };
      this.view.pictures.set(picture.name, picture);
      this.add(picture);
      this.complain(null);
      this.choose(picture.name);
    } catch (error) {
      this.complain(error);
      this.changed();
    }
    get("explorer").setAttribute("aria-busy", "false");
  }
}
