// Whether Zigbee2MQTT takes the configuration `whole` on the standard input, and has all settings that are `declared` in it: one line for each fault,
// without values. The argument is the folder of its package.
const {createRequire} = require("node:module");
const fs = require("node:fs");
const path = require("node:path");
const folder = process.argv[1];
const its = createRequire(path.join(folder, "package.json"));
const schema = JSON.parse(fs.readFileSync(path.join(folder, "dist/util/settings.schema.json"), "utf8"));
const {whole, declared} = JSON.parse(fs.readFileSync(0, "utf8"));
const faults = [];

const Ajv = its("ajv").default ?? its("ajv");
const takes = new Ajv({allErrors: true}).addKeyword("requiresRestart").compile(schema);
if (!takes(whole)) {
    for (const fault of takes.errors) {
        const allowed = fault.params.allowedValues?.join(", ");
        faults.push(`${fault.instancePath.substring(1).replaceAll("/", ".")} ${fault.message}${allowed ? ` (${allowed})` : ""}`.trim());
    }
}

// Its schema allows what it does not know, so that a setting with a wrong letter would be passed over.
const look = (known, given, where) => {
    for (const [key, value] of Object.entries(known ? given : {})) {
        if (!(key in known)) {
            faults.push(`there is no ${[...where, key].join(".")}`);
        } else if (value !== null && typeof value === "object" && !Array.isArray(value) && !known[key].additionalProperties) {
            look(known[key].properties, value, [...where, key]);
        }
    }
};
look(schema.properties, declared, []);

for (const fault of faults) {
    console.error(fault);
}
process.exit(faults.length ? 1 : 0);
