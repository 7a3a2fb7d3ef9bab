# A file system for the time of one job, for batch scripts: source this file, then
#
#   pfs_job_start            one metadata server on this node, file servers on every node of the allocation
#   pfs_job_stage_in A B…    copies of outside files into the file system, several at a time
#   pfs_job_run COMMAND…     the job's program, with PFS_METADATA and PFS_SECRET_FILE set
#   pfs_job_stage_out A B…   names of the file system, copied out
#   pfs_job_stop             optional: it happens by itself when the script ends, however it ends
#
# or, where the servers are those of another job that runs pfs-service.sbatch,
#
#   pfs_job_join FILE        instead of pfs_job_start: waits for that job's servers; nothing is stopped at the end
#
# What can be set before:
#
#   PFS_BIN                  the pfs program (default: pfs on the path); it must exist on every node
#   PFS_LOCAL_DIR            a node-local folder for the stores (default: TMPDIR, else /tmp)
#   PFS_SERVERS_PER_NODE     file servers on each node (default: 1)
#   PFS_STRIPE_UNIT          stripe unit of files that ask for none, like 1M
#   PFS_INTERFACE            network interface to use, like ib0 (default: the address that Slurm has for the node)
#   PFS_STAGE_OUT            names that are copied out at the end whatever it is: after the program has succeeded or failed,
#                            and, in the time that Slurm leaves, when the job is cancelled or runs out of time
#   PFS_SAVE_SECONDS         how long the servers go on for that after a scancel, less than Slurm's KillWait (default: 10)
#   PFS_STAGE_OUT_DIR        where to (default: the folder of the sbatch command)
#
# Invariants. The servers are those of `pfs start --nodefile --ephemeral`: each node's stores are made and removed by one
# process of that node, which a step of the job runs. So whatever ends the job ends the step, and removes the stores; if the
# batch script was killed, that process of this node ends the metadata server and removes its folder, too. The secret goes
# to the nodes over the step's input and never over a command line.

# Sets pfs_address (where clients reach this node) and pfs_listen (where its servers listen).
pfs_node_address() {
  if [ -n "${PFS_INTERFACE:-}" ]; then
    pfs_address=$(ip -4 -o address show dev "$PFS_INTERFACE" | awk '{ sub("/.*", "", $4); print $4; exit }')
  else
    pfs_address=$(scontrol --oneliner show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
  fi
  if [ -z "$pfs_address" ]; then
    echo "pfs: node $SLURMD_NODENAME has no address that can be found; set PFS_INTERFACE" >&2
    return 1
  fi
  # A name may mean another address on its own node than elsewhere, so a node with a name listens everywhere.
  case $pfs_address in
    *[!0-9.]*) pfs_listen=0.0.0.0 ;;
    *) pfs_listen=$pfs_address ;;
  esac
}

pfs_find_program() {
  PFS_BIN=$(command -v -- "${PFS_BIN:-pfs}") || { echo "pfs: there is no pfs program; set PFS_BIN" >&2; return 1; }
  export PFS_BIN
  pfs_program= pfs_watch= pfs_saved=
}

# Starts the servers and returns when all of them serve.
pfs_job_start() {
  pfs_find_program || return 1
  local local_dir=${PFS_LOCAL_DIR:-${TMPDIR:-/tmp}}
  export PFS_JOB_DIR=$local_dir/pfs-job-$SLURM_JOB_ID
  trap pfs_job_stop EXIT
  trap 'exit 143' TERM INT HUP
  pfs_node_address || return 1
  # A requeued job has the same number: what a node that broke down has left of its last run is in the way.
  [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || rm -rf -- "$PFS_JOB_DIR"
  # In the background and waited for, so that a signal does not have to wait until it is done.
  scontrol show hostnames "$SLURM_JOB_NODELIST" | "$PFS_BIN" start --nodefile - --dir "$PFS_JOB_DIR/.cluster" \
    --node-dir "$PFS_JOB_DIR" --ephemeral --owner $$ --linger-s "${PFS_SAVE_SECONDS:-10}" --file-servers "${PFS_SERVERS_PER_NODE:-1}" \
    --listen "$pfs_listen" --advertise "$pfs_address" ${PFS_STRIPE_UNIT:+--stripe-unit "$PFS_STRIPE_UNIT"} > /dev/null &
  pfs_program=$!
  wait "$pfs_program" || return 1
  pfs_program=
  . "$PFS_JOB_DIR/.cluster/env"
  "$PFS_BIN" wait --dir "$PFS_JOB_DIR/.cluster" < /dev/null &
  pfs_watch=$!
}

# pfs_job_join FILE: uses the servers of a job that runs pfs-service.sbatch, and waits up to ten minutes for them.
pfs_job_join() {
  pfs_find_program || return 1
  local deadline=$((SECONDS + 600))
  trap pfs_job_stop EXIT
  trap 'exit 143' TERM INT HUP
  PFS_JOB_DIR=
  until [ -s "$1" ] && . "$1" && "$PFS_BIN" status > /dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "pfs: no servers answer that $1 names" >&2
      return 1
    fi
    sleep 1
  done
}

# Runs the program and returns its status; ends it if a server ends first.
pfs_job_run() {
  "$@" < /dev/null &
  pfs_program=$!
  wait -n "$pfs_program" ${pfs_watch:+"$pfs_watch"}
  if kill -0 "$pfs_program" 2>/dev/null; then
    echo "pfs: a server has ended, ending the program" >&2
    pfs_end "$pfs_program" 5
    pfs_program=
    return 1
  fi
  local status=0
  wait "$pfs_program" || status=$?
  pfs_program=
  return "$status"
}

# Copies files and folders in, to the names that they have: /data/mesh becomes pfs:/mesh.
pfs_job_stage_in() {
  local name
  for name in "$@"; do
    pfs_job_run "$PFS_BIN" cp --recursive --quiet "$name" "pfs:/${name##*/}" || return
  done
}

# Copies names of the file system out.
pfs_job_stage_out() {
  local name directory=${PFS_STAGE_OUT_DIR:-$SLURM_SUBMIT_DIR}
  for name in "$@"; do
    pfs_job_run "$PFS_BIN" cp --recursive --quiet "$name" "$directory/${name##*/}" || return
  done
  pfs_saved=yes
}

# pfs_end PROCESS SECONDS: asks a child to end, then kills it.
pfs_end() {
  local deadline=$((SECONDS + $2))
  kill -TERM "$1" 2>/dev/null
  while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# Ends the program, saves what PFS_STAGE_OUT names if that was not done, and ends the servers, with their stores. A second
# call does nothing.
pfs_job_stop() {
  trap '' TERM INT HUP
  trap - EXIT
  [ -z "$pfs_program" ] || pfs_end "$pfs_program" 3
  pfs_program=
  if [ -n "${PFS_STAGE_OUT:-}" ] && [ -z "$pfs_saved" ] && [ -n "${PFS_METADATA:-}" ]; then
    pfs_job_stage_out $PFS_STAGE_OUT || echo "pfs: not everything could be copied out" >&2
  fi
  [ -z "$pfs_watch" ] || { kill "$pfs_watch" && wait "$pfs_watch"; } 2>/dev/null
  pfs_watch=
  [ -n "$PFS_JOB_DIR" ] || return 0
  "$PFS_BIN" stop --remove --grace-s 5 --dir "$PFS_JOB_DIR/.cluster" 2>/dev/null
  rm -rf -- "$PFS_JOB_DIR"
  PFS_JOB_DIR=
}
