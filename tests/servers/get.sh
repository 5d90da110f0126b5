#!/bin/sh
# Gets MySQL and MariaDB without root, for tests and for `towpath demo`.
#
#   tests/servers/get.sh [mysql] [mariadb] [openssl] [prometheus] [valgrind]      the two servers when none is named
#
# The packages of this machine's own distribution are downloaded and unpacked, not installed: apt runs with a
# private state, cache and source list, so nothing of the system changes. Each server ends up in
#
#   ${XDG_CACHE_HOME:-$HOME/.cache}/towpath/servers/{mysql,mariadb}/
#
# with a wrapper script (mysql/mysqld, mysql/mysql, mariadb/mariadbd) that takes the server's ordinary arguments.
# `openssl` gets OpenSSL's headers and static libraries into .../servers/openssl/{include,lib} (an OPENSSL_DIR): the crate
# mysql_cdc, the tests' second decoder, is built with them on a machine that has none.
# `prometheus` gets Prometheus and its promtool into .../servers/prometheus/, for the test of dashboards and alerts.
# `valgrind` gets .../servers/valgrind/valgrind, which counts instructions for `make bench`.
# What is there already is left alone. With TOWPATH_MYSQLD or TOWPATH_MARIADBD set, that one is not fetched.
set -eu

say() { printf '%s\n' "get.sh: $*" >&2; }
fail() { say "$@"; exit 1; }

cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/towpath/servers

# Of the wrapper scripts; a higher number has them written anew.
layout=2

[ $# -gt 0 ] || set -- mysql mariadb
wanted=
for server; do
    case $server in
        mysql) name=mysqld; own=${TOWPATH_MYSQLD:-}; variable=TOWPATH_MYSQLD ;;
        mariadb) name=mariadbd; own=${TOWPATH_MARIADBD:-}; variable=TOWPATH_MARIADBD ;;
        openssl) [ -f "$cache/openssl/lib/libssl.a" ] || wanted="$wanted openssl"; continue ;;
        prometheus) [ -x "$cache/prometheus/promtool" ] || wanted="$wanted prometheus"; continue ;;
        valgrind) [ -x "$cache/valgrind/valgrind" ] || wanted="$wanted valgrind"; continue ;;
        *) say "unknown server '$server'"; say "usage: $0 [mysql] [mariadb] [openssl] [prometheus] [valgrind]"; exit 2 ;;
    esac
    if [ -n "$own" ]; then
        [ -x "$own" ] || fail "$variable is set to '$own', which is not an executable file"
    elif [ ! -x "$cache/$server/$name" ] || [ "$(cat "$cache/$server/layout" 2>/dev/null)" != $layout ]; then
        wanted="$wanted $server"
    fi
done
[ -n "$wanted" ] || exit 0

for tool in apt-get apt-cache dpkg-deb flock; do
    command -v "$tool" >/dev/null 2>&1 || fail "'$tool' is not here, and only Debian and Ubuntu packages can be unpacked;" \
        "install MySQL and MariaDB yourself and set TOWPATH_MYSQLD and TOWPATH_MARIADBD to the server binaries;" \
        "the tests also need OpenSSL's headers"
done

mkdir -p "$cache"
# One run at a time; a second one waits and then finds everything there.
exec 9>"$cache/.lock"
flock 9

