"use strict";
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // Tables that are sorted: a missing value is last in either direction, equal ones keep their order.
  const valueOf = (row, at) => {
    const text = row.cells[at].dataset.value;
    return text === undefined || text === "" ? null : text;
  };
  const compare = (a, b, isNumber) => (isNumber ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
  const sort = (head) => {
    const table = head.closest("table");
    const at = head.cellIndex;
    const isNumber = head.dataset.kind === "number";
    const first = head.dataset.first || "descending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].sort((r, s) => {
      const a = valueOf(r, at), b = valueOf(s, at);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b, isNumber);
    });
    table.tBodies[0].append(...rows);
  };
  for (const button of document.querySelectorAll("table.board thead button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // Filters: rows by their model, columns by what they are; every word must occur.
  const fits = (text, words) => words.every((word) => text.includes(word));
  const wordsOf = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const tools of document.querySelectorAll(".tools[data-table]")) {
    const table = document.getElementById(tools.dataset.table);
    const [models, columns] = tools.querySelectorAll("input");
    const said = tools.querySelector("output");
    const filter = () => {
      const rowWords = wordsOf(models), columnWords = columns ? wordsOf(columns) : [];
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = !fits(row.dataset.text.toLowerCase(), rowWords);
        shown += row.hidden ? 0 : 1;
      }
      [...table.tHead.rows[0].cells].forEach((head, at) => {
        if (head.dataset.text === undefined) return;
        const hidden = !fits(head.dataset.text.toLowerCase(), columnWords);
        head.hidden = hidden;
        for (const row of table.tBodies[0].rows) row.cells[at].hidden = hidden;
      });
      said.textContent = `${shown} of ${table.tBodies[0].rows.length} models`;
    };
    for (const input of tools.querySelectorAll("input")) input.addEventListener("input", filter);
    filter();
  }

  // What a link leads to is opened, and stays in view while charts above it are drawn, until the reader moves.
  let held = null;
  const hold = () => held && held.scrollIntoView({ behavior: "instant", block: "start" });
  const reveal = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    held = (id && document.getElementById(id)) || null;
    if (held && held.tagName === "DETAILS") held.open = true;
    hold();
  };
  for (const moved of ["wheel", "touchmove", "pointerdown", "keydown"]) window.addEventListener(moved, () => { held = null; }, { passive: true });
  new ResizeObserver(hold).observe(document.body);
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", () => { if (link.hash === location.hash) reveal(); }); // that is no change of the address
  }
  performance.mark("usable"); // tables can be sorted and filtered
  window.addEventListener("hashchange", reveal);
  reveal();

  // Charts are drawn when they come near the window, in the colours of the theme.
  const palette = (dark) => (dark
    ? { ink: "#e4e6e9", soft: "#a0a7b0", line: "#363b42",
        category: ["#56b4e9", "#e69f00", "#2bb58a", "#d98cb3", "#f0e442", "#e8743b", "#8ea6ff", "#b9bec5"] }
    : { ink: "#1b1d20", soft: "#5d636b", line: "#dfe2e6",
        category: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88a00", "#56b4e9", "#5b4ea3", "#6b7178"] });
  const configOf = (dark) => {
    const c = palette(dark);
    const font = "system-ui, -apple-system, Segoe UI, Helvetica Neue, Arial, sans-serif";
    const text = { labelColor: c.soft, titleColor: c.ink, labelFont: font, titleFont: font, labelFontSize: 11,
      titleFontSize: 12, titleFontWeight: 500 };
    return {
      background: "transparent", font,
      view: { stroke: "transparent" },
      axis: { ...text, gridColor: c.line, domainColor: c.soft, tickColor: c.soft, labelOverlap: "greedy", labelLimit: 190,
        maxExtent: 400 },
      legend: { ...text, labelLimit: 220, symbolLimit: 60 },
      header: text,
      title: { color: c.ink, subtitleColor: c.soft, font, fontSize: 12, fontWeight: 600, anchor: "start" },
      text: { color: c.ink, font, fontSize: 11 },
      rule: { color: c.soft }, tick: { color: c.soft },
      mark: { color: c.category[0] },
      point: { filled: true, size: 60 },
      range: { category: c.category, heatmap: { scheme: dark ? "darkblue" : "blues" }, ramp: { scheme: dark ? "darkblue" : "blues" } },
    };
  };
  const merged = (below, above) => {
    const found = { ...below };
    for (const [name, value] of Object.entries(above || {})) {
      const both = value && found[name] && typeof value === "object" && typeof found[name] === "object" && !Array.isArray(value);
      found[name] = both ? merged(found[name], value) : value;
    }
    return found;
  };
  // Vega makes the reader of CSV text by `new Function`, which the page's policy forbids. Ours has numbers alone.
  const rowsOf = (text) => {
    const [head, ...lines] = text.split("\n").map((line) => line.split(","));
    return lines.map((line) => Object.fromEntries(head.map((name, i) => [name, line[i] === "" ? null : Number(line[i])])));
  };
  const withoutCsv = (value) => {
    if (Array.isArray(value)) return value.map(withoutCsv);
    if (value === null || typeof value !== "object" || Array.isArray(value.values)) return value;
    const { format, ...rest } = value;
    if (!format || format.type !== "csv") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withoutCsv(item)]));
    }
    return typeof rest.values === "string" ? { ...rest, values: rowsOf(rest.values) } : rest;
  };
  const withRows = ({ datasets = {}, ...spec }) => ({
    ...withoutCsv(spec),
    datasets: Object.fromEntries(Object.entries(datasets).map(([name, data]) => [name, typeof data === "string" ? rowsOf(data) : data])),
  });
  const MANY = 150000; // characters of a chart that is drawn as one picture and not as shapes
  const views = new Map();
  const draw = async (plot) => {
    if (!window.vegaEmbed) return;
    const text = document.getElementById(`spec-${plot.dataset.chart}`).textContent;
    const spec = withRows(JSON.parse(text));
    spec.config = merged(configOf(isDark()), spec.config);
    if (views.has(plot)) views.get(plot).finalize();
    try {
      const view = await window.vegaEmbed(plot, spec, {
        actions: false, ast: true, logLevel: 1, mode: "vega-lite", renderer: text.length > MANY ? "canvas" : "svg", tooltip: { theme: "custom" },
      });
      views.set(plot, view);
      plot.classList.add("drawn");
    } catch (error) {
      plot.classList.add("failed");
      plot.textContent = `This chart cannot be drawn: ${error.message}`;
      console.error(error);
    }
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "300px" });
  window.addEventListener("load", () => document.querySelectorAll(".plot[data-chart]").forEach((plot) => seen.observe(plot)));

  const button = document.getElementById("theme");
  const themed = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    for (const plot of views.keys()) draw(plot);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  system.addEventListener("change", themed);
  button.textContent = isDark() ? "Light" : "Dark";
})();
