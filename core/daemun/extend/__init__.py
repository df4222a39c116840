"""How plugins join: the types they register, the registry that holds them, and how they are found.

types.py     filters, matchers, back ends, dialects: name, settings, build
sources.py   sources, and what becomes of what they publish
endpoints.py balancers, health checks, activators
failure.py   what becomes of an exchange when a filter fails
checks.py    checks of what is around a gateway
observe.py   observers, and what they may look at
wire.py      what a wire protocol registers, and what the core lends to it
ordering.py  the order of a route's filters: phases, before, after
registry.py  collects what the hooks return and keeps names unique; fitting.py: whether it fits
culprit.py   who is to blame for a fault; places.py: where in a plugin's code it is
loading.py   entry points, block lists, failures in words
"""
