// Packets as HOMER's authors' own library hep-js reads them: `node decode.cjs FOLDER ADDRESS PORT FILE` appends each datagram, decoded, to FILE as a line of JSON. The folder has
// node_modules with hep-js.
const { appendFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { createSocket } = require("node:dgram");
const path = require("node:path");

const [folder, address, port, file] = process.argv.slice(2);
const hep = createRequire(path.resolve(folder, "x.js"))("hep-js");
const socket = createSocket("udp4");
socket.on("message", (packet) => appendFileSync(file, `${JSON.stringify({ length: packet.length, ...hep.decapsulate(packet) })}\n`));
socket.bind(Number(port), address);
