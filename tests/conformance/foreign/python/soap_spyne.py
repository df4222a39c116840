# mypy: disable-error-code="import-untyped, misc, untyped-decorator"
"""A service of the library `spyne` in SOAP 1.1 at /11 and SOAP 1.2 at /12, with WSDLs of its own making: python soap_spyne.py PORT"""

from __future__ import annotations

import sys
from decimal import Decimal as Number
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from spyne import (
    Application,
    ByteArray,
    ComplexModel,
    Date,
    Decimal,
    Fault,
    Integer32,
    ServiceBase,
    Unicode,
    XmlAttribute,
    rpc,
)
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication
from spyne.util.wsgi_wrapper import WsgiMounter

NAMESPACE = "urn:shop"


class Line(ComplexModel):
    __namespace__ = NAMESPACE
    sku = Unicode
    count = Integer32


class Order(ComplexModel):
    __namespace__ = NAMESPACE
    id = XmlAttribute(Unicode)
    line = Line.customize(max_occurs="unbounded")
    note = Unicode(nillable=True)
    photo = ByteArray(min_occurs=0)


class Receipt(ComplexModel):
    __namespace__ = NAMESPACE
    number = Unicode
    items = Integer32
    sku = Unicode(max_occurs="unbounded")
    photo = ByteArray(min_occurs=0)


class Shop(ServiceBase):
    @rpc(Unicode, Date(min_occurs=0), _returns=Decimal)
    def GetPrice(ctx: Any, symbol: str, day: Any) -> Number:  # noqa: N802, N805
        if symbol == "NONE":
            raise Fault("Client", "no such symbol", detail={"NoSuchSymbol": symbol})
        return Number("12.50" if day else "13.00")

    @rpc(Order, _returns=Receipt)
    def PlaceOrder(ctx: Any, order: Any) -> Receipt:  # noqa: N802, N805
        items = sum(line.count for line in order.line)
        return Receipt(number=f"{order.id}-1", items=items, sku=[line.sku for line in order.line], photo=order.photo)


def application(protocol: type) -> WsgiApplication:
    return WsgiApplication(
        Application([Shop], NAMESPACE, name="Shop", in_protocol=protocol(validator="lxml"), out_protocol=protocol())
    )


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    mounted = WsgiMounter({"11": application(Soap11), "12": application(Soap12)})
    make_server("127.0.0.1", int(sys.argv[1]), mounted, handler_class=Quiet).serve_forever()
