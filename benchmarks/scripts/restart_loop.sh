#!/usr/bin/env bash
# What an operator without lastgood could do at best: as soon as one worker ends, kill the other and start both, at once.
#   restart_loop.sh PORT COMMAND…    two workers on PORT … PORT+1, after a restart on PORT+2 … PORT+3, and so on
set -u
port=$1
shift
while :; do
  addresses="\"127.0.0.1:$port\", \"127.0.0.1:$((port + 1))\""
  pids=()
  for index in 0 1; do
    TF_CONFIG="{\"cluster\": {\"worker\": [$addresses]}, \"task\": {\"type\": \"worker\", \"index\": $index}}" "$@" &
    pids+=($!)
  done
  if wait -n "${pids[@]}" && wait "${pids[@]}"; then
    exit 0
  fi
  kill -9 "${pids[@]}" 2>/dev/null
  wait "${pids[@]}" 2>/dev/null
  port=$((port + 2))
done
