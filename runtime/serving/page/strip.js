// One line for each sparse layer: the text from left to right, the blocks that the answer read in colour.

const SVG = "http://www.w3.org/2000/svg";

function node(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// `columns` are counts of reads; the more of the layer's most, the stronger the colour.
function line(columns, layer, tokens) {
  const picture = node("svg", { viewBox: `0 0 ${columns.length} 1`, preserveAspectRatio: "none", role: "img" });
  picture.append(Object.assign(node("title", {}), { textContent: `layer ${layer}` }));
  const most = Math.max(...columns, 1);
  const place = (index) => Math.min(tokens, Math.round((index * tokens) / columns.length)).toLocaleString();
  columns.forEach((count, index) => {
    if (count === 0) return;
    const mark = node("rect", { x: index, y: 0, width: 1, height: 1, "fill-opacity": 0.4 + (0.6 * count) / most });
    mark.append(Object.assign(node("title", {}), { textContent: `layer ${layer}: tokens ${place(index)} to ${place(index + 1)}` }));
    picture.append(mark);
  });
  return picture;
}

function text(name) {
  return Object.assign(document.createElement("span"), { textContent: name });
}

export function drawStrip(place, reads) {
  const rows = reads.columns.flatMap((columns, row) => [text(`layer ${reads.layers[row]}`), line(columns, reads.layers[row], reads.tokens)]);
  const axis = text("beginning");
  axis.append(text("end of the text"));
  place.replaceChildren(...rows, text(""), axis);
}

export function summary(reads) {
  const mean = reads.read.reduce((sum, each) => sum + each, 0) / reads.read.length;
  const percent = (100 * mean) / Math.max(1, reads.blocks);
  const layers = reads.layers.length === 1 ? "1 sparse layer" : `${reads.layers.length} sparse layers`;
  return `${layers}: ${mean.toFixed(0)} of ${reads.blocks.toLocaleString()} blocks read (${percent.toFixed(1)} %)`;
}
