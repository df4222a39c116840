"""A battery for each kind of plugin: whether it keeps its contract, rule by rule.

rules.py      what a rule is, and how a battery tells; subject.py what it looks at; watching.py what is left behind
common.py     rules of all kinds
filters.py, sources.py, protocols.py, dialects.py, backends.py, activators.py, balancers.py, observers.py, matchers.py,
health_checks.py, commands.py    one kind each: its checks, and `check_KIND`
layers.py, layer_contents.py     rules of filters and dialects alike; behind.py the handler behind them
serving.py, sending.py           rules of a protocol's halves; pipes.py, talking.py connections in memory
messages.py, odd.py              what can be sent, and what hardly anybody sends
collecting.py `pytest --daemun-conformance=KIND:NAME`
"""

from daemun.testing.batteries.activators import check_activator
from daemun.testing.batteries.backends import check_backend
from daemun.testing.batteries.balancers import check_balancer
from daemun.testing.batteries.commands import check_command
from daemun.testing.batteries.dialects import check_dialect
from daemun.testing.batteries.filters import check_filter
from daemun.testing.batteries.health_checks import check_health_check
from daemun.testing.batteries.matchers import check_matcher
from daemun.testing.batteries.observers import check_observer
from daemun.testing.batteries.protocols import check_protocol
from daemun.testing.batteries.rules import Breach, BrokenRules, Unseen
from daemun.testing.batteries.sources import check_source

__all__ = [
    "Breach",
    "BrokenRules",
    "Unseen",
    "check_activator",
    "check_backend",
    "check_balancer",
    "check_command",
    "check_dialect",
    "check_filter",
    "check_health_check",
    "check_matcher",
    "check_observer",
    "check_protocol",
    "check_source",
]
