"""From what sources publish to the chain of closures that a request runs.

spec.py        routes, back ends, snapshots: the data
match.py       whether a route matches a host, a path, a method, fields and a query
index.py       which route wins; content.py: routes that are chosen by content
edit.py        layers for rewrites and header edits
actions.py     handlers for redirects, fixed responses and weighted splits
buffering.py   filters that want the content in memory; failing.py: that are passed by when they fail
compile.py     a route becomes one handler; compiled.py: what it is then
publish.py     one publish on its way: compiles what changed, in slices
certificates.py  which certificate is presented to whom
table.py       all routes of all sources, swapped with one assignment; order.py: positions that leave room
refused.py     tells an operator what is not in use, and why
shared.py      what is opened once for equal settings, and outlives a reload
generation.py  what a table opened, leased by exchanges, drained and closed
"""
