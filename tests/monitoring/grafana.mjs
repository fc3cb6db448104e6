// The dashboard against Grafana's own definitions, the package @grafana/schema: the document as a whole, and of each panel its options, its own settings of a field and its questions
// to Prometheus by its type. What the definitions do not know is an error. `node grafana.mjs FOLDER DASHBOARD`: the folder has node_modules with @grafana/schema,
// ts-json-schema-generator and ajv.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, dashboardPath] = process.argv.slice(2);
const require = createRequire(path.resolve(folder, "x.js"));
const { createGenerator } = require("ts-json-schema-generator");
const Ajv = require("ajv");

// The definitions, under names that none of them has.
const raw = "@grafana/schema/dist/esm/raw";
writeFileSync(path.join(folder, "definitions.ts"), `
import * as dashboard from "${raw}/dashboard/x/dashboard_types.gen";
import * as timeseries from "${raw}/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import * as stat from "${raw}/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import * as table from "${raw}/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import * as prometheus from "${raw}/composable/prometheus/dataquery/x/PrometheusDataQuery_types.gen";
export type OfDashboard = dashboard.Dashboard;
export type OfPanel = dashboard.Panel;
export type OfRowPanel = dashboard.RowPanel;
export type OfTimeseriesOptions = timeseries.Options;
export type OfTimeseriesField = timeseries.FieldConfig;
export type OfStatOptions = stat.Options;
export type OfTableOptions = table.Options;
export type OfTableField = table.FieldConfig;
export type OfQuery = prometheus.PrometheusDataQuery;
`);
const generator = createGenerator({ path: path.join(folder, "definitions.ts"), skipTypeCheck: true, additionalProperties: false, topRef: true });
const ajv = new Ajv({ strict: false, allErrors: true });
const checks = new Map();
const problems = [];
function check(type, value, what) {
  if (!checks.has(type)) checks.set(type, ajv.compile(generator.createSchema(type)));
  const validate = checks.get(type);
  if (!validate(value)) for (const { instancePath, message, params } of validate.errors) problems.push(`${what}${instancePath}: ${message} ${JSON.stringify(params)}`);
}

const dashboard = JSON.parse(readFileSync(dashboardPath, "utf8"));
const { panels, ...frame } = dashboard;
// What Prometheus's own part of Grafana reads there stands in no definition.
const without = (keys) => (object) => Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
frame.annotations.list = frame.annotations.list.map(without(["expr", "titleFormat", "textFormat", "step"]));
frame.templating.list = frame.templating.list.map(without(["definition"]));
check("OfDashboard", { ...frame, panels: [] }, "dashboard");
const of = { timeseries: ["OfTimeseriesOptions", "OfTimeseriesField"], stat: ["OfStatOptions", null], table: ["OfTableOptions", "OfTableField"] };
let queries = 0;
for (const panel of panels) {
  const what = `panel ${panel.id} "${panel.title}"`;
  if (panel.type === "row") { check("OfRowPanel", panel, what); continue; }
  check("OfPanel", panel, what);
  const [options, field] = of[panel.type] ?? problems.push(`${what}: the type ${panel.type} is not looked at here`);
  check(options, panel.options, `${what} options`);
  const custom = panel.fieldConfig?.defaults?.custom;
  if (field && custom) check(field, custom, `${what} custom`);
  if (!field && custom) problems.push(`${what}: a ${panel.type} has no settings of a field of its own`);
  for (const query of panel.targets) { queries += 1; check("OfQuery", query, `${what} query ${query.refId}`); }
}
problems.forEach((problem) => console.log(problem));
console.log(`${panels.length} panels, ${queries} queries, ${problems.length} problems`);
process.exit(problems.length || panels.length < 50 ? 1 : 0);
