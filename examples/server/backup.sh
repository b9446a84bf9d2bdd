#!/bin/sh
# Copies the data of a server, which may run meanwhile: backup.sh DATA DEST. Run it as the server's
# user. DEST is made, and appears whole or not at all. Needs sqlite3 (3.27 or newer).
#
# Everything that the metadata names must be in the copy. Bytes are stored before the metadata names
# them, and deleted after it has stopped to; so they are copied twice, before the metadata and after
# it: the first time gets what may be deleted meanwhile, the second time what came meanwhile. Only
# bytes that came and went again within the second pass are missing; their files had been deleted or
# replaced by then. What a copy has too much does no harm. Uploads under way are left out: clients
# send these again.
set -eu
export LC_ALL=C
[ $# = 2 ] || { echo "usage: backup.sh DATA DEST" >&2; exit 2; }
data=$1 dest=$2 part=$2.part
[ -e "$data/meta.sqlite" ] || { echo "backup.sh: no server's data at $data" >&2; exit 1; }
case $dest in *\'*) echo "backup.sh: no quotes in DEST, please" >&2; exit 1 ;; esac
[ ! -e "$dest" ] || { echo "backup.sh: $dest is there already" >&2; exit 1; }
umask 077
rm -rf "$part"
mkdir -p "$part/blobs/blobs"
dest_blobs=$(cd "$part/blobs" && pwd)
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT

# A consistent copy of a database that others write to, without holding them up.
snapshot() { sqlite3 -bail "$1" ".timeout 30000" "VACUUM INTO '$2'"; }

# Large files: each is whole from the moment it has its name, and never changes.
copy_new_files() {
  (cd "$data/blobs" && find blobs -type f | sort) > "$lists/there"
  (cd "$dest_blobs" && find blobs -type f | sort) > "$lists/here"
  comm -23 "$lists/there" "$lists/here" |
    (cd "$data/blobs" && xargs -r cp -a --parents -t "$dest_blobs") 2> "$lists/errors" || true
  # One that was deleted meanwhile is none of our business.
  if grep -v 'No such file or directory' "$lists/errors" >&2; then exit 1; fi
}

[ ! -d "$data/blobs/blobs" ] || copy_new_files
snapshot "$data/blobs/small.sqlite" "$part/small.before"
snapshot "$data/meta.sqlite" "$part/meta.sqlite"
[ ! -d "$data/blobs/blobs" ] || copy_new_files
snapshot "$data/blobs/small.sqlite" "$part/blobs/small.sqlite"
sqlite3 -bail "$part/blobs/small.sqlite" "ATTACH '$part/small.before' AS before" \
  "INSERT OR IGNORE INTO small(key, sha256, data) SELECT key, sha256, data FROM before.small"
rm "$part/small.before"
cp "$data/secret" "$part/secret"
sync
mv "$part" "$dest"
