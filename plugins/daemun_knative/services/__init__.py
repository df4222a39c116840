"""Knative Services without a cluster: manifests in files, run as local processes.

manifest    the fields of a Service, used, ignored or refused
validate    what Knative's webhook refuses, and the parts of a valid Service
translate   a Service as a route and a back end that is started on demand
source      the source `knative_files`, on the reader and watcher of `daemun_file`
settings    what it can be told
command     `daemun demo`
demo/       the hello-world server, its manifest, and settings that run it
"""