work=$(mktemp -d "$cache/.get.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# apt_in NAME [SOURCES_LIST]: a private apt state with the machine's sources, or with only the given list.
apt_in() {
    state=$work/$1
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/none"
    : >"$state/status"
    {
        printf 'Dir::State "%s";\n' "$state"
        printf 'Dir::State::lists "%s/lists";\n' "$state"
        printf 'Dir::State::status "%s/status";\n' "$state"
        printf 'Dir::Cache "%s";\n' "$state"
        printf 'Dir::Cache::archives "%s/archives";\n' "$state"
        printf 'Dir::Etc::preferences "/dev/null";\nDir::Etc::preferencesparts "%s/none";\n' "$state"
        if [ $# -gt 1 ]; then
            printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "%s/none";\n' "$2" "$state"
        fi
        printf 'APT::Install-Recommends "false";\nAPT::Keep-Downloaded-Packages "true";\n'
        printf 'Acquire::Languages "none";\nAcquire::Retries "3";\n'
        printf 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
        # Hooks are for the system's own state.
        printf '#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n'
        printf '#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Pre-Install-Pkgs;\n#clear DPkg::Post-Invoke;\n'
        # apt's download user could not write here.
        [ "$(id -u)" != 0 ] || printf 'APT::Sandbox::User "root";\n'
    } >"$state/apt.conf"
    apt="-c $state/apt.conf"
}

# A third-party source that fails must not stop us: what counts is whether the package can be had.
update() {
    # shellcheck disable=SC2086
    apt-get $apt -q update >"$state/update.log" 2>&1 || true
}

known() {
    # shellcheck disable=SC2086
    [ -n "$(apt-cache $apt show --no-all-versions "$1" 2>/dev/null)" ]
}

# first_known PACKAGE...: the first one that this state's sources have.
first_known() {
    for package; do
        if known "$package"; then
            printf '%s\n' "$package"
            return
        fi
    done
}

# Debian releases carry no MySQL, Debian's development suite does: the same mirror, the same signing key.
debian_sid() {
    # shellcheck disable=SC2086,SC2016
    line=$(apt-get $apt indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SIGNED_BY)' 'Created-By: Packages' |
        grep '^Debian|Debian|' | head -n 1)
    [ -n "$line" ] || return 1
    mirror=$(printf '%s' "$line" | cut -d'|' -f3)
    key=$(printf '%s' "$line" | cut -d'|' -f4)
    case $key in
        /*) ;;
        *) key=/usr/share/keyrings/debian-archive-keyring.gpg ;;
    esac
    if [ -r "$key" ]; then
        printf 'deb [signed-by=%s] %s sid main\n' "$key" "$mirror" >"$work/sid.list"
    else
        printf 'deb %s sid main\n' "$mirror" >"$work/sid.list"
    fi
    apt_in sid "$work/sid.list"
    [ -s "$state/update.log" ] || update
}

# wrapper FILE BINARY SHARE: a script that starts a binary of the unpacked tree with the tree's own loader and libraries.
wrapper() {
    cat >"$1.new" <<'SCRIPT'
#!/bin/sh
# Written by tests/servers/get.sh: starts the unpacked program with the libraries it came with.
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
root=$here/root
loader=
for file in "$root"/lib64/ld-linux* "$root"/usr/lib64/ld-linux* "$root"/lib/*/ld-linux* "$root"/usr/lib/*/ld-linux* \
    "$root"/lib/ld-linux* "$root"/usr/lib/ld-linux*; do
    # A link of the package may point out of the tree.
    if [ -f "$file" ]; then loader=$file; break; fi
done
libraries=
for folder in "$root"/usr/lib/mysql/private "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu* "$root"/usr/lib "$root"/lib; do
    if [ -d "$folder" ]; then libraries=$libraries${libraries:+:}$folder; fi
done
# An option that names the defaults must be the first; without one no file of this machine is read.
case ${1-} in
    --no-defaults | --defaults-file=* | --defaults-extra-file=* | --print-defaults) first=$1; shift ;;
    *) first=--no-defaults ;;
esac
SCRIPT
    cat >>"$1.new"
    chmod 755 "$1.new"
    mv "$1.new" "$1"
}

server_wrapper() {
    { printf 'binary=%s\nplugins=%s\n' "$2" "$3"; cat; } <<'SCRIPT' | wrapper "$1"
share=$root/usr/share/mysql
[ -d "$share" ] || share=$root/usr/share/mariadb
exec "$loader" --library-path "$libraries" "$root/$binary" "$first" --basedir="$root/usr" \
    --lc-messages-dir="$share" --character-sets-dir="$share/charsets" --plugin-dir="$root/$plugins" \
    --secure-file-priv= "$@"
SCRIPT
}

client_wrapper() {
    { printf 'binary=%s\nplugins=%s\n' "$2" "$3"; cat; } <<'SCRIPT' | wrapper "$1"
# StarRocks wants mysql_native_password, which is a plugin in newer clients.
exec "$loader" --library-path "$libraries" "$root/$binary" "$first" --plugin-dir="$root/$plugins" "$@"
SCRIPT
}

# wrappers FOLDER WRAPPER BINARY PLUGINS: the scripts over an unpacked tree.
wrappers() {
    server_wrapper "$1/$2" "$3" "$4"
    unpacked=$1/root
    if [ -x "$unpacked/usr/bin/mysql" ]; then
        client_wrapper "$1/mysql" usr/bin/mysql "$4"
    fi
    echo $layout >"$1/layout"
}

# get SERVER WRAPPER BINARY PLUGINS PACKAGE...: any one of the packages, the first that can be had.
get() {
    server=$1 wrapped=$2 binary=$3 plugins=$4
    shift 4
    if [ -x "$cache/$server/$wrapped" ]; then
        # Another run was faster, or only the scripts are old.
        wrappers "$cache/$server" "$wrapped" "$binary" "$plugins"
        return
    fi
    say "getting $server into $cache/$server"

    apt_in machine
    [ -s "$state/update.log" ] || update
    package=$(first_known "$@")
    if [ -z "$package" ] && debian_sid; then
        package=$(first_known "$@")
    fi
    if [ -z "$package" ]; then
        cat "$work"/*/update.log >&2
        fail "none of these packages can be had from this machine's apt sources: $*;" \
            "install $server yourself and set $(printf 'TOWPATH_%s' "$wrapped" | tr '[:lower:]' '[:upper:]') to its server binary"
    fi
    packages=$package
    client=$(printf '%s' "$package" | sed 's/server/client/')
    if [ "$server" = mysql ] && known "$client"; then packages="$package $client"; fi

    rm -f "$state"/archives/*.deb
    # shellcheck disable=SC2086
    apt-get $apt -q -y --download-only install $packages >"$state/install.log" 2>&1 ||
        { cat "$state/install.log" >&2; fail "apt could not download $packages"; }
    # Perl is for the package's helper scripts only.
    rm -f "$state"/archives/perl* "$state"/archives/libperl* "$state"/archives/libgdbm* "$state"/archives/libdb5*

    unpack "$server"
    rm -rf "$tree/root/usr/share/doc" "$tree/root/usr/share/man" "$tree/root/usr/share/locale" "$tree/root/usr/share/info"
    wrappers "$tree" "$wrapped" "$binary" "$plugins"
    version=$("$tree/$wrapped" --version 2>&1) || fail "the unpacked $server does not run: $version"
    settle "$server"
    say "$server is there: $("$cache/$server/$wrapped" --version | sed 's/^.*  *Ver/Ver/')"
}

# unpack NAME: what was downloaded, into the new folder $tree/root.
unpack() {
    tree=$work/$1
    mkdir -p "$tree/root"
    for deb in "$state"/archives/*.deb; do
        dpkg-deb -x "$deb" "$tree/root" || fail "could not unpack ${deb##*/}"
    done
}

