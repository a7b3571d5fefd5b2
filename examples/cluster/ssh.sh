#!/bin/bash
# A training on several machines by ssh. This folder, the data and --out must be mounted on all under the same names.
#
#   HOSTS="node1 node2" bash examples/cluster/ssh.sh run icd --images /shared/VOC2012/JPEGImages … --out /shared/run
#
# Ctrl-C reaches all: they finish their step and save. PORT: where the scheduler listens on the first machine (and one above).
# REMOTE: what is put before a host and a command line, [ssh -tt -o BatchMode=yes].
set -u
: "${HOSTS:?the machines, with spaces between, the first one first}"
REMOTE=${REMOTE:-ssh -tt -o BatchMode=yes}
first=${HOSTS%% *}
count=$(wc -w <<<"$HOSTS")
rank=0
pids=()
for host in $HOSTS; do
    words=$(printf '%q ' "$@")
    $REMOTE "$host" "cd $(printf %q "$PWD") && ICD=$(printf %q "${ICD:-icd}") ICD_RANK=$rank DMLC_NUM_WORKER=$count \
DMLC_PS_ROOT_URI=$first DMLC_PS_ROOT_PORT=${PORT:-9091} bash examples/cluster/member.sh $words" &
    pids+=($!)
    rank=$((rank + 1))
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM INT
status=0
for pid in "${pids[@]}"; do
    wait "$pid" || status=$?
done
exit $status
