"""What a plugin costs, and what it would cost if hooks ran for each request.

protocols.py    the wire protocols, each with the bare loop of its codec: the baseline; http2.py: HTTP/2 from memory
plugins.py      plugins by kind and by the way they are dispatched
scenarios.py    the table of scenarios: short and full
host.py         an event loop that benchmarks call into, lanes that stay open in it
loopback.py     a gateway on real sockets; far_end*.py: its clients and its origin, another process
results.py      rows and facts, as a table, Markdown and JSON
test_*.py       the benchmarks
"""
