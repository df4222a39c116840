"""Knative's own ingress: KIngress objects, read from a cluster or from files.

types        the object, as the API server has it
defaults     what Knative's webhook fills in and refuses
hash         the token of a version, byte for byte as Knative computes it
translate    a KIngress as routes and certificates, and what it refers to
filter       the filter `knative-probe`: answers which version a route is of
claims       whose host is whose
conditions   what is written into the status, and when nothing is
files        `ClusterIngress` of 2019 and KIngress from files
assembly     all of them as one snapshot: the next version once it can be served as a whole
fronts       the Services in front of the gateway
probe        asks every gateway whether it serves a version
source       the source `knative`: watches, publishes, has probed, writes statuses; lets go what is deleted (releasing)
settings     what it can be told
"""
