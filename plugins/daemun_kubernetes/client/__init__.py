"""The cluster as it is asked, watched and written to.

config   where the cluster is: a Pod's own, or a kubeconfig; `auth` who the gateway is for it; `tls` what both show
http     one request: time, credentials, being asked to wait; of `connections`. These two alone need httpx
api      objects: get, list, create, replace, patch, delete, apply, watch; `errors` what is refused, in words
kinds    the kinds, and their objects as structs; without the `nulls` that JSON and YAML have for nothing
watch    a Reflector: all objects of a kind, kept up to date; of `lines` out of bytes, and with `backoff`
lease    an Elector: one of several replicas leads
status   a StatusWriter: what the leader has to say of objects, written where it is not so
events   a Recorder: what happened to an object, said where `kubectl describe` shows it
"""
