"""The gateway in a cluster of real parts: Knative's own tests of an ingress, and Knative Serving itself.

`build.py` builds the programs from their Go modules (`go/`), cached. `cluster.py` runs them in two network namespaces
(`networks.py`, `processes.py`, `credentials.py`); `../shared/knode` stands in for the node. `implementation.py` makes
the gateway a Pod of that cluster; `replicas.py` runs several, and `image.py` makes it an image of the node.
`suite.py` runs a Go test binary and reads what it tells, `serving.py` installs Knative Serving, `serving_tests.py` says
which of its tests are run, `coldstart.py` measures it. `kingresses.py`, `backends.py`, `load.py` and
`ingress_asking.py` are what our own tests here apply and ask.
`python -m tests.conformance.kubernetes` does the same by hand, and what is left up is what the tests use.
"""
