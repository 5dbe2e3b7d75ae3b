#!/usr/bin/env bash
# Builds what checks the deployment files, from Go's modules: kustomize, docker compose (its `config` needs no Docker),
# promtool. The tests look for them in the same directory, and are skipped where they are not there.
#   deployment_tools.sh [kustomize] [compose] [promtool]     none named: all
# Programs lie in $SERVERS_CACHE/tools (default ~/.cache/myevents-servers/tools). Needs go 1.26 or newer.
set -euo pipefail
CACHE=${SERVERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/myevents-servers}/tools
mkdir -p "$CACHE"

built() { # name module version package, more for go build
  local name=$1 module=$2 version=$3 package=$4 source fresh
  shift 4
  if [ ! -x "$CACHE/$name-$version" ]; then
    # Built in the module's own directory, so that its replacements hold, which `go install` refuses.
    source=$(go mod download -json "$module@$version" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    fresh=$(mktemp -d "$CACHE/.$name.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$fresh'" EXIT
    GOWORK=off CGO_ENABLED=0 go build -C "$source" -trimpath -ldflags '-s -w' "$@" -o "$fresh/$name" "$package"
    mv "$fresh/$name" "$CACHE/$name-$version"
    rm -rf "$fresh"
  fi
  ln -sfn "$name-$version" "$CACHE/$name"
}

for tool in ${*:-kustomize compose promtool}; do
  case $tool in
    kustomize) built kustomize sigs.k8s.io/kustomize/kustomize/v5 v5.7.1 . ;;
    compose) built compose github.com/docker/compose/v2 v2.40.3 ./cmd ;;
    promtool) built promtool github.com/prometheus/prometheus v0.313.5 ./cmd/promtool -tags remove_all_sd,enable_dns_sd,enable_kubernetes_sd ;;
    *) sed -n '2,6p' "$0"; exit 2 ;;
  esac
done
