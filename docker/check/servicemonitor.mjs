// Checks the ServiceMonitors among the Kubernetes objects on stdin (a JSON list) against the operator's own schema. To be run
// beside the node_modules with @kubernetes-models/prometheus-operator.
import { readFileSync } from "node:fs";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const monitors = JSON.parse(readFileSync(0)).filter((object) => object.kind === "ServiceMonitor");
for (const object of monitors) {
  new ServiceMonitor(object).validate();
  console.log(`ServiceMonitor ${object.metadata.name}: as the operator has it`);
}
if (monitors.length === 0) throw new Error("there is no ServiceMonitor");
