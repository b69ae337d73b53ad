"use strict";

// The plot's coordinates are pixels of level 0, which doubles hold exactly at any depth: x to the right from the left edge of
// the picture, y upwards with the top edge of the picture at `side`, that of the square which zoom 0 shows. Pictures begin with
// the last row or column where `flip` says so. Axes and readings are in the source's own coordinates.
const info = JSON.parse(document.getElementById("info").textContent);
const root = info.root;
const { nx, ny } = info.grid, { flip } = info;
const [x0, dx] = flip.x ? [info.grid.x0 + (nx - 1) * info.grid.dx, -info.grid.dx] : [info.grid.x0, info.grid.dx];
const [y0, dy] = flip.y ? [info.grid.y0 + (ny - 1) * info.grid.dy, -info.grid.dy] : [info.grid.y0, info.grid.dy];
const tile = info.tile;
const place = info.name.split("/").map(encodeURIComponent).join("/");
const side = tile * 2 ** info.max_zoom;
// `asked` and `shown` number the pictures.
const state = { bands: [0, 1, 2], low: null, high: null, asked: 0, shown: 0 };
const worldX = (x) => x0 + (x - 0.5) * dx;
const worldY = (y) => y0 + (side - y - 0.5) * dy;

function query(extra) {
  const axes = Object.keys(state.view.axes);
  const chosen = { product: state.view.name, v: info.version, ...extra };
  if (axes.length) chosen.at = axes.map((axis) => state.at[axis]).join(",");
  if (state.view.colour_axis) chosen.bands = state.bands.join(",");
  return new URLSearchParams(chosen).toString();
}

async function ask(what, extra) {
  const answer = await fetch(`${root}/api/${place}/${what}?${query(extra)}`);
  if (!answer.ok) throw new Error(`${what}: ${answer.status}`);
  return answer.json();
}

// Tiles

const models = Bokeh.Models ?? Bokeh;
const model = (name, attributes) => new (models.get ? models.get(name) : models[name])(attributes);

function tilesOf(url) {
  const source = model("TMSTileSource", {
    url,
    tile_size: tile,
    min_zoom: 0,
    max_zoom: info.max_zoom,
    initial_resolution: side / tile,
    x_origin_offset: 0,
    y_origin_offset: 0,
    wrap_around: false,
  });
  // Bokeh numbers tiles by 32-bit arithmetic, which ends at zoom 31, and asks for tiles beyond the image and the last zoom.
  source.is_valid_tile = (x, y, z) => {
    const span = side / 2 ** z;
    return url !== "" && z <= info.max_zoom && x >= 0 && y >= 0 && x * span < nx && y < 2 ** z && (2 ** z - 1 - y) * span < ny;
  };
  source.children_by_tile_xyz = (x, y, z) => {
    const children = [];
    for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
      const child = [2 * x + i, 2 * y + j, z + 1];
      if (source.is_valid_tile(...child)) children.push([...child, source.get_tile_meter_bounds(...child)]);
    }
    return children;
  };
  source.get_closest_parent_by_tile_xyz = (x, y, z) => {
    while (z > 0) {
      [x, y, z] = [Math.floor(x / 2), Math.floor(y / 2), z - 1];
      if (source.tiles.get(source.tile_xyz_to_key(x, y, z))?.loaded) return [x, y, z];
    }
    return [0, 0, 0];
  };
  // Bokeh's releases differ in the zoom that they draw; the page tells and loads the same zoom as is drawn.
  source.get_level_by_extent = source.get_closest_level_by_extent = zoomOf;
  return source;
}

// The finest zoom whose pixels are no smaller than those of the screen.
function zoomOf([left, bottom, right, top]) {
  const pixel = Math.max((right - left) / plot.inner_width, (top - bottom) / plot.inner_height);
  let zoom = 0;
  while (zoom < info.max_zoom && side / tile / 2 ** (zoom + 1) >= pixel) zoom++;
  return zoom;
}

const renderer = model("TileRenderer", { tile_source: tilesOf(""), smoothing: false, level: "image" });

// Put a tile where Bokeh would, before anything is drawn of its source.
async function load(source, [x, y, z, bounds]) {
  const img = new Image(), key = source.tile_xyz_to_key(x, y, z);
  img.src = source.get_image_url(x, y, z);
  await img.decode();
  if (source.tiles.has(key)) return;
  const at = { tile_coords: [x, y, z], normalized_coords: [x, y, z], quadkey: key, cache_key: key };
  source.tiles.set(key, { ...at, img, bounds, x_coord: bounds[0], y_coord: bounds[3], loaded: true, finished: true });
  // Bokeh 3.10 and newer paint nothing for a tile that comes between their painting and their asking for it.
  if (renderer.tile_source === source) renderer.change.emit();
}

