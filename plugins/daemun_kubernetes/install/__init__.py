"""A gateway in a cluster: put there, looked at, removed.

plan                        what is to be installed; every name and number
manifests                   all of it in order, out of configuration (the settings file, with an overlay), rights,
                            workload (with hardening), exposure, knative (the class, and a Job that sets it)
render                      as YAML
apply, rollout, remove      what is done to a cluster, step by step
address                     where the gateway answers
check                       what is wrong, out of inspect_workload, inspect_rights, inspect_exposure, inspect_routes
objects, step               whose an object is, and what was done to it
pods, validity              what keeps a Pod from serving, and a certificate from being of use
commands, options, run      the command line
"""
