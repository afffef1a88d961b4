// The text of an answer as nodes: paragraphs, lists, headings, code. Nothing of it is ever parsed as HTML.

const INLINE = /(`+)([\s\S]+?)\1|\*\*([^*\n]+?)\*\*/g;

function inline(parent, text) {
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parent.append(text.slice(end, match.index));
    const node = document.createElement(match[1] ? "code" : "strong");
    node.textContent = match[2] ?? match[3];
    parent.append(node);
    end = match.index + match[0].length;
  }
  parent.append(text.slice(end));
}

function element(name, text) {
  const node = document.createElement(name);
  inline(node, text);
  return node;
}

function code(lines) {
  const block = document.createElement("pre");
  block.tabIndex = 0;
  const inner = document.createElement("code");
  inner.textContent = lines.join("\n");
  block.append(inner);
  return block;
}

function list(lines, kind, start = 1) {
  const node = document.createElement(kind);
  if (start !== 1) node.start = start;
  for (const line of lines) node.append(element("li", line));
  return node;
}

const RULES = [
  { starts: /^#{1,6}\s+(.*)/, make: (lines) => element("h3", lines.join(" ")), single: true },
  { starts: /^\s*[-*]\s+(.*)/, make: (lines) => list(lines, "ul") },
  { starts: /^\s*\d+[.)]\s+(.*)/, make: (lines, first) => list(lines, "ol", parseInt(first, 10)) },
];

export function prose(text) {
  const nodes = [];
  const lines = text.split("\n");
  let at = 0;
  while (at < lines.length) {
    const fence = /^\s*(```+|~~~+)/.exec(lines[at]);
    const rule = RULES.find((each) => each.starts.test(lines[at]));
    const taken = [];
    if (fence) {
      for (at++; at < lines.length && !lines[at].trim().startsWith(fence[1]); at++) taken.push(lines[at]);
      at++;
      nodes.push(code(taken));
    } else if (rule) {
      const first = lines[at];
      do {
        taken.push(rule.starts.exec(lines[at++])[1]);
        const next = lines.findIndex((line, index) => index >= at && line.trim() !== "");
        if (rule.starts.test(lines[next])) at = next; // empty lines between items
      } while (!rule.single && at < lines.length && rule.starts.test(lines[at]));
      nodes.push(rule.make(taken, first));
    } else if (lines[at].trim() === "") {
      at++;
    } else {
      const ends = (line) => line.trim() === "" || /^\s*(```|~~~)/.test(line) || RULES.some((each) => each.starts.test(line));
      do taken.push(lines[at++]);
      while (at < lines.length && !ends(lines[at]));
      nodes.push(element("p", taken.join("\n")));
    }
  }
  return nodes;
}
