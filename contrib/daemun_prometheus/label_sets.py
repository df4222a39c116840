"""From labels to cells. What is above the limit of label sets is counted together, under labels that say so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from daemun_prometheus.cells import Cells
from daemun_prometheus.families import LABELS

__all__ = ["OVERFLOW", "LabelSets", "clean_label", "overflow"]

log = logging.getLogger("daemun.prometheus")

OVERFLOW = "overflow"
"""Value of every label of what is above the limit."""
_MAX_LABEL_CHARACTERS = 256


def overflow(kind: str) -> tuple[str, ...]:
    """Labels of the record that takes what is above the limit."""
    return (OVERFLOW,) * len(LABELS[kind])


class LabelSets:
    """The label sets of `cells`, never more than `limit` of a kind; one more is always there for the rest."""

    def __init__(self, cells: Cells, cell_counts: Mapping[str, int], limit: int) -> None:
        self._cells = cells
        self._cell_counts = cell_counts
        self._limit = limit
        self._at = {(kind, labels): at for kind, labels, at, size in cells.places() if cell_counts.get(kind) == size}
        self._used = Counter(kind for kind, _ in self._at)
        self._complained: set[str] = set()
        for kind in cell_counts:
            if (kind, overflow(kind)) not in self._at:
                self._append(kind, overflow(kind))

    def find(self, kind: str, *labels: str) -> int:
        """Index of the first cell of a record; it is made if it is not there, and if that may be."""
        labels = tuple(map(clean_label, labels))
        at = self._at.get((kind, labels))
        if at is not None:
            return at
        if self._used[kind] <= self._limit:
            try:
                return self._append(kind, labels)
            except OSError as error:
                self._complain(kind, f"metrics by {', '.join(LABELS[kind])} cannot grow: {error.strerror or error}")
        else:
            self._complain(
                kind, f"metrics by {', '.join(LABELS[kind])} have {self._limit} label sets, which is the limit"
            )
        return self._at[kind, overflow(kind)]

    def _append(self, kind: str, labels: tuple[str, ...]) -> int:
        at = self._at[kind, labels] = self._cells.append(kind, labels, self._cell_counts[kind])
        self._used[kind] += 1
        return at

    def _complain(self, kind: str, words: str) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            log.warning("%s; others are counted under the label %r", words, OVERFLOW)


def clean_label(label: str) -> str:
    """A label that can be written: not long, and without what UTF-8 cannot hold."""
    return label[:_MAX_LABEL_CHARACTERS].encode("utf-8", "replace").decode()
