// WS-Security by the package soap, and by xml-crypto, which it signs with:
//   node soap_signed.mjs call WSDL URL KEY CERTIFICATE   asks for a price in a signed message
//   node soap_signed.mjs verify MESSAGE CERTIFICATE      whether the signature of a file holds
import crypto from "node:crypto";
import fs from "node:fs";
import soap from "soap";
import { SignedXml } from "xml-crypto";

const [, , mode, ...files] = process.argv;
const text = (file) => fs.readFileSync(file, "utf8");

if (mode === "call") {
  const [wsdl, url, key, certificate] = files;
  const client = await soap.createClientAsync(wsdl, {}, url);
  client.setSecurity(new soap.WSSecurityCert(text(key), text(certificate), "", { signatureAlgorithm: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" }));
  const [answer] = await client.GetPriceAsync({ symbol: "ABC" });
  const sent = crypto.createHash("sha256").update(client.lastRequest).digest("hex");
  console.log(JSON.stringify({ price: `${answer.GetPriceResult}`, sent }));
} else {
  const [message, certificate] = files;
  const xml = text(message);
  const signature = /<Signature .*?<\/Signature>/s.exec(xml)[0];
  const signed = new SignedXml({ publicCert: text(certificate), idMode: "wssecurity" });
  signed.loadSignature(signature);
  console.log(JSON.stringify({ verified: signed.checkSignature(xml) }));
}
