#!/usr/bin/env bash
# One study on many machines: every task of the array plays one shard. Submit it from the repository's folder (or any other):
#
#     sbatch examples/cluster/study_array.sh
#     sbatch --array=7 examples/cluster/study_array.sh       # task 7 again: it goes on where it stopped
#     python -m atari_vlm.report merge runs/shard-* --out runs/whole
#
# SHARDS is the last number of the array. It is a multiple of the number of agents (the two below, random and scripted), so
# that every task has one agent to load. A task that is stopped (SIGTERM, a lost node) is put back in the queue, and up to five
# times one that found no server or a budget used up (exit code 75); its run is continued, and nothing is asked twice.
#SBATCH --job-name=atari-vlm
#SBATCH --array=1-40
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#SBATCH --output=shard-%a.log
set -uo pipefail

SHARDS=40
RUNS=${RUNS:-runs}
# Where a server runs on each node, 127.0.0.1 is the same address for all shards; two addresses would be two studies.
AGENTS=(
    "qwen=qwen-vl,base_url=http://127.0.0.1:8000/v1,frames=2"
    "mcts@emulator"
)

export OMP_NUM_THREADS=1
python -m atari_vlm.evaluate \
    --suite atari26 --seeds 0 1 2 3 4 --agents "${AGENTS[@]}" \
    --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" --save-dir "$RUNS" --run-name "shard-$SLURM_ARRAY_TASK_ID" \
    --parallel "${SLURM_CPUS_PER_TASK:-4}" --videos 0 &
study=$!
trap 'kill -TERM "$study"' TERM     # the scheduler tells this shell alone that the time is nearly over
wait "$study"
code=$?
while kill -0 "$study" 2>/dev/null; do
    wait "$study"                   # the first wait ended with the signal; the study ends after its step
    code=$?
done

again=0
[ "$code" -eq 143 ] && again=1                                             # the time of the task was over
[ "$code" -eq 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ] && again=1     # a server was away, or a budget is used up
if [ "$again" -eq 1 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
