# Servers of one job, for batch scripts: source this file, then
#
#   pfs_job_start            one metadata server on this node, file servers on every node of the allocation
#   pfs_job_run COMMAND…     the job's program, with PFS_METADATA and PFS_SECRET_FILE set
#   pfs_job_stop             optional: it happens by itself when the script ends, however it ends
#
# What can be set before pfs_job_start:
#
#   PFS_BIN                  the pfs program (default: pfs on the path); it must exist on every node
#   PFS_LOCAL_DIR            a node-local folder for the stores (default: TMPDIR, else /tmp)
#   PFS_SERVERS_PER_NODE     file servers on each node (default: 1)
#   PFS_STRIPE_UNIT          stripe unit of files that ask for none, like 1M
#   PFS_INTERFACE            network interface to use, like ib0 (default: the address that Slurm has for the node)
#
# Invariants. Every server is a descendant of the batch script or of one srun, so whatever ends the job ends it. Each
# node's stores are made and removed by one process of that node, which removes them when it gets SIGTERM or when its
# standard input ends: the batch script holds the other end, so even a batch script that is killed leaves nothing. The
# secret goes to the nodes over that input and never over a command line.

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

# Runs on each node, under srun: this node's file servers, from the arrival of the secret to the end of the input.
pfs_node_servers() {
  set -u
  umask 077
  local directory=$PFS_JOB_DIR/$SLURMD_NODENAME servers=() number ended
  pfs_node_end() {
    trap '' TERM INT HUP
    [ ${#servers[@]} -eq 0 ] || kill -TERM "${servers[@]}" 2>/dev/null
    wait
    rm -rf -- "$directory"
    # Several nodes may share a host and then this folder too: the last one removes it.
    rm -f -- "$PFS_SECRET_FILE"
    rmdir -- "$PFS_JOB_DIR" 2>/dev/null
    # The batch script runs on the first node and ends and removes all that is there, unless it was killed.
    if [ "$SLURM_NODEID" -eq 0 ] && ! kill -0 "$PFS_BATCH_PROCESS" 2>/dev/null; then
      if grep -qaF -- "$PFS_JOB_DIR" "/proc/$PFS_METADATA_PROCESS/cmdline" 2>/dev/null; then
        kill -KILL "$PFS_METADATA_PROCESS" 2>/dev/null
      fi
      rm -rf -- "$PFS_JOB_DIR"
    fi
  }
  trap pfs_node_end EXIT
  trap 'exit 143' TERM INT HUP
  mkdir -p -- "$directory" || exit 1
  pfs_node_address || exit 1
  IFS= read -r secret || exit 1
  printf '%s' "$secret" > "$directory/secret" && mv -- "$directory/secret" "$PFS_SECRET_FILE" || exit 1
  for number in $(seq "${PFS_SERVERS_PER_NODE:-1}"); do
    "$PFS_BIN" server file --name "$SLURMD_NODENAME-$number" --dir "$directory/file-$number" \
      --listen "$pfs_listen:0" --advertise "$pfs_address" < /dev/null &
    servers+=($!)
  done
  # `read` returns at the end of the input; a signal ends the script through its trap.
  while IFS= read -r -t 1 _ || [ $? -gt 128 ]; do
    for number in "${servers[@]}"; do
      if ! kill -0 "$number" 2>/dev/null; then
        echo "pfs: a file server of $SLURMD_NODENAME has ended by itself" >&2
        exit 1
      fi
    done
  done
  exit 0
}

# Starts the servers and returns when all of them serve.
pfs_job_start() {
  PFS_BIN=$(command -v -- "${PFS_BIN:-pfs}") || { echo "pfs: there is no pfs program; set PFS_BIN" >&2; return 1; }
  PFS_JOB_DIR=${PFS_LOCAL_DIR:-${TMPDIR:-/tmp}}/pfs-job-$SLURM_JOB_ID
  PFS_SECRET_FILE=$PFS_JOB_DIR/secret
  pfs_metadata_server= pfs_file_servers= pfs_program=
  trap pfs_job_stop EXIT
  trap 'exit 143' TERM INT HUP
  mkdir -m 700 -- "$PFS_JOB_DIR" || return 1
  pfs_node_address || return 1
  (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$PFS_SECRET_FILE") || return 1

  "$PFS_BIN" server metadata --create --dir "$PFS_JOB_DIR/metadata" --listen "$pfs_listen:0" \
    --secret-file "$PFS_SECRET_FILE" --ready-file "$PFS_JOB_DIR/metadata.ready" \
    ${PFS_STRIPE_UNIT:+--stripe-unit "$PFS_STRIPE_UNIT"} < /dev/null &
  pfs_metadata_server=$!
  pfs_wait "the metadata server" "$pfs_metadata_server" test -s "$PFS_JOB_DIR/metadata.ready" || return 1
  PFS_METADATA=$pfs_address:$(sed -n 's/.*"address": *"[^"]*:\([0-9]*\)".*/\1/p' "$PFS_JOB_DIR/metadata.ready")
  PFS_BATCH_PROCESS=$$ PFS_METADATA_PROCESS=$pfs_metadata_server
  export PFS_BIN PFS_JOB_DIR PFS_SECRET_FILE PFS_METADATA PFS_BATCH_PROCESS PFS_METADATA_PROCESS

  mkfifo -m 600 -- "$PFS_JOB_DIR/input" || return 1
  srun --overlap --mpi=none --kill-on-bad-exit=1 --input=all --job-name=pfs-servers \
    --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    bash -c "$(declare -f pfs_node_address pfs_node_servers); pfs_node_servers" < "$PFS_JOB_DIR/input" &
  pfs_file_servers=$!
  exec 9> "$PFS_JOB_DIR/input"
  { cat -- "$PFS_SECRET_FILE"; echo; } >&9
  pfs_wait "the file servers" "$pfs_file_servers" pfs_all_live || return 1
  echo "pfs: 1 metadata server and $pfs_expected file servers on $SLURM_JOB_NUM_NODES nodes, $PFS_METADATA" >&2
}

# Whether every file server of the allocation is registered and live.
pfs_all_live() {
  pfs_expected=$((SLURM_JOB_NUM_NODES * ${PFS_SERVERS_PER_NODE:-1}))
  [ "$("$PFS_BIN" status --json 2>/dev/null 9>&- | grep -o '"live": *true' | wc -l)" -eq "$pfs_expected" ]
}

# pfs_wait WHAT PROCESS COMMAND…: repeats COMMAND until it succeeds; fails with PROCESS or after a minute.
pfs_wait() {
  local what=$1 process=$2 deadline=$((SECONDS + 60))
  shift 2
  until "$@"; do
    if ! kill -0 "$process" 2>/dev/null; then
      echo "pfs: $what ended while starting, see above" >&2
      return 1
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "pfs: $what did not become ready within a minute" >&2
      return 1
    fi
    sleep 0.1
  done
}

# Runs the program and returns its status; ends it if a server ends first.
pfs_job_run() {
  # Not with descriptor 9: whatever the program leaves behind must not keep the servers' input open.
  "$@" < /dev/null 9>&- &
  pfs_program=$!
  wait -n "$pfs_program" "$pfs_metadata_server" "$pfs_file_servers"
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

# pfs_end PROCESS SECONDS: asks a child to end, then kills it.
pfs_end() {
  local deadline=$((SECONDS + $2))
  kill -TERM "$1" 2>/dev/null
  while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
  kill -KILL "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# Ends program and servers and removes this host's folder. The other nodes' servers remove theirs. A second call does
# nothing.
pfs_job_stop() {
  trap '' TERM INT HUP
  trap - EXIT
  [ -z "$pfs_program" ] || pfs_end "$pfs_program" 3
  if [ -n "$pfs_file_servers" ]; then
    exec 9>&-
    local deadline=$((SECONDS + 5))
    while kill -0 "$pfs_file_servers" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.1; done
    pfs_end "$pfs_file_servers" 2
  fi
  [ -z "$pfs_metadata_server" ] || pfs_end "$pfs_metadata_server" 3
  pfs_program= pfs_file_servers= pfs_metadata_server=
  rm -rf -- "$PFS_JOB_DIR"
}
