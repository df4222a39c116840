"""A gateway in a cluster: put there, looked at, removed.

plan                        what is to be installed; every name and number
manifests                   all of it in order, out of configuration (the settings file), access (and rights),
                            workload (with hardening), exposure, scaling, knative_class, knative_job
render                      as YAML
apply, rollout, remove      what is done to a cluster, step by step
address                     where the gateway answers
check                       what is wrong, out of inspect_workload, inspect_rights, inspect_exposure, inspect_routes
commands, options, run      the command line
"""
