#include "triax/html/page.h"

#include <fmt/format.h>

#include "triax/base/text.h"

namespace triax {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --soft: #5b6676; --rule: #e2e6ec; --tint: #eef1f6;
  --c0: #2563d9; --c1: #d9660b; --c2: #14895c; --c3: #8b45d0; --c4: #cf2f5a; --c5: #0b8fa3; --c6: #946a2e; --c7: #6a7485; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161d; --card: #1a202a; --ink: #e6eaf1; --soft: #98a3b5; --rule: #2d3644; --tint: #222a37;
  --c0: #6ba2ff; --c1: #ff9d4d; --c2: #4cc795; --c3: #bd8cf5; --c4: #ff7d9e; --c5: #4fc6da; --c6: #cfa568; --c7: #a3adbd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 24px 72px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 42px 0 12px; }
h3 { font-size: 14px; margin: 18px 0 8px; color: var(--soft); font-weight: 600; }
.lead { color: var(--soft); margin: 6px 0 24px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(158px, 1fr)); gap: 12px; }
.tile, .card, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 12px 15px; }
.tile span { display: block; font-size: 12.5px; color: var(--soft); }
.tile b { display: block; font-size: 21px; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile i { display: block; font-style: normal; font-size: 12px; color: var(--soft); }
.card { padding: 14px 18px; overflow-x: auto; }
.remark { border-left: 4px solid var(--c1); margin: 12px 0; padding: 10px 16px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
td, th { text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
th { color: var(--soft); font-weight: 600; font-size: 12.5px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { white-space: nowrap; color: var(--soft); }
td.value { overflow-wrap: anywhere; }
td.middle { vertical-align: middle; width: 40%; }
tr.total td { font-weight: 650; border-top: 2px solid var(--rule); }
.bar { height: 9px; border-radius: 3px; background: var(--c0); min-width: 1px; opacity: .8; }
figure { margin: 0; padding: 12px 14px 6px; position: relative; }
figcaption { font-size: 14px; display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: baseline; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; color: var(--soft); font-size: 13px; }
.key::before { content: ""; display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle; border-top: 2.5px solid currentColor; }
.key.dashed::before { border-top-style: dashed; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 14px; margin-top: 14px; }
svg.chart { display: block; width: 100%; height: auto; margin-top: 6px; }
.chart text { font-size: 13px; fill: var(--soft); }
.chart .tick { font-variant-numeric: tabular-nums; font-size: 12px; }
.chart path { fill: none; }
.grid { stroke: var(--rule); } .axis { stroke: var(--soft); }
.line { stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.faint { stroke-width: 1; opacity: .28; } .line.dashed { stroke-dasharray: 6 5; }
.chart circle { fill: currentColor; }
.s0 { color: var(--c0); } .s1 { color: var(--c1); } .s2 { color: var(--c2); } .s3 { color: var(--c3); }
.s4 { color: var(--c4); } .s5 { color: var(--c5); } .s6 { color: var(--c6); } .s7 { color: var(--c7); }
.key { color: inherit; } .key.s0::before { color: var(--c0); } .key.s1::before { color: var(--c1); }
.key.s2::before { color: var(--c2); } .key.s3::before { color: var(--c3); } .key.s4::before { color: var(--c4); }
.key.s5::before { color: var(--c5); } .key.s6::before { color: var(--c6); } .key.s7::before { color: var(--c7); }
.switch { position: relative; }
.switch > input { position: absolute; opacity: 0; pointer-events: none; }
.switch > .tabs { position: absolute; right: 14px; top: 9px; z-index: 1; font-size: 13px; display: flex; gap: 2px; }
.switch > .tabs label { padding: 2px 10px; border-radius: 6px; cursor: pointer; color: var(--soft); }
.switch > input:nth-of-type(1):checked ~ .tabs label:nth-child(1),
.switch > input:nth-of-type(2):checked ~ .tabs label:nth-child(2),
.switch > input:nth-of-type(3):checked ~ .tabs label:nth-child(3) { background: var(--tint); color: var(--ink); }
.switch > input:focus-visible ~ .tabs { outline: 2px solid var(--c0); border-radius: 6px; }
.switch > figure { display: none; }
.switch > input:nth-of-type(1):checked ~ figure:nth-of-type(1),
.switch > input:nth-of-type(2):checked ~ figure:nth-of-type(2),
.switch > input:nth-of-type(3):checked ~ figure:nth-of-type(3) { display: block; }
.sample { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 12px; padding: 12px 16px; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; font: 14px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.sample mark { background: var(--tint); color: var(--soft); border-radius: 3px; padding: 1px 2px; }
pre { margin: 0; font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-x: auto; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--soft); }
.pictures { display: grid; gap: 14px; }
.pipeline rect { stroke: var(--card); stroke-width: .7; } .pipeline.dense rect { stroke-width: .15; }
.pipeline rect.idle, .swatch i.idle { fill: var(--tint); background: var(--tint); }
.pipeline rect.wait { fill: var(--rule); stroke: none; }
.pipeline .dark, .pipeline .bright { font-size: 11.5px; text-anchor: middle; pointer-events: none; font-variant-numeric: tabular-nums; }
.pipeline .dark { fill: #161c26; } .pipeline .bright { fill: #ffffff; }
.swatch { display: inline-flex; align-items: center; } .swatch i { width: 13px; height: 13px; border-radius: 2px; margin-right: 3px; }
.swatch i:last-of-type { margin-right: 6px; } .swatch i.idle { border: 1px solid var(--rule); }
.cross { stroke: var(--soft); stroke-dasharray: 3 3; }
.tip { position: absolute; pointer-events: none; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  box-shadow: 0 4px 16px rgb(0 0 0 / .18); padding: 7px 11px; font-size: 12.5px; line-height: 1.5; white-space: nowrap; z-index: 2; display: none; }
.tip b { font-variant-numeric: tabular-nums; }
footer { color: var(--soft); font-size: 13px; margin-top: 48px; }
@media print { body { background: none; } figure, .card, .tile { break-inside: avoid; } }
@media (max-width: 700px) { .switch > .tabs { position: static; justify-content: flex-end; margin-bottom: 6px; }
  .grid2 { grid-template-columns: 1fr; } main { padding: 20px 12px; } }
)";

// Values under the pointer. The page reads in full without it.
constexpr const char* kScript = R"(
for (const svg of document.querySelectorAll('svg[data-chart]')) {
  const d = JSON.parse(svg.dataset.chart), figure = svg.parentNode;
  const tip = figure.appendChild(document.createElement('div'));
  tip.className = 'tip';
  const cross = svg.appendChild(document.createElementNS(svg.namespaceURI, 'path'));
  cross.setAttribute('class', 'cross');
  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) { const m = (low + high) >> 1; if (xs[m] < x) low = m; else high = m; }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  };
  const show = v => v === null ? 'not a number'
    : Math.abs(v) >= 1e5 || (v && Math.abs(v) < 1e-3) ? v.toExponential(3) : String(+v.toPrecision(5));
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    const pixel = (event.clientX - box.left) * view.width / box.width;
    const share = Math.min(1, Math.max(0, (pixel - d.b) / (d.e - d.b)));
    const x = d.log ? d.l * Math.pow(d.h / d.l, share) : d.l + share * (d.h - d.l);
    const rows = d.s.filter(s => s.x.length).map(s => [s, nearest(s.x, x)]);
    if (!rows.length) return;
    const at = rows[0][0].x[rows[0][1]];
    const place = d.b + (d.log ? Math.log(at / d.l) / Math.log(d.h / d.l) : (at - d.l) / (d.h - d.l || 1)) * (d.e - d.b);
    cross.setAttribute('d', 'M' + place + ' 12V' + (view.height - 46));
    tip.replaceChildren();
    const line = (text, value, colour) => {
      const row = tip.appendChild(document.createElement('div'));
      const name = row.appendChild(document.createElement('span'));
      name.textContent = text + ' ';
      if (colour !== undefined) name.className = 's' + colour;
      row.appendChild(document.createElement('b')).textContent = value;
    };
    line(d.x, show(at));
    for (const [s, i] of rows) line(s.n, show(s.y[i]), s.c);
    tip.style.display = 'block';
    const left = event.clientX - figure.getBoundingClientRect().left;
    tip.style.left = (left > figure.clientWidth / 2 ? left - tip.offsetWidth - 16 : left + 16) + 'px';
    tip.style.top = (event.clientY - figure.getBoundingClientRect().top - 10) + 'px';
  });
  svg.addEventListener('pointerleave', () => { tip.style.display = 'none'; cross.removeAttribute('d'); });
}
)";

}  // namespace

std::string draw_page(const HtmlPage& page) {
  const std::string footer = page.footer.empty() ? "" : "<footer>" + escape_html(page.footer) + "</footer>\n";
  return fmt::format("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<title>{}</title>\n<style>{}{}</style>\n</head><body><main>\n{}{}</main>\n<script>{}</script>\n</body></html>\n",
                     escape_html(page.title), kStyle, page.style, page.body, footer, kScript);
}

std::string draw_tile(std::string_view name, std::string_view value, std::string_view note) {
  return fmt::format("<div class=\"tile\"><span>{}</span><b>{}</b><i>{}</i></div>\n", escape_html(name), escape_html(value), escape_html(note));
}

}  // namespace triax
