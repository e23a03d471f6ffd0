#!/usr/bin/env bash
# Makes echarts.js, LICENSE, NOTICE and LICENSE-d3 anew from the packages echarts and esbuild of npm.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts echarts@6.1.0 esbuild@0.28.2
cp "$here/echarts_entry.js" entry.js
node_modules/@esbuild/*/bin/esbuild entry.js --bundle --minify --format=iife --global-name=echarts \
  --target=es2020 --charset=ascii --legal-comments=none --outfile=bundle.js --log-level=warning
{
  printf '/* Apache ECharts 6.1.0 (Apache-2.0), with zrender (BSD-3-Clause), tslib (0BSD) and parts of d3 (BSD-3-Clause) */\n'
  cat bundle.js
} >"$here/echarts.js"
cp node_modules/echarts/LICENSE node_modules/echarts/NOTICE node_modules/echarts/licenses/LICENSE-d3 "$here/"
cp node_modules/zrender/LICENSE "$here/LICENSE-zrender"
