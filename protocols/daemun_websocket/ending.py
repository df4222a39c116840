"""How a WebSocket ended, in words: whoever ends it says so, and who wants to know asks when it is over."""

from __future__ import annotations

from daemun import Exchange, StashKey

__all__ = ["ending_of", "note_ending"]


def note_ending(exchange: Exchange, words: str) -> None:
    """The WebSocket of `exchange` ends by what `words` say. The first cause counts: others follow from it."""
    stash = exchange.stash
    if _ENDING not in stash:
        stash[_ENDING] = words


def ending_of(exchange: Exchange) -> str:
    """What ended the WebSocket of `exchange`; without a word of anybody it was cut off, for the exchange's reason."""
    reason = exchange.reason
    return exchange.stash.get(_ENDING, "cut off" if reason is None else f"cut off, {reason.value}")


_ENDING: StashKey[str] = StashKey("websocket ending")
