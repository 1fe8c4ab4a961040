"use strict";
(() => {
  const root = document.documentElement;
  const shared = JSON.parse(document.getElementById("shared").textContent);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const phone = matchMedia("(max-width: 36rem)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const probe = document.createElement("i"); // turns a colour of the style sheet into one that plotly reads
  probe.hidden = true;
  document.body.append(probe);
  const color = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };

  // The switch between light and dark; without it the page follows the reader's system.
  const button = document.getElementById("theme");
  const onTheme = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    figures.forEach((figure) => figure.drawn && figure.draw());
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    onTheme();
  });
  system.addEventListener("change", onTheme);

  // Pictures are kept once; each image element names its own by number.
  document.querySelectorAll("img[data-picture]").forEach((image) => {
    image.src = shared.pictures[image.dataset.picture];
  });

  // The card under the pointer. Text is set as text: a caption may hold markup.
  const hover = document.getElementById("hover");
  const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
  const line = ([label, text]) => {
    const row = document.createElement("div");
    row.append(element("dt", label), element("dd", text));
    return row;
  };
  const hide = () => { hover.hidden = true; };
  const show = (card, group, box) => {
    const image = hover.querySelector("img");
    image.hidden = card.picture === null;
    if (card.picture !== null) image.src = shared.pictures[card.picture];
    hover.querySelector(".title").textContent = card.title;
    hover.querySelector("dl").replaceChildren(...(group ? [["", group]] : []).concat(card.lines).map(line));
    hover.hidden = false;
    const { width, height } = hover.getBoundingClientRect();
    const left = box.x + 14 + width > root.clientWidth ? box.x - 14 - width : box.x + 14;
    hover.style.left = `${Math.max(8, Math.min(left, root.clientWidth - width - 8))}px`;
    hover.style.top = `${Math.max(8, Math.min(box.y + 14, root.clientHeight - height - 8))}px`;
  };
  addEventListener("scroll", hide, { passive: true });

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const merged = (base, over) => {
    const result = { ...base };
    for (const [key, value] of Object.entries(over)) {
      result[key] = isObject(value) && isObject(base[key]) ? merged(base[key], value) : value;
    }
    return result;
  };
  // A copy of the figure with every light colour's partner in its place.
  const recoloured = (value) => {
    if (typeof value === "string") return shared.dark[value] ?? value;
    if (Array.isArray(value)) return value.map(recoloured);
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, recoloured(inner)]));
  };

  class PlotFigure {
    constructor(figure) {
      this.canvas = figure.querySelector(".canvas");
      this.legend = figure.querySelector(".legend");
      this.content = JSON.parse(figure.querySelector("script").textContent);
      this.off = new Set(this.content.data.filter((trace) => trace.visible === "legendonly").map((t) => this.group(t)));
      this.canvas.style.height = `${this.content.height}px`;
      this.makeLegend();
    }

    group(trace) { return trace.legendgroup || trace.name || ""; }

    makeLegend() {
      const named = this.content.data.filter((trace) => trace.name && trace.showlegend !== false);
      if (named.length < 2) return;
      this.buttons = named.map((trace) => {
        const key = Object.assign(element("button", trace.name), { type: "button" });
        key.addEventListener("click", () => {
          const group = this.group(trace);
          if (!this.off.delete(group)) this.off.add(group);
          this.draw();
        });
        this.legend.append(key);
        return [key, trace];
      });
    }

    layout(light) {
      const [line, quiet, ink] = ["--line", "--quiet", "--ink"].map(color);
      const small = phone.matches;
      const axis = {
        gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, exponentformat: "power", tickfont: { color: quiet },
        title: { standoff: 10, font: { size: small ? 12 : 13 } },
      };
      const base = {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
        font: { family: getComputedStyle(document.body).fontFamily, size: small ? 11 : 12.5, color: ink },
        margin: { l: small ? 40 : 56, r: 12, t: 12, b: 44 },
        hoverlabel: { bgcolor: color("--page"), bordercolor: line, font: { color: ink } },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        xaxis: axis, yaxis: axis,
      };
      const own = light ? this.content.layout : recoloured(this.content.layout);
      for (const name of Object.keys(own)) if (/^[xy]axis\d+$/.test(name)) base[name] = axis;
      return merged(base, own);
    }

    draw(light = !isDark()) {
      const data = (light ? this.content.data : recoloured(this.content.data)).map((trace) => ({
        ...trace,
        visible: this.off.has(this.group(trace)) ? "legendonly" : true,
        ...(trace.customdata && this.content.cards.length ? { hoverinfo: "none" } : {}),
      }));
      const colors = new Map(data.map((trace) => [trace.name, trace.marker?.color ?? trace.line?.color]));
      this.buttons?.forEach(([key, trace]) => {
        key.setAttribute("aria-pressed", String(!this.off.has(this.group(trace))));
        if (typeof colors.get(trace.name) === "string") key.style.setProperty("--swatch", colors.get(trace.name));
      });
      const config = {
        responsive: true, displaylogo: false, displayModeBar: phone.matches ? false : "hover",
        // no button that would send the data anywhere
        modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
      };
      this.drawn = true;
      hide();
      Plotly.react(this.canvas, data, this.layout(light), config);
      if (!this.listens && this.content.cards.length) this.listen();
    }

    listen() {
      this.listens = true;
      const onPoint = ({ points: [point], event }) => {
        const card = this.content.cards[point.customdata];
        if (!card) return hide();
        const bounds = this.canvas.getBoundingClientRect();
        const box = event?.clientX === undefined
          ? { x: bounds.x + (point.bbox?.x1 ?? 0), y: bounds.y + (point.bbox?.y1 ?? 0) }
          : { x: event.clientX, y: event.clientY };
        show(card, point.data.name, box);
      };
      this.canvas.on("plotly_hover", onPoint);
      this.canvas.on("plotly_click", onPoint); // a tap
      this.canvas.on("plotly_unhover", hide);
      this.listenToKeys();
    }

    // The arrow keys go through the points that are switched on, as the pointer does.
    listenToKeys() {
      let place = -1;
      this.canvas.addEventListener("keydown", (event) => {
        if (event.key === "Escape") hide();
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const points = step ? this.points() : [];
        if (!points.length) return;
        event.preventDefault();
        place = place < 0 && step < 0 ? points.length - 1 : (place + step + points.length) % points.length;
        const [number, name, mark] = points[place];
        show(this.content.cards[number], name, mark.getBoundingClientRect());
      });
      this.canvas.addEventListener("blur", hide);
    }

    // Card, trace and mark of each point that has a card; plotly draws a group for each trace that is switched on.
    points() {
      const groups = this.canvas.querySelectorAll(".scatterlayer .trace");
      const on = this.content.data.filter((trace) => !this.off.has(this.group(trace)));
      return on.flatMap((trace, index) => {
        const marks = groups[index]?.querySelectorAll(".point") ?? [];
        return [...(trace.customdata ?? [])].slice(0, marks.length).map((number, at) => [number, trace.name, marks[at]]);
      });
    }
  }
  const figures = [...document.querySelectorAll("figure.plot")].map((figure) => new PlotFigure(figure));
  onTheme();
  // A figure is drawn when it comes near the window: a page of many opens at once.
  const near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    near.unobserve(entry.target);
    const figure = figures.find(({ canvas }) => canvas === entry.target);
    if (!figure.drawn) figure.draw();
  }), { rootMargin: "400px" });
  figures.forEach((figure) => near.observe(figure.canvas));
  phone.addEventListener("change", onTheme);
  addEventListener("beforeprint", () => figures.forEach((figure) => figure.draw(true)));
  addEventListener("afterprint", onTheme);

  // Filters: a card is shown where it has every chosen tag.
  document.querySelectorAll(".pictures").forEach((pictures) => {
    const form = pictures.querySelector(".filters");
    const cards = [...pictures.querySelectorAll(".card")].map((card) => [card, JSON.parse(card.dataset.tags)]);
    form.addEventListener("change", () => {
      const chosen = [...new FormData(form)].filter(([, value]) => value);
      let count = 0;
      for (const [card, tags] of cards) {
        card.hidden = !chosen.every(([name, value]) => tags[name] === value);
        count += !card.hidden;
      }
      form.querySelector("output").textContent = count;
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  });

  // Tables: a click on a head sorts; numbers by value, what is no number below them.
  const numberIn = (text) => Number.parseFloat(text.replace("−", "-").replace(/[^\d.eE+-].*$/, ""));
  document.querySelectorAll("thead button").forEach((key) => {
    key.addEventListener("click", () => {
      const head = key.closest("th"), body = key.closest("table").tBodies[0], column = head.cellIndex;
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [numberIn(text(a)), numberIn(text(b))];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || text(a).localeCompare(text(b));
        return descending ? y - x : x - y;
      };
      const rows = [...body.rows].sort(compare);
      if (descending && !head.classList.contains("number")) rows.reverse();
      body.append(...rows);
    });
  });
})();