// The next picture takes the place of the one that is shown when all of it is there, or after some patience when any of it is,
// so that nothing is ever blank. Of a version of a live source it is all of it or nothing.
const PATIENCE = 600;
let retry = 2000;
async function redraw(whole = false) {
  const mine = ++state.asked, extra = { palette: state.palette };
  if (state.low !== null) Object.assign(extra, { low: state.low, high: state.high });
  const next = tilesOf(`${root}/tiles/${place}/{Z}/{X}/{Y}.png?${query(extra)}`);
  if (view) {
    // All of the image, in one tile, stands in where a view has no tile yet.
    const overview = load(next, [0, 0, 0, next.get_tile_meter_bounds(0, 0, 0)]);
    const parts = next.get_tiles_by_extent(extent(), zoomNow(), 0).map((each) => load(next, each));
    const patience = new Promise((done) => setTimeout(done, PATIENCE));
    const any = Promise.all([Promise.any([overview, ...parts]), patience]);
    any.catch(() => {});
    try {
      await (whole ? Promise.all(parts) : Promise.race([Promise.allSettled(parts), any]));
    } catch {
      if (whole) return;
    }
  }
  if (mine !== state.asked) return;
  renderer.tile_source = next;
  state.shown = mine;
  retry = 2000;
}

// A server that was busy is asked again.
function again() {
  const { tiles } = renderer.tile_source, failed = [...tiles].filter(([, each]) => each.finished && !each.loaded);
  for (const [key] of failed) tiles.delete(key);
  if (failed.length) {
    retry = Math.min(2 * retry, 60000);
    renderer.change.emit();
  }
  setTimeout(again, retry);
}

// The plot

const nice = (length) => {
  const power = 10 ** Math.floor(Math.log10(length));
  return [5, 2, 1].find((step) => step * power <= length) * power;
};
const range = (start, end, size) => model("Range1d", { start, end, min_interval: 8, max_interval: 6 * Math.max(nx, ny) });

const plot = Bokeh.Plotting.figure({
  x_range: range(0, nx),
  y_range: range(side - ny, side),
  tools: "pan,wheel_zoom,box_zoom,reset,save",
  active_scroll: "wheel_zoom",
  match_aspect: true,
  sizing_mode: "stretch_both",
  toolbar_location: "above",
  background_fill_color: "#10151d",
  outline_line_color: null,
  lod_threshold: null,
});
plot.toolbar.logo = null;
plot.xgrid.visible = plot.ygrid.visible = false;
plot.add_renderers(renderer);

// Round numbers of the source's coordinates, wherever they are in pixels.
const ticks = (origin, step) => `
  const toWorld = (p) => ${origin} + p * ${step}, a = toWorld(cb_data.start), b = toWorld(cb_data.end);
  const [low, high] = [Math.min(a, b), Math.max(a, b)], rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].find((s) => s * power >= rough) * power, out = [];
  for (let k = Math.ceil(low / size); k * size <= high && out.length < 30; k++) out.push((k * size - ${origin}) / ${step});
  return out;`;
const labels = (origin, step) => `
  const size = Math.abs(ticks.length > 1 ? (ticks[1] - ticks[0]) * ${step} : ${step});
  const digits = Math.max(0, Math.min(15, 1 - Math.floor(Math.log10(size)) - (size >= 10 ? 1 : 0)));
  if (size >= 1e7) return (${origin} + tick * ${step}).toExponential(2).replace(/\\.?0+e/, "e").replace("e+", "e").replace(/^0e0$/, "0");
  return (${origin} + tick * ${step}).toLocaleString("en", { maximumFractionDigits: digits, useGrouping: false });`;
const labelled = ({ name, unit }) => (unit ? `${name} [${unit}]` : name);
for (const [axis, facts, origin, step] of [
  [plot.xaxis, info.x, worldX(0), dx],
  [plot.yaxis, info.y, worldY(0), -dy],
]) {
  axis.ticker = model("CustomJSTicker", { major_code: ticks(`(${origin})`, `(${step})`) });
  axis.formatter = model("CustomJSTickFormatter", { code: labels(`(${origin})`, `(${step})`) });
  axis.axis_label = labelled(facts);
}

// What is under the cursor

const where = document.getElementById("where"), value = document.getElementById("value");
let wanted = null, asking = false;

async function tell() {
  if (asking || !wanted) return;
  const { x, y } = wanted;
  wanted = null;
  const row = Math.floor(side - y), col = Math.floor(x);
  if (row < 0 || col < 0 || row >= ny || col >= nx) {
    where.textContent = value.textContent = "";
    return;
  }
  const digitsOf = (step) => Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(step)))));
  const reading = ({ name, unit }, at, step) => `${name} ${at.toFixed(digitsOf(step))}${unit ? ` ${unit}` : ""}`;
  where.textContent = `${reading(info.x, worldX(x), dx)}  ${reading(info.y, worldY(y), dy)}`;
  asking = true;
  try {
    const found = await ask("value", { z: zoomNow(), row: flip.y ? ny - 1 - row : row, col: flip.x ? nx - 1 - col : col });
    value.textContent = found.text;
    document.getElementById("zoom").textContent = `level ${found.level}, row ${found.row}, column ${found.col}`;
  } catch {
    value.textContent = "";
  }
  asking = false;
  tell();
}
plot.on_event("mousemove", (event) => {
  wanted = event;
  tell();
});

