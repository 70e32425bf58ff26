// Scans and photos: from a file or the camera, made small enough for a slow line and rid of what cameras note (EXIF).

import { button, make } from "./elements.js";
import { say } from "./texts.js";

const LONGEST_SIDE_PX = 2200; // a page of A4 stays readable
const QUALITY = 0.85;

// Pictures the browser can read become JPEG of a bounded size; all else goes as it is.
export async function shrink(file) {
  if (!file.type.startsWith("image/")) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE_PX / Math.max(bitmap.width, bitmap.height));
    const canvas = make("canvas", {
      width: Math.max(1, Math.round(bitmap.width * scale)),
      height: Math.max(1, Math.round(bitmap.height * scale)),
    });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // JPEG has no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? file), "image/jpeg", QUALITY));
  } catch {
    return file; // a kind that this browser cannot read (TIFF, HEIC)
  }
}

// Shows what the camera sees until the citizen takes the picture or cancels: a blob, or null.
export async function takePhoto() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  const video = make("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream });
  try {
    return await new Promise((resolve) => {
      const finish = (blob) => {
        dialog.close();
        dialog.remove();
        resolve(blob);
      };
      const dialog = make(
        "dialog",
        { class: "camera", "aria-label": say("camera"), oncancel: () => finish(null) },
        video,
        make(
          "div",
          { class: "buttons" },
          button(say("cancel"), () => finish(null), { class: "quiet" }),
          button(say("shoot"), async () => finish(await grab(video)), { class: "main" }),
        ),
      );
      document.body.append(dialog);
      dialog.showModal();
    });
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

function grab(video) {
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

export async function toBase64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  return btoa(text);
}
