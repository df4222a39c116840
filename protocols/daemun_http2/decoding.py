"""Field blocks in, fields out (HPACK, RFC 7541). A block that came before, and means the same, is not read again.

Clients and servers that repeat themselves send the same few bytes for each message once their fields stand in the
table: while the table stays as it is, equal blocks hold equal fields.
"""

from __future__ import annotations

from hpack import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from daemun_http2.frames import ConnectionFault, ErrorCode
from daemun_http2.secrets import NeverIndexed

__all__ = ["BOMB", "FIELD_OVERHEAD_BYTES", "STATIC_TABLE", "Block", "BlockReader", "Field"]

Field = tuple[bytes, bytes]

STATIC_TABLE: tuple[Field, ...] = ((b"", b""), *HeaderTable.STATIC_TABLE)
"""The fields that everybody knows, by their index."""
_STATIC_FIELDS = len(STATIC_TABLE)
_TABLE_BYTES = 4096
"""What SETTINGS_HEADER_TABLE_SIZE is if nobody says anything else."""
FIELD_OVERHEAD_BYTES = 32
_MAX_KNOWN_BLOCKS = 128
_MAX_KNOWN_BLOCK_BYTES = 1024
_MAX_KNOWN_BYTES = 4096
"""Of what a block that is kept holds."""
_MAX_KNOWN_STRINGS = 128
_MAX_KNOWN_STRING_BYTES = 64
BOMB = 4
"""A block that holds so many times what is allowed is no mistake."""


class Block:
    """A field section, and what its reader made of it."""

    __slots__ = ("fields", "meaning", "oversized")

    def __init__(self, fields: tuple[Field, ...], *, oversized: bool = False) -> None:
        self.fields = fields
        self.oversized = oversized
        """It is longer than allowed; what was too much is not in `fields`."""
        self.meaning: object = None
        """For the reader: equal blocks may be one object."""


class BlockReader:
    """Reads the field blocks of one peer, in their order."""

    __slots__ = ("_allowed_bytes", "_known", "_limit_bytes", "_max_fields", "_size_bytes", "_strings", "_table")

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self._limit_bytes = max_bytes
        self._max_fields = max_fields
        self._table: list[Field] = []
        """The dynamic table, the newest last."""
        self._size_bytes = 0
        self._allowed_bytes = _TABLE_BYTES
        self._known: dict[bytes, Block] = {}
        self._strings: dict[bytes, bytes] = {}
        """Short strings that came Huffman-coded."""

    def read(self, data: bytes) -> Block:
        """The fields of a whole block. Raises `ConnectionFault`: nothing can be read after a block that is broken."""
        found = self._known.get(data)
        return self._read(data) if found is None else found

    def _read(self, data: bytes) -> Block:
        fields: list[Field] = []
        size = count = position = 0
        end = len(data)
        limit, max_fields = self._limit_bytes, self._max_fields
        stays = end <= _MAX_KNOWN_BLOCK_BYTES
        try:
            while position < end:
                byte = data[position]
                position += 1
                if byte >= 0x80:  # an indexed field
                    index = byte & 0x7F
                    if index == 0x7F:
                        index, position = _integer(data, position, 0x7F)
                    field = self._field(index)
                elif byte & 0xE0 == 0x20:  # a change of the table's size
                    if count:
                        raise _broken("the table's size changes within a block")
                    allowed = byte & 0x1F
                    if allowed == 0x1F:
                        allowed, position = _integer(data, position, 0x1F)
                    self._resize(allowed)
                    stays = False
                    continue
                else:
                    mask = 0x3F if byte & 0x40 else 0x0F
                    index = byte & mask
                    if index == mask:
                        index, position = _integer(data, position, mask)
                    if index:
                        name = self._field(index)[0]
                    else:
                        name, position = self._string(data, position)
                    value, position = self._string(data, position)
                    field = (name, value)
                    if byte & 0x40:
                        self._insert(field)
                        stays = False
                    elif byte & 0x10:
                        field = NeverIndexed(field)
                count += 1
                size += len(field[0]) + len(field[1]) + FIELD_OVERHEAD_BYTES
                if size <= limit and count <= max_fields:
                    fields.append(field)
                elif size > limit * BOMB:
                    raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field section beyond all measure")
        except IndexError:
            raise _broken("a field block ends in the middle of a field") from None
        except HPACKDecodingError:
            raise _broken("a string is not Huffman-coded as it says") from None
        block = Block(tuple(fields), oversized=size > limit or count > max_fields)
        if stays and size <= _MAX_KNOWN_BYTES:
            if len(self._known) >= _MAX_KNOWN_BLOCKS:
                self._known.clear()
            self._known[data] = block
        return block

    def _string(self, data: bytes, position: int) -> tuple[bytes, int]:
        """The string at `position`, and where it ends."""
        byte = data[position]
        position += 1
        length = byte & 0x7F
        if length == 0x7F:
            length, position = _integer(data, position, 0x7F)
        end = position + length
        if end > len(data):
            raise _broken("a string is longer than its block")
        raw = data[position:end]
        if byte < 0x80:
            return raw, end
        strings = self._strings
        string = strings.get(raw)
        if string is None:
            string = decode_huffman(raw)
            if length <= _MAX_KNOWN_STRING_BYTES:
                if len(strings) >= _MAX_KNOWN_STRINGS:
                    strings.clear()
                strings[raw] = string
        return string, end

    def _field(self, index: int) -> Field:
        if index < _STATIC_FIELDS:
            if not index:
                raise _broken("there is no field 0")
            return STATIC_TABLE[index]
        place = index - _STATIC_FIELDS + 1
        if place > len(self._table):
            raise _broken("a field that the table does not hold")
        return self._table[-place]

    def _insert(self, field: Field) -> None:
        self._known.clear()
        self._size_bytes += len(field[0]) + len(field[1]) + FIELD_OVERHEAD_BYTES
        self._table.append(field)
        self._evict()

    def _resize(self, allowed: int) -> None:
        if allowed > _TABLE_BYTES:
            raise _broken("the table may not become so large")
        self._known.clear()
        self._allowed_bytes = allowed
        self._evict()

    def _evict(self) -> None:
        table, gone = self._table, 0
        while self._size_bytes > self._allowed_bytes:
            name, value = table[gone]
            self._size_bytes -= len(name) + len(value) + FIELD_OVERHEAD_BYTES
            gone += 1
        if gone:
            del table[:gone]


def _integer(data: bytes, position: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was full (RFC 7541 §5.1), and where it ends."""
    for shift in (0, 7, 14, 21):
        byte = data[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _broken("an integer is too large")


def _broken(why: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, why)
