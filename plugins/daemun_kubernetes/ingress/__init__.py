"""Kubernetes Ingress v1: the source `kubernetes_ingress`.

settings      what it can be told
classes       which Ingresses are the gateway's
translate     one Ingress as what it claims: hosts with paths, back ends, certificates
competition   who has what two claim: the oldest
assembly      all Ingresses together, as one snapshot; a change costs what it concerns
status        addresses in the status, written by the leader; `reporter` what is wrong, as events
source        watches, publishes, tells
"""