let view = null;
const frame = () => view.frame.bbox;
const extent = () => [plot.x_range.start, plot.y_range.start, plot.x_range.end, plot.y_range.end];
const zoomNow = () => zoomOf(extent());

function measure() {
  if (!view) return;
  const perPixel = ((plot.x_range.end - plot.x_range.start) / frame().width) * Math.abs(dx);
  const length = nice(140 * perPixel), bar = document.querySelector("#scalebar span");
  bar.style.width = `${length / perPixel}px`;
  const name = info.x.unit || "";
  const [by, short] = { meter: length >= 1000 ? [1000, "km"] : [1, "m"], metre: [1, "m"], micrometer: [1, "µm"], degrees_east: [1, "°"] }[name] ?? [1, name];
  const amount = length / by;
  bar.textContent = `${amount >= 1e7 ? amount.toExponential().replace("e+", "e") : Number(amount.toPrecision(3))} ${short}`;
  bar.parentElement.style.left = `${frame().left + 16}px`;
}

// Choices

const controls = document.getElementById("controls");
function control(label, element) {
  const box = document.createElement("label");
  box.append(label, element);
  controls.append(box);
  return element;
}
function choice(label, options, chosen, change) {
  const select = document.createElement("select");
  select.name = label;
  const text = (option) => (option === "raw" ? "values" : option);
  for (const option of options) select.add(new Option(text(option), option, false, String(option) === String(chosen)));
  select.onchange = () => change(select.value);
  return control(label, select);
}
function number(label, kind, value, change, limits = {}) {
  const input = Object.assign(document.createElement("input"), { type: "number", name: label, className: kind, ...limits });
  input.value = value;
  input.onchange = () => input.value !== "" && input.checkValidity() && change(Number(input.value));
  return control(label, input);
}

function choose(view) {
  const at = Object.fromEntries(Object.keys(view.axes).map((axis, k) => [axis, view.start[k] ?? 0]));
  Object.assign(state, { view, at, palette: view.palette });
}

let windowInputs = [];
async function fresh() {
  // A new choice begins with the contrast of its own data.
  state.low = state.high = null;
  const mine = ++state.asked;
  const found = await ask("window", {});
  if (mine !== state.asked) return;
  [state.low, state.high] = [found.low, found.high];
  const short = (number) => Number(number.toPrecision(6));
  windowInputs.forEach((input, i) => (input.value = short([found.low, found.high][i])));
  await redraw();
}

function build() {
  controls.replaceChildren();
  const { view } = state;
  if (info.views.length > 1) {
    choice("product", info.views.map((v) => v.name), view.name, (name) => {
      choose(info.views.find((v) => v.name === name));
      build();
      fresh();
    });
  }
  for (const [axis, size] of Object.entries(view.axes)) {
    if (axis === view.colour_axis) {
      ["red", "green", "blue"].forEach((name, k) =>
        number(name, "index", state.bands[k], (i) => { state.bands[k] = i; fresh(); }, { min: 0, max: size - 1, step: 1 }));
    } else if (size > 1) {
      number(axis, "index", state.at[axis], (i) => { state.at[axis] = i; fresh(); }, { min: 0, max: size - 1, step: 1 });
    }
  }
  if (!view.colour_axis) choice("colours", info.palettes, state.palette, (name) => { state.palette = name; redraw(); });
  windowInputs = ["low", "high"].map((name) => number(name, "", state[name] ?? "", (bound) => {
    const next = { low: state.low, high: state.high, [name]: bound };
    if (next.low < next.high) { Object.assign(state, next); redraw(); }
  }, { step: "any" }));
  const auto = Object.assign(document.createElement("button"), { type: "button", textContent: "auto", onclick: fresh });
  controls.append(auto);
}
controls.onsubmit = () => false;

// A live source: one version after the other, never two at once.
async function follow() {
  try {
    const answer = await fetch(`${root}/api/${place}/info`);
    const now = await answer.json();
    if (now.version !== info.version) {
      info.version = now.version;
      await redraw(true);
    }
  } catch {
    // The server is away; the picture stays.
  }
  setTimeout(follow, Math.max(250, 1000 * info.live));
}

async function begin() {
  choose(info.views[0]);
  build();
  await fresh();
  view = await Bokeh.Plotting.show(plot, document.getElementById("plot"));
  for (const range of [plot.x_range, plot.y_range]) range.change.connect(() => requestAnimationFrame(measure));
  new ResizeObserver(() => requestAnimationFrame(measure)).observe(document.getElementById("plot"));
  requestAnimationFrame(measure);
  if (info.live !== null) follow();
  setTimeout(again, retry);
  window.lazypyr = { plot, state, info, redraw, view, get source() { return renderer.tile_source; } };
}
begin();
