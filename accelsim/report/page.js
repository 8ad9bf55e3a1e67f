"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const palettes = {
    light: ["#2a78d6", "#eb6834", "#1baf7a", "#8a63d2", "#eda100", "#d1477a", "#0e8fa3", "#7a8b1f", "#a2593a", "#8c8b85"],
    dark: ["#4f97ea", "#f08a5d", "#2fbf8c", "#a98be6", "#e0a72e", "#e37aa3", "#3fb3c6", "#a6b84a", "#c98463", "#8f8e87"],
  };
  const inks = {
    light: { text: "#141413", muted: "#5b5a55", grid: "#e3e2db", surface: "#ffffff" },
    dark: { text: "#f4f3ee", muted: "#b5b3aa", grid: "#363633", surface: "#21211f" },
  };

  /* A copy of a figure in which "$3" or "$text" are colours of the theme. */
  function coloured(value, theme) {
    if (typeof value === "string" && value[0] === "$") {
      const name = value.slice(1);
      return inks[theme][name] ?? palettes[theme][Number(name) % palettes[theme].length];
    }
    if (Array.isArray(value)) return value.map((v) => coloured(v, theme));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, theme)]));
    }
    return value;
  }

  function layoutOf(figure, theme, narrow) {
    const ink = inks[theme];
    const layout = coloured(figure.layout ?? {}, theme);
    const axis = { gridcolor: ink.grid, linecolor: ink.grid, zerolinecolor: ink.grid, automargin: true };
    for (const key of ["xaxis", "yaxis", ...Object.keys(layout).filter((k) => /^[xy]axis\d+$/.test(k))]) {
      layout[key] = { ...axis, ...(layout[key] ?? {}) };
      if (typeof layout[key].title === "string") layout[key].title = { text: layout[key].title };
    }
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: palettes[theme],
      margin: { l: 8, r: narrow ? 8 : 16, t: 8, b: 8 }, hovermode: "closest", autosize: true,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink.muted, activecolor: ink.text },
      ...layout,
      legend: { orientation: "h", y: -0.2, yanchor: "top", x: 0, traceorder: "normal", ...(layout.legend ?? {}) },
      font: { color: ink.text, size: narrow ? 11 : 12.5, family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif" },
      hoverlabel: { bgcolor: ink.surface, bordercolor: ink.grid, font: { color: ink.text } },
    };
  }

  function draw() {
    const theme = dark.matches ? "dark" : "light";
    figures.forEach((figure, i) => {
      const node = document.getElementById("chart" + i);
      Plotly.react(node, coloured(figure.data, theme), layoutOf(figure, theme, node.clientWidth < 480),
        { responsive: true, displaylogo: false, displayModeBar: node.clientWidth < 480 ? false : "hover",
          modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] });
    });
    if (chosen) markCharts();
  }

  /* What stands for an operator: rows of tables, folded texts, marks of linked charts. */
  let chosen = "";
  const rows = [...document.querySelectorAll("tr[data-op]")];
  const folds = [...document.querySelectorAll("details[data-op]")];
  const bar = document.createElement("div");

  function markCharts() {
    figures.forEach((figure, i) => {
      if (!figure.linked) return;
      const traces = figure.data.map((_, k) => k).filter((k) => figure.data[k].customdata);
      if (!traces.length) return;
      const opacity = (trace) => {
        const usual = trace.marker.opacity ?? 1;
        return chosen ? trace.customdata.map((op) => (op === chosen ? 1 : 0.18 * usual)) : usual;
      };
      Plotly.restyle("chart" + i, { "marker.opacity": traces.map((k) => opacity(figure.data[k])) }, traces);
    });
  }

  /* Bring a node into view inside its scrolling box, without moving the page. */
  function within(node) {
    const box = node.closest(".scroll");
    box.scrollTop += node.getBoundingClientRect().top - box.getBoundingClientRect().top - 40;
  }

  function choose(operator) {
    chosen = operator;
    rows.forEach((row) => {
      const on = row.dataset.op === chosen;
      row.classList.toggle("chosen", on);
      if (on) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
      if (on) within(row);
    });
    folds.forEach((fold) => {
      const on = fold.dataset.op === chosen;
      fold.classList.toggle("chosen", on);
      fold.open = on;
      if (on) within(fold);
    });
    tell();
    markCharts();
  }

  function tell() {
    bar.hidden = !chosen;
    if (!chosen) return;
    const name = document.createElement("strong");
    name.textContent = chosen;
    const clear = document.createElement("button");
    clear.type = "button";
    clear.textContent = "clear";
    clear.addEventListener("click", () => choose(""));
    const links = [["row", "tr.chosen"], ["loop nest", "details.chosen"]].filter(([, s]) => document.querySelector(s));
    bar.replaceChildren(name, ...links.map(([text, target]) => {
      const link = document.createElement("a");
      link.href = "#";
      link.textContent = text;
      link.addEventListener("click", (event) => {
        event.preventDefault();
        document.querySelector(target).scrollIntoView({ block: "center" });
      });
      return link;
    }), clear);
  }

  function link() {
    bar.id = "chosen";
    bar.hidden = true;
    bar.setAttribute("role", "status");
    document.body.append(bar);
    rows.forEach((row) => {
      row.addEventListener("click", () => choose(row.dataset.op === chosen ? "" : row.dataset.op));
      row.addEventListener("keydown", (event) => {
        const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
        if (event.key === "Enter" || event.key === " ") choose(row.dataset.op === chosen ? "" : row.dataset.op);
        else if (next) next.focus();
        else return;
        event.preventDefault();
      });
      row.addEventListener("focus", () => rows.forEach((other) => { other.tabIndex = other === row ? 0 : -1; }));
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen) choose(""); });
    figures.forEach((figure, i) => {
      if (figure.linked) document.getElementById("chart" + i).on("plotly_click", (event) => {
        const operator = event.points[0].customdata;
        if (rows.some((row) => row.dataset.op === operator)) choose(operator);
      });
    });
  }

  function sortable(table) {
    const heads = [...table.querySelectorAll("th")];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v === "" ? -Infinity : Number(cell.dataset.v);
      };
      const order = (a, b) => (typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b);
      const body = table.tBodies[0];
      [...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))).forEach((row) => body.append(row));
    }));
  }

  document.querySelectorAll("table").forEach(sortable);
  if (figures.length) {
    draw();
    dark.addEventListener("change", draw);
    if (rows.length) link();
  }
})();
