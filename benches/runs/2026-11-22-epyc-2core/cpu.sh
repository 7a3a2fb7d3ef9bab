#!/usr/bin/env bash
# CPU seconds that the servers use for 1 GiB written and read by 1 and by 4 ranks; stores in memory, run from the root of
# the tree after `cargo build --release -p pfs-cli -p pfs-bench`. Set MPIRUN to add options.
set -eu
bin=$PWD/target/release dir=$(mktemp -d /dev/shm/pfs-cpu-XXXXXX)
trap '"$bin/pfs" stop --dir "$dir/c" --remove 2>/dev/null; rm -rf "$dir"' EXIT
eval "$("$bin/pfs" start --dir "$dir/c" --file-servers 4 2>/dev/null)"
ticks=$(getconf CLK_TCK)
cpu() { for pid in $(pgrep -f "pfs server .*$dir"); do cat "/proc/$pid/stat"; done | awk -v t="$ticks" '{s += $14 + $15} END {print s / t}'; }
for ranks in 1 4; do
  for repetition in 1 2 3; do
    for direction in w r; do
      before=$(cpu)
      rate=$(${MPIRUN:-mpirun} -n "$ranks" "$bin/pfs-ior" -b $((1024 / ranks))m -t 16m "-$direction" -k -o pfs:/f | awk '/^(write|read) / {print $1, $2; exit}')
      echo "$ranks ranks: $rate MiB/s, servers $(echo "$before $(cpu)" | awk '{print $2 - $1}') CPU-s/GiB"
    done
  done
done
