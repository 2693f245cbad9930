#!/usr/bin/env bash
# Restore a dump into an empty database, and forget again whoever was erased since it was made.
# Stop web, workers and scheduler first; DATABASE_URL names the empty database, BACKUP_DATABASE_URL the same one as a
# superuser. Usage: restore.sh DUMP ERASURES
set -euo pipefail
dump=${1:?usage: restore.sh DUMP ERASURES}
erasures=${2:?usage: restore.sh DUMP ERASURES}
# Makes the login roles that the dump's grants name.
quanma migrate
pg_restore --clean --if-exists --exit-on-error --no-owner --role="${OWNER:-quanma_migrate}" \
    --dbname="${BACKUP_DATABASE_URL:?BACKUP_DATABASE_URL is not set}" "$dump"
quanma migrate
quanma erasures replay "$erasures"
# The database has forgotten what was sent since; somebody has to compare before anything goes on.
quanma sending hold-restored
quanma check
