"""The cluster client, what is seen of a cluster, and Ingresses.

api_server.py  a stand-in for kube-apiserver; store.py what it keeps and tells; clusters.py a client of it
ingresses.py   Ingresses and what they refer to, without a cluster; a gateway that serves them
"""
