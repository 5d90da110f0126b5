#!/bin/sh
# Checks the files of docker/ and dashboards/ without a container engine: `make check-deploy`.
#
#   compose      the published Compose schema, and what compose.py knows beyond it
#   Dockerfile   hadolint
#   Kubernetes   the API's published schemas; the ServiceMonitor against the Prometheus operator's
#   systemd      systemd-analyze verify, and how exposed the service is
#   Prometheus   promtool: the demo's configuration with its rules
#   scripts      shellcheck
#
# The tools come from PyPI and npm, as this machine is set up to reach them, into ${XDG_CACHE_HOME:-~/.cache}/towpath/deploy.
# What cannot be checked here (no systemd, no node) is said in a line that begins with NOT CHECKED.
set -eu

check=$(cd "$(dirname "$0")" && pwd)
docker=${check%/*}
root=${docker%/*}
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/towpath
tools=$cache/deploy
skipped=

say() { printf '%s\n' "== $*"; }
skip() { say "NOT CHECKED: $*"; skipped="$skipped
  $*"; }

command -v python3 >/dev/null 2>&1 || { echo 'check-deploy needs python3 with its venv module' >&2; exit 1; }
if ! cmp -s "$check/requirements.txt" "$tools/requirements.txt"; then
    say "getting the tools into $tools"
    rm -rf "$tools/python" && mkdir -p "$tools"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" -q --disable-pip-version-check install -r "$check/requirements.txt"
    cp "$check/requirements.txt" "$tools/requirements.txt"
fi
PATH=$tools/python/bin:$PATH
python=$tools/python/bin/python3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say 'compose'
"$python" "$check/compose.py" "$docker/docker-compose.yml" >"$work/starrocks.json"
"$python" "$check/compose.py" "$docker/docker-compose.yml" "$docker/docker-compose.embedded.yml" >"$work/embedded.json"
check-jsonschema --builtin-schema vendor.compose-spec "$work/starrocks.json" "$work/embedded.json"

say 'Dockerfile'
hadolint "$docker/Dockerfile"

say 'Kubernetes'
kubernetes-validate --strict --no-warn "$docker/kubernetes/towpath.yaml"
if command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1; then
    operator=@kubernetes-models/prometheus-operator
    [ -d "$tools/node/node_modules/$operator" ] ||
        npm install --silent --no-audit --no-fund --prefix "$tools/node" "$operator@6.0.0"
    # Imports are looked up beside the script.
    cp "$check/servicemonitor.mjs" "$tools/node/"
    "$python" "$check/objects.py" "$docker/kubernetes/towpath.yaml" >"$work/objects.json"
    node "$tools/node/servicemonitor.mjs" <"$work/objects.json"
else
    skip 'the ServiceMonitor: there is no npm here'
fi

say 'systemd'
if command -v systemd-analyze >/dev/null 2>&1; then
    # The program need not be installed for that.
    sed 's|^ExecStart=/usr/local/bin/towpath|ExecStart=/bin/true|' "$docker/systemd/towpath@.service" >"$work/towpath@.service"
    systemd-analyze verify --man=no "$work/towpath@.service"
    # 0 is nothing, 100 everything; a service as systemd makes it has 96.
    systemd-analyze security --offline=true --threshold=20 "$work/towpath@.service" | tail -n 1
else
    skip 'the unit: there is no systemd-analyze here'
fi

say 'Prometheus'
"$root/tests/servers/get.sh" prometheus
mkdir "$work/prometheus"
cp "$docker/prometheus.yml" "$root/dashboards/alerts.yml" "$work/prometheus/"
# The secret is mounted; here it is the demo's.
sed "s|/run/secrets/towpath_token|$docker/token|" "$docker/prometheus.yml" >"$work/prometheus/prometheus.yml"
"$cache/servers/prometheus/promtool" check config "$work/prometheus/prometheus.yml"

say 'scripts'
shellcheck -s bash "$docker/writer.sh" "$root/.ci/run"
shellcheck "$check/check.sh" "$check/rehearse.sh" "$root/tests/servers/get.sh"

if [ -n "$skipped" ]; then
    printf 'not checked here:%s\n' "$skipped"
fi
say 'docker/ is as its schemas want it'
