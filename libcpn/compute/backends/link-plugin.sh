#!/bin/sh
# link-plugin.sh PLUGIN DIRECTORY STAMP: a link to a built plug-in where programs of the build tree look for it.
set -e
mkdir -p "$2"
ln -sf "$(realpath "$1")" "$2/"
: > "$3"
