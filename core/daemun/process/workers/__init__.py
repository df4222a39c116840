"""Several workers: one supervisor that holds what must be one, and processes that serve.

supervisor.py   start, reload, drain; running_sources.py: where routes come from
crew.py         a worker in each slot, and its replacement; backoff.py: how soon
member.py       one worker: start, health, end
sockets.py      the listening sockets, bound once
balance.py      who accepts next
feed.py         snapshots to all workers, one answer of all; patch.py: only what is new
activations.py  activators, once for all workers; pooled.py: their view, remote.py: the workers' half
channel.py      frames over a socket; frames.py: what they say
zygote.py       the process that forks workers; forking.py: asking it to
worker.py       a worker itself
"""
