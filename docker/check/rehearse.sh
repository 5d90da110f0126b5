#!/bin/sh
# Plays docker-compose.yml with docker-compose.embedded.yml without a container engine: `make check-deploy`.
#
#   docker/check/rehearse.sh PROGRAM          a built `towpath`
#
# The services run beside each other in a network of their own, under the names that the compose file gives them. Towpath
# and the embedded target run as in the image: as user 10001 without any capability, on a root that is read-only but for
# /var/lib/towpath, with the commands of Dockerfile and compose files. MySQL and Prometheus are those of
# tests/servers/get.sh; Grafana and StarRocks are left out. Then: health checks, the job follows the log, Prometheus has its
# numbers, both sides agree, SIGTERM.
#
# It takes Linux, root and the right to make namespaces; without them it says so and ends with 0.
set -eu

check=$(cd "$(dirname "$0")" && pwd)
docker=${check%/*}
root=${docker%/*}
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/towpath
python=$cache/deploy/python/bin/python3

say() { printf '%s\n' "== $*"; }
fail() { say "FAILED: $*" >&2; tail -n 20 "$work"/*.log >&2; exit 1; }

if [ "${1-}" != inside ]; then
    program=$(readlink -f "${1:?the program to run}")
    if [ "$(id -u)" != 0 ] || ! unshare --mount --net --pid --fork true 2>/dev/null || ! command -v ip >/dev/null; then
        say 'NOT CHECKED: the commands of the image, which takes root and namespaces'
        exit 0
    fi
    "$root/tests/servers/get.sh" mysql prometheus
    work=$(mktemp -d)
    # Whatever was started inside ends with it.
    status=0
    unshare --mount --net --pid --fork --kill-child --mount-proc "$0" inside "$program" "$work" || status=$?
    rm -rf "$work"
    exit $status
fi

program=$2 work=$3
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/secrets
install -m 444 "$docker/token" /run/secrets/towpath_token
# Every service under its name.
printf '127.0.0.1 localhost mysql starrocks towpath prometheus\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    tries=$(($1 * 5)) what=$2
    shift 2
    until "$@" >"$work/waiting" 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { cat "$work/waiting" >&2; fail "$what"; }
        sleep 0.2
    done
}

# of_compose PROGRAM: runs a line of Python over the compose files as `services`, and prints what it prints.
of_compose() {
    "$python" "$check/compose.py" "$docker/docker-compose.yml" "$docker/docker-compose.embedded.yml" |
        "$python" -c "import json, sys, shlex
services = json.load(sys.stdin)['services']
$1"
}

# health SERVICE: the command of its health check.
health() {
    of_compose "test = services['$1']['healthcheck']['test']
print(test[1] if test[0] == 'CMD-SHELL' else shlex.join(test[1:]))"
}

# of_image KEYWORD: the words of the Dockerfile's last such line, which is a JSON list.
of_image() {
    sed -n "s/^$1 //p" "$docker/Dockerfile" | tail -n 1 | "$python" -c 'import json, sys, shlex; print(shlex.join(json.load(sys.stdin)))'
}

# image NAME: the image's file system: this machine's programs in place of Debian's, and Towpath.
image() {
    image=$work/$1
    mkdir "$image"
    mount -t tmpfs tmpfs "$image"
    mkdir -p "$image/usr" "$image/etc/towpath" "$image/var/lib/towpath" "$image/run/secrets" "$image/dev" "$image/proc" "$image/tmp"
    mount --bind /usr "$image/usr"
    mount -o remount,ro,bind "$image/usr"
    mount -t tmpfs tmpfs "$image/usr/local"
    mkdir "$image/usr/local/bin"
    install -m 755 "$program" "$image/usr/local/bin/towpath"
    for folder in bin sbin lib lib64; do
        if [ -L "/$folder" ]; then cp -P "/$folder" "$image/$folder"; else mkdir "$image/$folder" && mount --bind "/$folder" "$image/$folder"; fi
    done
    mount --rbind /dev "$image/dev"
    mount --bind /proc "$image/proc"
    cp "$work/hosts" "$image/etc/hosts"
    cp /etc/ld.so.cache /etc/nsswitch.conf "$image/etc/" 2>/dev/null || true
    printf 'towpath:x:10001:10001::/var/lib/towpath:/usr/sbin/nologin\n' >"$image/etc/passwd"
    cp "$docker/job.yaml" "$image/etc/towpath/job.yaml"
    install -m 444 "$docker/token" "$image/run/secrets/towpath_token"
    mount -t tmpfs -o "uid=10001,gid=10001,mode=755" tmpfs "$image/var/lib/towpath"
    mount -o remount,ro,bind "$image"
}

# in_image NAME COMMAND...: as the image's user. /tmp is as read-only as the rest.
in_image() {
    container=$work/$1
    shift
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin MYSQL_PASSWORD=towpath \
        chroot "$container" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        sh -c 'cd /var/lib/towpath && exec "$@"' sh "$@"
}

say 'mysql'
mysqld=$cache/servers/mysql/mysqld
PATH=$cache/servers/mysql:$PATH
mkdir "$work/data"
"$mysqld" --no-defaults --initialize-insecure --user=root --datadir="$work/data" >"$work/mysql.log" 2>&1 || fail 'mysql cannot be made'
"$mysqld" --no-defaults --user=root --datadir="$work/data" --socket="$work/socket" --bind-address=127.0.0.1 --port=3306 \
    --loose-mysqlx=OFF --pid-file="$work/pid" >>"$work/mysql.log" 2>&1 &
wait_for 60 'mysql does not answer' mysql --protocol=socket -S "$work/socket" -uroot -e 'SELECT 1'
password=$(of_compose "print(services['mysql']['environment']['MYSQL_ROOT_PASSWORD'])")
# As the image's entry point does.
mysql --protocol=socket -S "$work/socket" -uroot <"$docker/mysql/shop.sql" || fail 'mysql/shop.sql'
mysql --protocol=socket -S "$work/socket" -uroot \
    -e "CREATE USER root@'%' IDENTIFIED BY '$password'; GRANT ALL ON *.* TO root@'%'; ALTER USER root@localhost IDENTIFIED BY '$password'"

say 'starrocks: the embedded target'
image starrocks
entry=$(of_image ENTRYPOINT)
# shellcheck disable=SC2046,SC2086
in_image starrocks $entry $(of_compose "print(shlex.join(services['starrocks']['command']))") >"$work/starrocks.log" 2>&1 &
wait_for 30 'the health check of starrocks' sh -c "$(health starrocks)"

say 'towpath'
image towpath
if in_image towpath sh -c ': >/etc/mark || : >/tmp/mark' 2>/dev/null; then fail 'the root is not read-only'; fi
# shellcheck disable=SC2046,SC2086
in_image towpath $entry $(of_image CMD) >"$work/towpath.log" 2>&1 &
job=$!
probe=$(sed -n 's/^HEALTHCHECK .* CMD //p' "$docker/Dockerfile" | "$python" -c 'import json, sys, shlex; print(shlex.join(json.load(sys.stdin)))')
# shellcheck disable=SC2086
wait_for 30 'the health check of the image' in_image towpath $probe

say 'writer'
MYSQL_PWD=$password bash "$docker/writer.sh" >"$work/writer.log" 2>&1 &

say 'prometheus'
mkdir "$work/prometheus"
cp "$docker/prometheus.yml" "$root/dashboards/alerts.yml" "$work/prometheus/"
"$cache/servers/prometheus/prometheus" --config.file="$work/prometheus/prometheus.yml" --storage.tsdb.path="$work/prometheus/data" \
    --web.listen-address=127.0.0.1:9090 >"$work/prometheus.log" 2>&1 &
# has QUERY: Prometheus has a series for it.
has() {
    curl -fsS --data-urlencode "query=$1" http://prometheus:9090/api/v1/query | grep -q '"value"'
}
wait_for 60 'prometheus sees no job that follows the log' has 'towpath_stage{job="shop",stage="incremental"} == 1'
wait_for 60 'the writer'"'"'s orders do not come' has 'towpath_rows_read_total{job="shop",operation="insert"} > 100'
wait_for 60 'updates and deletes do not come' has 'towpath_rows_read_total{job="shop",operation="delete"} > 0'
if has 'ALERTS{alertstate="firing"}'; then fail 'an alert fires'; fi

say 'both sides'
in_image towpath towpath verify /etc/towpath/job.yaml || fail 'verify'

say 'SIGTERM'
kill -TERM "$(pgrep -f '^towpath run ')"
tries=50
while kill -0 "$job" 2>/dev/null; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || fail 'the job has not left within ten seconds'
    sleep 0.2
done
wait "$job" || fail 'the job has not left in order'
in_image towpath towpath status /etc/towpath/job.yaml | sed -n 1,4p
say 'the commands of the image and of the compose demo do what they should'
