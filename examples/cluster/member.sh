#!/bin/bash
# One machine's part of a training on several: a worker, and a server that adds its share of the gradients; on the first machine
# also the scheduler.
#
#   ICD_RANK=0 DMLC_NUM_WORKER=2 DMLC_PS_ROOT_URI=first-host DMLC_PS_ROOT_PORT=9091 bash member.sh run icd --out /shared/run
#
# ICD_RANK          0 on the first machine, 1 on the second, …
# DMLC_NUM_WORKER   how many machines there are
# DMLC_PS_ROOT_URI  the first machine; DMLC_PS_ROOT_PORT and the port above it must be free there and open to the others
# ICD               the command, where `icd` is not on the path: "python -m icd.cli.main"
set -u
: "${ICD_RANK:?the number of this machine}" "${DMLC_NUM_WORKER:?how many machines}" "${DMLC_PS_ROOT_URI:?the first machine}"
export ICD_RANK DMLC_NUM_WORKER DMLC_PS_ROOT_URI DMLC_PS_ROOT_PORT=${DMLC_PS_ROOT_PORT:-9091} DMLC_NUM_SERVER=$DMLC_NUM_WORKER
# The address that the others reach this machine by; MXNet's store would take that of its first network card.
export DMLC_NODE_HOST=${DMLC_NODE_HOST:-$(hostname -i 2>/dev/null | awk '{print $1}')}
ICD=${ICD:-icd}

if [ "$ICD_RANK" = 0 ]; then
    DMLC_ROLE=scheduler $ICD launch &
fi
DMLC_ROLE=server $ICD launch &
DMLC_ROLE=worker $ICD "$@" &
worker=$!
trap 'kill -TERM $worker 2>/dev/null' TERM INT # all workers finish their step, save, and end
wait $worker
status=$?
while kill -0 $worker 2>/dev/null; do # the signal ended the first wait
    wait $worker
    status=$?
done
wait # for the server and the scheduler, who end when all workers have
exit $status
