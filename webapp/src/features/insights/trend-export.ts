// The picture as files: CSV of the exact numbers, PNG with title and legend.

import { download } from "../../components/download";
import { csv } from "../../components/format";
import { tokenHex } from "../../components/palette";
import { type Picture, pictureRows } from "./trend-picture-model";

const fileName = (title: string) =>
  title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60) || "trend";

export function exportCsv(picture: Picture, title: string) {
  download(`${fileName(title)}.csv`, csv(pictureRows(picture)));
}

export function exportPng(
  plot: HTMLCanvasElement,
  picture: Picture,
  hidden: ReadonlySet<string>,
  title: string,
  note: string,
  theme: string,
) {
  const scale = 2;
  const pad = 16 * scale;
  const series = picture.series.filter((s) => !hidden.has(s.key));
  const canvas = document.createElement("canvas");
  canvas.width = plot.width + 2 * pad;
  const context = canvas.getContext("2d");
  if (!context) return;
  const font = (size: number, weight = 400) => `${weight} ${size * scale}px "Inter Variable", sans-serif`;
  // The legend wraps: its lines decide how tall the picture is.
  context.font = font(12);
  const lines: (typeof series)[] = [[]];
  let x = 0;
  for (const s of series) {
    const width = context.measureText(s.name).width + 32 * scale;
    if (x + width > plot.width && x > 0) {
      lines.push([]);
      x = 0;
    }
    lines.at(-1)?.push(s);
    x += width;
  }
  const head = pad + 44 * scale + lines.length * 20 * scale;
  canvas.height = head + plot.height + pad;
  context.fillStyle = tokenHex("--color-surface", theme);
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.textBaseline = "top";
  context.fillStyle = tokenHex("--color-text", theme);
  context.font = font(15, 600);
  context.fillText(title, pad, pad, plot.width);
  context.fillStyle = tokenHex("--color-muted", theme);
  context.font = font(12);
  context.fillText(note, pad, pad + 22 * scale, plot.width);
  lines.forEach((line, row) => {
    let at = pad;
    const y = pad + (44 + row * 20) * scale;
    for (const s of line) {
      context.fillStyle = tokenHex(s.color, theme);
      context.fillRect(at, y + 3 * scale, 10 * scale, 10 * scale);
      context.fillStyle = tokenHex("--color-text", theme);
      context.fillText(s.name, at + 16 * scale, y + 1 * scale);
      at += context.measureText(s.name).width + 32 * scale;
    }
  });
  context.drawImage(plot, pad, head);
  canvas.toBlob((blob) => {
    if (blob) download(`${fileName(title)}.png`, blob);
  });
}