# settle NAME: the finished $tree gets its place.
settle() {
    rm -rf "${cache:?}/$1"
    mv "$tree" "$cache/$1"
}

# get_alone NAME FILE PACKAGE: a package without those that it depends on, unpacked, if another run has not made FILE yet.
# Ends with 1 if it has.
get_alone() {
    [ ! -e "$cache/$1/$2" ] || return 1
    say "getting $1 into $cache/$1"
    apt_in machine
    [ -s "$state/update.log" ] || update
    rm -f "$state"/archives/*.deb
    # shellcheck disable=SC2086
    (cd "$state/archives" && apt-get $apt -q download "$3") >"$state/install.log" 2>&1 ||
        { cat "$state/update.log" "$state/install.log" >&2; fail "apt could not download $3; install it yourself"; }
    unpack "$1"
}

# get_openssl: the headers are split over two folders in the package, and wanted in one.
get_openssl() {
    get_alone openssl lib/libssl.a libssl-dev || return 0
    mkdir -p "$tree/include/openssl" "$tree/lib"
    cp "$tree/root/usr/include/openssl/"*.h "$tree/root/usr/include/"*/openssl/*.h "$tree/include/openssl/"
    cp "$tree/root/usr/lib/"*/libssl.a "$tree/root/usr/lib/"*/libcrypto.a "$tree/lib/"
    rm -rf "$tree/root"
    settle openssl
}

# get_prometheus: two programs that need nothing but libc.
get_prometheus() {
    get_alone prometheus promtool prometheus || return 0
    cp "$tree/root/usr/bin/prometheus" "$tree/root/usr/bin/promtool" "$tree/"
    rm -rf "$tree/root"
    settle prometheus
}

# get_valgrind: it looks for its tools where it was installed, so a wrapper tells it where they are.
get_valgrind() {
    get_alone valgrind valgrind valgrind || return 0
    rm -rf "$tree/root/usr/share"
    cat >"$tree/valgrind" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
root=$here/root
for tool in "$root"/usr/lib*/valgrind/cachegrind-* "$root"/usr/lib/*/valgrind/cachegrind-*; do
    [ ! -x "$tool" ] || export VALGRIND_LIB="${tool%/*}"
done
for binary in "$root"/usr/bin/valgrind.bin "$root"/usr/bin/valgrind; do
    [ ! -x "$binary" ] || exec "$binary" "$@"
done
END
    chmod +x "$tree/valgrind"
    settle valgrind
}

for server in $wanted; do
    case $server in
        openssl) get_openssl ;;
        prometheus) get_prometheus ;;
        valgrind) get_valgrind ;;
        mysql) get mysql mysqld usr/sbin/mysqld usr/lib/mysql/plugin mysql-server-core mysql-server-core-8.4 mysql-server-core-8.0 ;;
        mariadb) get mariadb mariadbd usr/sbin/mariadbd usr/lib/mysql/plugin mariadb-server-core mariadb-server-core-10.6 ;;
    esac
done
