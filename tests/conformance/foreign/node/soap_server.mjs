// The package soap serves /soap as a WSDL has it: node soap_server.mjs PORT WSDL 1.1|1.2
import fs from "node:fs";
import http from "node:http";
import soap from "soap";

const [, , port, file, version] = process.argv;
const detail = (symbol) => ({ NoSuchSymbol: symbol });
const faults = {
  "1.1": (symbol) => ({ faultcode: "soap:Client", faultstring: "no such symbol", detail: detail(symbol), statusCode: 500 }),
  "1.2": (symbol) => ({
    Code: { Value: "soap:Sender" },
    Reason: { Text: { attributes: { "xml:lang": "en" }, $value: "no such symbol" } },
    Detail: detail(symbol),
    statusCode: 400,
  }),
};

const shop = {
  GetPrice({ symbol, day }) {
    if (symbol !== "NONE") return { GetPriceResult: day ? "12.50" : "13.00" };
    throw { Fault: faults[version](symbol) };
  },
  PlaceOrder({ order }) {
    const lines = [order.line].flat();
    const items = lines.reduce((sum, { count }) => sum + Number(count), 0);
    const sku = lines.map((line) => line.sku);
    return { PlaceOrderResult: { number: `${order.attributes.id}-1`, items, sku, photo: order.photo } };
  },
};
const calc = {
  add: ({ a, b }) => ({ sum: Number(a) + Number(b) }),
  middle: ({ one, other }) => ({
    point: { x: (Number(one.x) + Number(other.x)) / 2, y: (Number(one.y) + Number(other.y)) / 2 },
  }),
};
const weather = { ask: () => "21.5" };
const services = {
  ShopService: { Shop: shop, Shop12: shop },
  CalcService: { Calc: calc },
  WeatherService: { Weather: weather, Spare: weather },
};

const server = http.createServer((request, response) => response.writeHead(404).end());
soap.listen(server, {
  path: "/soap",
  services,
  xml: fs.readFileSync(file, "utf8"),
  uri: file,
  forceSoap12Headers: version === "1.2",
  callback: () => server.listen(Number(port), "127.0.0.1"),
});
