"""What the cluster knows of what routes refer to, and no more than that.

references   objects of one kind, watched only as far as they are referred to
services     a Service's port as a back end: endpoints from its EndpointSlices, or a name to resolve
secrets      a Secret as a certificate with its key
"""
