"""Field blocks in, fields out, read by the library hpack: for the reference codec."""

from __future__ import annotations

from hpack import Decoder, HPACKError, OversizedHeaderListError

from daemun_http2.decoding import BOMB, FIELD_OVERHEAD_BYTES, Block, Field
from daemun_http2.frames import ConnectionFault, ErrorCode

__all__ = ["HpackReader"]


class HpackReader:
    """Reads the field blocks of one peer, in their order, as `decoding.BlockReader` does."""

    __slots__ = ("_decoder", "_limit_bytes", "_max_fields")

    def __init__(self, max_bytes: int, max_fields: int) -> None:
        self._limit_bytes = max_bytes
        self._max_fields = max_fields
        self._decoder = Decoder(max_header_list_size=max_bytes * BOMB)

    def read(self, data: bytes) -> Block:
        """The fields of a whole block. Raises `ConnectionFault`: nothing can be read after a block that is broken."""
        try:
            found = self._decoder.decode(data, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a field section beyond all measure") from None
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"hpack: {error}") from None
        fields: list[Field] = []
        size = 0
        for name, value in found:
            size += len(name) + len(value) + FIELD_OVERHEAD_BYTES
            if size > self._limit_bytes or len(fields) == self._max_fields:
                return Block(tuple(fields), oversized=True)
            fields.append((name, value))
        return Block(tuple(fields))
