#!/usr/bin/env bash
# Starts `shoal dev` and streams a completion through every node: `smoke.sh [SHOAL]`, by default the release build.
set -euo pipefail
cd "$(dirname "$0")/.."

shoal=${1:-target/release/shoal}
[ $# -gt 0 ] || cargo build --release --locked
dir=$(mktemp -d)
stop() { "$shoal" dev stop --dir "$dir/mesh" 2>/dev/null || true; rm -rf "$dir"; }
trap stop EXIT

base=$(python3 - <<'PY'
import random, socket
def free(port):
    with socket.socket() as s:
        try: s.bind(("127.0.0.1", port))
        except OSError: return False
        return True
print(next(b for b in (random.randrange(20000, 60000) for _ in range(1000)) if all(free(b + i) for i in range(3))))
PY
)
"$shoal" dev --detach --json --http-base "$base" --dir "$dir/mesh" > "$dir/report.json"
python3 -c 'import json,sys; print("ready in %.1f s" % json.load(open(sys.argv[1]))["readySecs"])' "$dir/report.json"

for node in 0 1 2; do
    body='{"model": "hello", "stream": true, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}'
    answer=$(curl -sSN --max-time 20 "http://127.0.0.1:$((base + node))/v1/chat/completions" \
        -H 'content-type: application/json' -d "$body")
    case "$answer" in
        *'[DONE]'*) echo "node $node streamed $(grep -c '^data: ' <<< "$answer") events" ;;
        *) echo "node $node answered: $answer" >&2; exit 1 ;;
    esac
done
"$shoal" status --socket "$dir/mesh/node-2/admin.sock"
"$shoal" dev stop --dir "$dir/mesh"
if pgrep -f "$dir/mesh" > /dev/null; then echo "processes are left" >&2; pgrep -af "$dir/mesh" >&2; exit 1; fi
echo "1 passed, 0 failed"
