"""The upstream side: where a request goes once its route is known.

connection.py  the seam: an open connection, a pool of them
endpoints.py   the live view of a back end's endpoints, changed without a recompile
balance.py     picking one of several
pool.py        open connections to one endpoint; sharing.py where each takes several exchanges; dialling.py opens them
health.py      asking endpoints whether they are well; health_http.py by a GET
activation.py  the waiting room: "none ready" and "all full" are one case
forward.py     pick, pool, send; again if nothing was sent
backend.py     all of them, as one resource
"""
