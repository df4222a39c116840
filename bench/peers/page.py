"""The report as one HTML page that needs nothing else: the chart inside, tables that sort, light and dark."""

from __future__ import annotations

from html import escape

from bench.peers.figures import METRICS, figures, ratio, reference, short
from bench.peers.results import Result
from bench.peers.targets import judge

__all__ = ["page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#5a5a5a;--back:#fff;--line:#ddd;--row:#f6f7f9;
--good:#00684a;--bad:#a33c00}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a8a8a8;--back:#16181c;--line:#33373d;--row:#1d2025;
--good:#4fd1a5;--bad:#ff9a5c}}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);
background:var(--back);max-width:1080px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 12px}h2{font-size:19px;margin:36px 0 10px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0}dt{color:var(--soft)}dd{margin:0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:4px 10px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{background:var(--back);white-space:nowrap}tbody tr:nth-child(even){background:var(--row)}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid currentColor}
th[aria-sort=ascending] button::after{content:" ↑"}th[aria-sort=descending] button::after{content:" ↓"}
.met{color:var(--good);font-weight:600}.not-met{color:var(--bad);font-weight:600}.not-measured{color:var(--soft)}
.ours{font-weight:600}svg{max-width:100%;height:auto}pre{white-space:pre-wrap;margin:0;font-size:12px}
select{font:inherit;margin:0 0 10px;max-width:100%}p{max-width:75ch}
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const x = key(a), y = key(b), numbers = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      if (x === "" || y === "") return (x === "") - (y === "");
      return (numbers ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
    });
    table.tBodies[0].append(...rows);
  }));
}
const choice = document.getElementById("workload");
choice.addEventListener("change", () => {
  for (const row of document.querySelectorAll("#figures tbody tr"))
    row.hidden = choice.value !== "" && row.dataset.workload !== choice.value;
});
"""


def page(result: Result, chart: str, facts: list[tuple[str, str]], method: list[str]) -> str:
    """The whole page."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    options = "".join(
        f'<option value="{escape(one.workload.name)}">{escape(one.workload.title)}</option>' for one in result.measured
    )
    peers = [[escape(one) for one in (peer.name, peer.version, peer.features, peer.arrived)] for peer in result.peers]
    skipped = [
        [escape(one.peer), escape(one.workload or "everything"), f"<pre>{escape(one.reason)}</pre>"]
        for one in result.skipped
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>daemun beside other proxies</title><style>{_STYLE}</style></head><body>
<h1>daemun beside other proxies</h1>
<dl>{listed}</dl>
<h2>Targets</h2>
{_targets(result)}
<h2>Cost beside {escape(reference(result))}</h2>
<div class="wide">{chart}</div>
<h2>All figures</h2>
<select id="workload" aria-label="workload"><option value="">all workloads</option>{options}</select>
{_figures(result)}
<h2>Peers</h2>
{_plain(["peer", "version", "what is on", "seen at the origin"], peers)}
<h2>Left out</h2>
{_plain(["peer", "workload", "why"], skipped) if skipped else "<p>Nothing.</p>"}
<h2>How it was measured</h2>
{"".join(f"<p>{escape(words)}</p>" for words in method)}
<script>{_SCRIPT}</script></body></html>
"""


def _targets(result: Result) -> str:
    rows = []
    for verdict in judge(result):
        target = verdict.target
        state = f'<span class="{verdict.state.replace(" ", "-")}">{verdict.state}</span>'
        rows.append([escape(target.title), escape(target.words), short(verdict.value), state])
    return _plain(["what", "target", "here", "state"], rows)


def _plain(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _figures(result: Result) -> str:
    rows = []
    for measured in result.measured:
        for metric in METRICS[measured.workload.kind]:
            found = figures(measured, metric)
            for name, figure in found.items():
                ours = ' class="ours"' if name == "daemun" else ""
                what = f"{measured.workload.title}: {metric.title}"
                numbers = [figure.median, figure.low, figure.high, figure.quartile_range]
                numbers_and_ratios = [*numbers, ratio(found, name, "Envoy"), ratio(found, name, "nginx")]
                rows.append(
                    f'<tr{ours} data-workload="{escape(measured.workload.name)}"><td>{escape(what)}</td>'
                    f"<td>{escape(name)}</td><td>{escape(metric.unit)}</td>"
                    + "".join(_number(value) for value in numbers_and_ratios)
                    + "</tr>"
                )
    head = ["workload", "peer", "unit", "median", "least", "greatest", "IQR", "× Envoy", "× nginx"]
    cells = "".join(
        f"<th{' class=n' if number > 2 else ''}><button>{name}</button></th>" for number, name in enumerate(head)
    )
    return (
        f'<div class="wide"><table class="sortable" id="figures"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number(value: float | None) -> str:
    key = "" if value is None else f"{value:.6g}"
    return f'<td class="n" data-key="{key}">{short(value)}</td>'
