"""Services from files, and KIngress.

kingresses.py         KIngress objects; kingress_tokens.json what Knative's own code computes for some
"""
