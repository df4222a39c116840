"""The kinds of plugin that a project can be made for."""

from __future__ import annotations

import difflib

from msgspec import Struct

from daemun.errors import SettingsError

__all__ = ["KINDS", "PluginKind", "kind_named"]


class PluginKind(Struct, frozen=True):
    """A kind of plugin, and what the one does that a new project begins with."""

    name: str
    """As in `--kind`; its templates are in the folder of this name."""
    words: str
    """With its article, for sentences."""
    does: str
    """What follows on "a KIND that"."""

    @property
    def registered(self) -> str:
        """The attribute of `Registry` that holds the things of this kind."""
        return self.name.replace("-", "_") + "s"


KINDS = (
    PluginKind("filter", "a filter", "limits how many requests a client may make"),
    PluginKind("source", "a source", "reads routes from a file of lines, and again when it changes"),
    PluginKind("protocol", "a wire protocol", "speaks in lines, on either side of the gateway"),
    PluginKind("dialect", "a dialect", "renders errors as JSON:API documents"),
    PluginKind("backend", "a back end", "keeps small values in memory, by key"),
    PluginKind("activator", "an activator", "runs a command to start what is asked for, and one to stop it"),
    PluginKind("balancer", "a balancer", "keeps requests with the same field on the same endpoint"),
    PluginKind("observer", "an observer", "counts exchanges by route, and writes the counts to a file"),
    PluginKind("command", "a command", "prints the hosts of the routes in a settings file"),
    PluginKind("matcher", "a matcher", "routes by a member of the JSON that a request holds"),
    PluginKind("health-check", "a health check", "believes what an endpoint says of itself in JSON"),
)


def kind_named(name: str) -> PluginKind:
    """The kind `name`. Raises `SettingsError` that lists what there is."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    names = [kind.name for kind in KINDS]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    words = f"unknown kind of plugin {name!r}{hint}" if name else "which kind of plugin?"
    raise SettingsError(f"{words} (accepted: {', '.join(names)})")
