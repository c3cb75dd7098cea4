#!/bin/sh
# Fetches Debian packages and all that they need, C library included, into a folder of their own.
#
#   tools/getdb.sh PREFIX SUITE PACKAGES...     e.g. tools/getdb.sh .servers/mysql sid mysql-server-core
#
# Needs no root and installs nothing: apt works out the closure against an empty status file, checks every
# signature, and the packages are only unpacked. Programs then start through PREFIX/root's own ld-linux,
# so a server of another suite runs here too. On Ubuntu the machine's own suite is taken, whatever SUITE says.
set -eu
[ $# -ge 3 ] || { echo "usage: tools/getdb.sh PREFIX SUITE PACKAGES..." >&2; exit 2; }

prefix=$1 suite=$2
shift 2
PATH=${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin
export PATH LC_ALL=C

for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || { echo "getdb: $tool is missing: this works on Debian and Ubuntu only" >&2; exit 1; }
done

distribution=debian components=main
if grep -q '^ID=ubuntu' /etc/os-release; then
    distribution=ubuntu components="main universe"
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
fi
keyring=/usr/share/keyrings/$distribution-archive-keyring.gpg

# The mirror is the one that the machine's own apt uses; this reads .list and .sources files alike.
mirror=$(apt-get --print-uris update | sed -n "s#^'\(.*/$distribution/*\)dists/.*#\1#p" | head -n 1)
[ -n "$mirror" ] || { echo "getdb: no $distribution mirror in this machine's apt settings" >&2; exit 1; }
[ -r "$keyring" ] || { echo "getdb: $keyring is missing; install $distribution-archive-keyring" >&2; exit 1; }

rm -rf "$prefix"
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
apt=$prefix/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/preferences.d" "$apt/root"
: >"$apt/status"
echo "deb [signed-by=$keyring] $mirror $suite $components" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferencesparts "$apt/preferences.d";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
pkgCacheGen::ForceEssential "none";
CONF
APT_CONFIG=$apt/apt.conf
export APT_CONFIG

echo "getdb: reading the package list of $distribution $suite"
apt-get -qq update
echo "getdb: downloading $*"
{ apt-get -q -y -d -o Debug::NoLocking=1 install "$@" || : >"$apt/failed"; } |
    while read -r word _ _ _ package _; do
        case $word in Get:*) echo "getdb:   $package" ;; esac
    done
[ ! -e "$apt/failed" ] || { echo "getdb: apt could not download $*" >&2; exit 1; }
echo "getdb: unpacking"
for deb in "$apt"/cache/archives/*.deb; do
    case ${deb##*/} in
        # Only their install scripts would need these; LLVM only compiles PostgreSQL's longest queries.
        perl* | libperl* | debconf* | dpkg* | adduser* | passwd* | systemd* | libllvm* | libz3*) ;;
        *) dpkg-deb -x "$deb" "$apt/root" ;;
    esac
done
mv "$apt/root" "$prefix/root" # last, so that a broken run leaves nothing that looks whole
rm -rf "$apt"
