#!/usr/bin/env bash
# Runs the tests; installs what they need first. Arguments go to pytest: scripts/test.sh -k cutmix
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup_env.sh"
python=$(cd "${VENV:-$root/.venv}/bin" && pwd)/python
cd "$root"
exec "$python" -m pytest "$@"
