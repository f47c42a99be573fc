"""The frame of report.py's page. One column on a phone; light or dark as the reader's system is."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6168; --back: #ffffff; --card: #f6f7f8;
        --line: #d9dce0; --mark: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #a2a8b0; --back: #16181b; --card: #22262a;
          --line: #3a4047; --mark: #ff9d94; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; color: var(--ink); background: var(--back);
       font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
.small, figcaption { color: var(--soft); font-size: .85rem; }
.whole { white-space: nowrap; }
.summary { background: var(--card); border-left: 4px solid #0060a0; padding: .2rem 1rem;
           border-radius: 4px; }
.box { overflow-x: auto; max-width: 100%; border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
        font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .ranking :is(th, td):is(:nth-child(-n+3), :last-child) {
         text-align: left; }
tr:last-child td { border-bottom: 0; } th { background: var(--card); }
.published { color: var(--soft); }
.incomplete td:last-child, summary b { color: var(--mark); font-weight: 600; }
.figures { display: grid; gap: 1rem; margin-top: 1rem;
           grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
           align-items: start; }
figure { margin: 0; padding: .5rem; min-width: 0; background: var(--card); border-radius: 4px; }
figure svg, figure img { display: block; width: 100%; max-width: 32rem; height: auto;
                          margin: 0 auto; }
@media (max-width: 40rem) {
  td:first-child { white-space: normal; overflow-wrap: normal; }
  .ranking td:nth-child(2) { white-space: normal; overflow-wrap: normal; } }
details { border-bottom: 1px solid var(--line); } summary { cursor: pointer; padding: .45rem 0; }
pre { margin: 0 0 .8rem; padding: .6rem; background: var(--card); border-radius: 4px;
      overflow-x: auto; font-size: .82rem; white-space: pre-wrap; }
"""

DARK = """
@media (prefers-color-scheme: dark) {{ :root {{ {variables} }} }}
"""
"""The figures' colours."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="summary">{summary}</div>
{sections}
{previews}
{remarks}
{runs}
<p class="small">S. values are those of the last epoch, as published; ± is the standard
deviation over trials. Published values: Wang et al., NeurIPS 2022 (arXiv 2012.02909), and the
methods' tables in the literature.</p>
</body>
</html>
"""
